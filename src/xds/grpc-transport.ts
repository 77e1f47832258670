import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  status as grpcStatus,
  type Metadata,
} from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../proto/discovery.gen.ts';
import type { RawResponse, XdsStream, XdsTransport } from './client-stream.ts';
import type { Request } from './client-subscription.ts';
import type { NodeIdentity } from './node-identity.ts';

export interface GrpcTransportOptions {
  /** `host:port`. */
  readonly address: string;
  /** Throws while there are none, for instance no root certificate yet. */
  readonly credentials: () => ChannelCredentials;
  /** Name in the server's certificate, where it is not the address's. */
  readonly serverName?: string;
  readonly connectTimeoutMs?: number;
}

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
/** A mesh of hundreds of thousands of workloads comes in one message. */
const largestMessage = 200 * 1024 ** 2;

type Call = ClientDuplexStream<DeltaDiscoveryRequest, RawResponse>;

/** A connection of its own for each stream: the client's backoff is the only one, and roots are read again for each. */
export class GrpcTransport implements XdsTransport {
  readonly #options: GrpcTransportOptions;

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
  }

  open(metadata: Metadata, onConnected: () => void): XdsStream {
    const { address, credentials, serverName = '', connectTimeoutMs = 5_000 } = this.#options;
    const client = new Client(`dns:${address}`, credentials(), {
      'grpc.max_receive_message_length': largestMessage,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      ...(serverName === ''
        ? {}
        : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    });
    const call: Call = client.makeBidiStreamRequest(path, encode, decode, metadata);
    const stream = new GrpcStream(client, call);
    client.waitForReady(Date.now() + connectTimeoutMs, (error) => {
      if (error !== undefined && error !== null) {
        stream.giveUp(
          new HadalError(
            'ERR_XDS_CONNECT',
            `no connection to ${address} within ${connectTimeoutMs} ms: ${error.message}`,
          ),
        );
        return;
      }
      stream.isConnected = true;
      onConnected();
    });
    return stream;
  }
}

class GrpcStream implements XdsStream {
  readonly #client: Client;
  readonly #call: Call;
  #failure: HadalError | undefined;
  isConnected = false;

  constructor(client: Client, call: Call) {
    this.#client = client;
    this.#call = call;
    // Whoever iterates gets it too; without a listener one that comes between two iterations would end the process.
    call.on('error', () => {});
  }

  get responses(): AsyncIterable<RawResponse> {
    return this.#iterate();
  }

  giveUp(failure: HadalError): void {
    this.#failure = failure;
    this.#call.cancel();
  }

  async *#iterate(): AsyncGenerator<RawResponse> {
    try {
      yield* this.#call as AsyncIterable<RawResponse>;
    } catch (caught) {
      throw this.#failure ?? caught;
    }
  }

  send(request: Request, node?: NodeIdentity): void {
    if (this.#call.writableEnded || this.#call.destroyed) return;
    this.#call.write(toMessage(request, node));
  }

  cancel(): void {
    this.#call.cancel();
    this.#client.close();
  }
}

function toMessage(request: Request, node: NodeIdentity | undefined): DeltaDiscoveryRequest {
  const { refusal } = request;
  return DeltaDiscoveryRequest.fromPartial({
    ...(node === undefined ? {} : { node: { id: node.id, metadata: node.metadata } }),
    typeUrl: request.typeUrl,
    resourceNamesSubscribe: [...request.subscribe],
    resourceNamesUnsubscribe: [...request.unsubscribe],
    initialResourceVersions: new Map(request.versions),
    responseNonce: request.nonce,
    ...(refusal === undefined
      ? {}
      : { errorDetail: { code: grpcStatus.INVALID_ARGUMENT, message: refusal } }),
  });
}

function encode(message: DeltaDiscoveryRequest): Buffer {
  return Buffer.from(DeltaDiscoveryRequest.encode(message).finish());
}

function decode(bytes: Buffer): RawResponse {
  const { typeUrl, nonce, systemVersionInfo, resources, removedResources, resourceErrors } =
    DeltaDiscoveryResponse.decode(bytes);
  return {
    typeUrl,
    nonce,
    systemVersion: systemVersionInfo,
    resources,
    removed: removedResources,
    errors: resourceErrors.map(({ resourceName, errorDetail }) => ({
      name: resourceName?.name ?? '',
      why: errorDetail?.message ?? '',
    })),
    bytes: bytes.length,
  };
}
