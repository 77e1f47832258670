/**
 * Stands between an agent and its control plane, and says what a control plane of another make could say. Orders come as JSON
 * lines on stdin, a line `ready` goes out when it listens:
 * - {"inject": {"name", "hex"}}: an Authorization of these bytes, on every stream;
 * - {"hold": true}: of the addresses only services go on, marked as a part of a push; {"hold": false} lets the rest follow.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { credentials, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  AggregatedDiscoveryServiceClient,
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../src/proto/discovery.gen.ts';
import { Address } from '../../../src/proto/workload.gen.ts';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';

const [upstream = '', upstreamRoots = '', serverName = '', certificate = '', key = '', orders = '{}'] =
  process.argv.slice(2);

interface Order {
  readonly inject?: { readonly name: string; readonly hex: string };
  readonly hold?: boolean;
}

type Downstream = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

const injected = new Map<string, string>();
const streams = new Set<Stream>();
let isHolding = false;

class Stream {
  readonly #down: Downstream;
  readonly #held: DeltaDiscoveryResponse[] = [];

  constructor(down: Downstream) {
    this.#down = down;
    const client = new AggregatedDiscoveryServiceClient(
      upstream,
      credentials.createSsl(readFileSync(upstreamRoots)),
      { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName },
    );
    const up = client.deltaAggregatedResources(down.metadata);
    down.on('data', (request: DeltaDiscoveryRequest) => {
      // What it said by itself is nobody else's business.
      if (request.responseNonce.startsWith('own')) return;
      up.write(request);
      if (request.typeUrl === authorizationType && request.responseNonce === '') this.inject();
    });
    up.on('data', (response: DeltaDiscoveryResponse) => this.#pass(response));
    const end = () => {
      streams.delete(this);
      down.end();
      up.cancel();
      client.close();
    };
    for (const each of [up, down]) {
      each.on('error', end);
      each.on('end', end);
    }
  }

  inject(): void {
    for (const [name, hex] of injected) {
      const resource = { typeUrl: authorizationType, value: Buffer.from(hex, 'hex') };
      this.#down.write(
        DeltaDiscoveryResponse.fromPartial({
          typeUrl: authorizationType,
          nonce: 'own',
          resources: [{ name, version: 'strange', resource }],
        }),
      );
    }
  }

  release(): void {
    for (const response of this.#held.splice(0)) this.#down.write(response);
  }

  #pass(response: DeltaDiscoveryResponse): void {
    if (!isHolding || response.typeUrl !== addressType) {
      this.#down.write(response);
      return;
    }
    const services = response.resources.filter(
      ({ resource }) => Address.decode(resource?.value ?? Buffer.alloc(0)).type?.$case === 'service',
    );
    const rest = response.resources.filter((resource) => !services.includes(resource));
    this.#down.write({ ...response, nonce: 'own.more', resources: services, removedResources: [] });
    this.#held.push({ ...response, resources: rest });
  }
}

function obey({ inject, hold }: Order): void {
  if (inject !== undefined) {
    injected.set(inject.name, inject.hex);
    for (const stream of streams) stream.inject();
  }
  if (hold === undefined) return;
  isHolding = hold;
  if (!hold) for (const stream of streams) stream.release();
}

obey(JSON.parse(orders) as Order);
createInterface({ input: process.stdin })
  .on('line', (line) => obey(JSON.parse(line) as Order))
  .on('close', () => process.exit(0));

const server = new Server({ 'grpc.max_receive_message_length': 64 * 1024 ** 2 });
server.addService(AggregatedDiscoveryServiceService, {
  deltaAggregatedResources: (down: Downstream) => void streams.add(new Stream(down)),
});
const pair = { cert_chain: readFileSync(certificate), private_key: readFileSync(key) };
server.bindAsync('127.0.0.1:15013', ServerCredentials.createSsl(null, [pair]), (error) => {
  if (error !== null) throw error;
  console.log('ready');
});
