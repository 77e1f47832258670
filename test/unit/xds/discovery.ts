// A control plane's discovery on a real port, and agents that speak it message by message.
import {
  type ClientDuplexStream,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import type { Authenticate, Caller } from '../../../src/identity/caller.ts';
import {
  AggregatedDiscoveryServiceClient,
  DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../../../src/proto/discovery.gen.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { DiscoveryServer, discoveryChannelOptions } from '../../../src/xds/server.ts';
import type { DiscoveryLimits } from '../../../src/xds/server-limits.ts';

export const caller: Caller = Object.freeze({
  node: 'a',
  isAgent: true,
  name: 'join token of node a',
  account: undefined,
  expiresAt: undefined,
});

export interface ControlPlane {
  readonly store: ResourceStore;
  readonly discovery: DiscoveryServer;
  readonly address: string;
}

export interface ControlPlaneOptions {
  readonly store?: ResourceStore;
  readonly limits?: Partial<DiscoveryLimits>;
  readonly authenticate?: Authenticate;
  readonly refresh?: () => void;
  readonly channel?: ServerOptions;
}

export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const {
    store = new ResourceStore(),
    limits = {},
    authenticate = async () => caller,
    refresh,
    channel,
  } = options;
  const discovery = new DiscoveryServer({
    store,
    authenticate,
    logger: silentLogger,
    limits,
    ...(refresh && { refresh }),
  });
  const server = new Server({ ...discoveryChannelOptions, ...channel });
  server.addService(DiscoveryServer.definition, discovery.handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  onTestFinished(() => {
    discovery.close();
    server.forceShutdown();
  });
  return { store, discovery, address: `127.0.0.1:${port}` };
}

export type RequestFields = Parameters<typeof DeltaDiscoveryRequest.fromPartial>[0];
type Waiting = (response: DeltaDiscoveryResponse) => void;

export interface AgentOptions {
  readonly id?: string;
  readonly metadata?: Record<string, string>;
  readonly headers?: Record<string, string>;
}

/** Sends what it is told to, and hands out the responses in turn. */
export class Agent {
  readonly #client: AggregatedDiscoveryServiceClient;
  readonly call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly #node: RequestFields['node'];
  readonly #waiting: Waiting[] = [];
  #isIntroduced = false;
  /** Responses that nobody has asked for yet. */
  readonly queue: DeltaDiscoveryResponse[] = [];
  /** How the stream ended. */
  readonly ended: Promise<ServiceError | undefined>;

  constructor(
    { address }: Pick<ControlPlane, 'address'>,
    { id = 'agent-a', metadata, headers }: AgentOptions = {},
  ) {
    this.#client = new AggregatedDiscoveryServiceClient(address, credentials.createInsecure());
    this.call = this.#client.deltaAggregatedResources(Metadata.fromHttp2Headers(headers ?? {}));
    this.#node = { id, ...(metadata === undefined ? {} : { metadata }) };
    this.call.on('data', (response: DeltaDiscoveryResponse) => {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.queue.push(response);
      else waiting(response);
    });
    this.ended = new Promise((resolve) => {
      this.call.on('error', resolve);
      this.call.on('end', () => resolve(undefined));
    });
    onTestFinished(() => this.close());
  }

  close(): void {
    this.call.cancel();
    this.#client.close();
  }

  send(fields: RequestFields): void {
    const node = this.#isIntroduced ? {} : { node: this.#node };
    this.#isIntroduced = true;
    this.call.write(DeltaDiscoveryRequest.fromPartial({ ...node, ...fields }));
  }

  /** Asks for everything of a type, having what `versions` says. */
  subscribe(typeUrl: string, versions: Iterable<readonly [string, string]> = []): void {
    this.send({ typeUrl, initialResourceVersions: new Map(versions) });
  }

  /** Asks for names only, as Istio's agents do it. */
  subscribeTo(
    typeUrl: string,
    names: readonly string[],
    versions: Iterable<readonly [string, string]> = [],
  ): void {
    this.send({
      typeUrl,
      resourceNamesSubscribe: ['*', ...names],
      resourceNamesUnsubscribe: ['*'],
      initialResourceVersions: new Map(versions),
    });
  }

  next(): Promise<DeltaDiscoveryResponse> {
    const response = this.queue.shift();
    if (response !== undefined) return Promise.resolve(response);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The next response, acknowledged. */
  async take(): Promise<DeltaDiscoveryResponse> {
    const response = await this.next();
    this.acknowledge(response);
    return response;
  }

  acknowledge({ typeUrl, nonce }: Pick<DeltaDiscoveryResponse, 'typeUrl' | 'nonce'>, refusal?: string): void {
    const errorDetail = refusal === undefined ? {} : { errorDetail: { code: 0, message: refusal } };
    this.send({ typeUrl, responseNonce: nonce, ...errorDetail });
  }
}

export const namesOf = ({ resources }: DeltaDiscoveryResponse): string[] => resources.map(({ name }) => name);
export const versionsOf = (responses: readonly DeltaDiscoveryResponse[]): Map<string, string> =>
  new Map(responses.flatMap(({ resources }) => resources.map(({ name, version }) => [name, version])));

/** Time for what should not come. */
export const moment = (ms = 50): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
