import { credentials, Metadata } from '@grpc/grpc-js';
import { silentLogger } from '../../../src/base/logger.ts';
import type { XdsClientOptions } from '../../../src/xds/client-options.ts';
import { convertResource } from '../../../src/xds/codec.ts';
import { GrpcTransport } from '../../../src/xds/grpc-transport.ts';
import { nodeIdentity } from '../../../src/xds/node-identity.ts';
import { refusingWith } from '../../../src/xds/refusing-policy.ts';

/** An agent's client without TLS, token and disk, over a real socket; what it tells goes where `onChange` says. */
export function plainClient(address: string): Omit<XdsClientOptions, 'onChange'> {
  return {
    address,
    transport: new GrpcTransport({ address, credentials: () => credentials.createInsecure() }),
    metadata: async () => new Metadata(),
    node: nodeIdentity(
      { nodeName: 'n1', clusterId: 'c', network: '', podName: '', podNamespace: '', podAddress: '' },
      {},
    ),
    onDemand: false,
    kept: undefined,
    convert: convertResource,
    refusing: refusingWith('istio-system'),
    logger: silentLogger,
  };
}
