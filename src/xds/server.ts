/** Delta discovery for agents: who may have it, how many, and what became of what they were told. */
import {
  type handleBidiStreamingCall,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { type Authenticate, addressOf, type Caller } from '../identity/caller.ts';
import { RateLimit } from '../identity/rate-limit.ts';
import { AggregatedDiscoveryServiceService, type DeltaDiscoveryRequest } from '../proto/discovery.gen.ts';
import type { ResourceStore } from './resource-store.ts';
import { type DiscoveryLimits, defaultLimits } from './server-limits.ts';
import type { AgentConnection } from './server-status.ts';
import { ServerStream } from './server-stream.ts';

export interface DiscoveryServerOptions {
  readonly store: ResourceStore;
  /** Who asks; rejects when nobody may. */
  readonly authenticate: Authenticate;
  readonly logger: Logger;
  readonly limits?: Partial<DiscoveryLimits>;
  /** Brings the store's generation up to date; called before an agent is compared with it. */
  readonly refresh?: () => void;
}

/** What a grpc server that carries this service has to be given besides. */
export const discoveryChannelOptions = Object.freeze({
  /** A resuming agent names all that it has: some 100 bytes for each resource. */
  'grpc.max_receive_message_length': 64 * 1024 ** 2,
  /** Of one connection; an agent has one for discovery, and some for certificates. */
  'grpc.max_concurrent_streams': 128,
  /** Ends connections whose other end is gone without a word. */
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  /**
   * Agents come to replicas that were started later, and what a stream that was ended still holds goes with its connection, whether
   * or not anybody reads it.
   */
  'grpc.max_connection_age_ms': 30 * 60_000,
  'grpc.max_connection_age_grace_ms': 10_000,
});

type Call = ServerDuplexStream<DeltaDiscoveryRequest, Uint8Array>;

interface Connection {
  readonly call: Call;
  readonly stream: ServerStream;
  readonly connectedAt: number;
  readonly timers: Set<NodeJS.Timeout>;
  readonly aborted: AbortController;
  caller: Caller | undefined;
  isEnded: boolean;
}

export interface DiscoveryCounters {
  /** Streams that were ended from here, by why: a status of gRPC in lower case. */
  readonly ended: ReadonlyMap<string, number>;
  readonly refused: number;
  readonly sentBytes: number;
}

/** Longest time that a timer can wait. */
const longestTimerMs = 2 ** 31 - 1;

const { deltaAggregatedResources } = AggregatedDiscoveryServiceService;

export class DiscoveryServer implements Closeable {
  /** For `addService`, with `handlers`. Responses are bytes already. */
  static readonly definition = {
    deltaAggregatedResources: {
      ...deltaAggregatedResources,
      responseSerialize: (bytes: Uint8Array): Buffer =>
        Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      responseDeserialize: (bytes: Buffer): Uint8Array => bytes,
    },
  } as const satisfies ServiceDefinition;

  readonly #options: DiscoveryServerOptions;
  readonly #limits: DiscoveryLimits;
  readonly #connections = new Set<Connection>();
  readonly #ended = new Map<string, number>();
  /** Addresses that show tokens which are not accepted. */
  readonly #strangers: RateLimit;
  readonly #unfollow: () => void;
  #refused = 0;
  #endedBytes = 0;
  #isClosed = false;

  constructor(options: DiscoveryServerOptions) {
    this.#options = options;
    this.#limits = Object.freeze({ ...defaultLimits, ...options.limits });
    const { strangerBurst: burst, strangersPerSecond: perSecond } = this.#limits;
    this.#strangers = new RateLimit({ burst, perSecond });
    this.#unfollow = options.store.follow((change) => {
      for (const { stream } of this.#connections) stream.onChange(change);
    });
  }

  get handlers(): {
    readonly deltaAggregatedResources: handleBidiStreamingCall<DeltaDiscoveryRequest, Uint8Array>;
  } {
    return { deltaAggregatedResources: (call) => this.#accept(call) };
  }

  get counters(): DiscoveryCounters {
    let sentBytes = this.#endedBytes;
    for (const { stream } of this.#connections) sentBytes += stream.sentBytes;
    return { ended: this.#ended, refused: this.#refused, sentBytes };
  }

  /** Agents that are connected, by when they came. */
  agents(): AgentConnection[] {
    return Array.from(this.#connections)
      .filter(({ caller }) => caller !== undefined)
      .map(({ call, stream, connectedAt, caller }) => ({
        id: stream.nodeId,
        node: caller?.node ?? '',
        caller: caller?.name ?? '',
        address: call.getPeer(),
        connectedAt,
        isSlow: stream.isSlow,
        sentBytes: stream.sentBytes,
        subscriptions: stream.subscriptions(),
      }));
  }

  /** Ends all streams; the agents dial again elsewhere. */
  close(): void {
    this.#isClosed = true;
    this.#unfollow();
    for (const connection of [...this.#connections]) {
      this.#end(connection, status.UNAVAILABLE, 'the control plane is ending');
    }
  }

  #accept(call: Call): void {
    const aborted = new AbortController();
    const connection: Connection = {
      call,
      stream: this.#createStream(call, () => connection.caller),
      connectedAt: Date.now(),
      timers: new Set(),
      aborted,
      caller: undefined,
      isEnded: false,
    };
    this.#connections.add(connection);
    // Without a listener an error of the wire would be one of the process.
    call.on('error', () => this.#forget(connection));
    call.on('cancelled', () => this.#forget(connection));
    call.on('close', () => this.#forget(connection));
    if (this.#isClosed) {
      this.#end(connection, status.UNAVAILABLE, 'the control plane is ending');
      return;
    }
    if (this.#connections.size > this.#limits.streams) {
      this.#end(connection, status.RESOURCE_EXHAUSTED, 'too many streams; dial again later');
      return;
    }
    this.#after(connection, this.#limits.openingMs, () => {
      if (connection.stream.nodeId !== '') return;
      this.#end(connection, status.DEADLINE_EXCEEDED, 'no request came in time');
    });
    void this.#open(connection);
  }

  #createStream(call: Call, caller: () => Caller | undefined): ServerStream {
    const { store, logger } = this.#options;
    return new ServerStream({
      store,
      limits: this.#limits,
      refresh: this.#options.refresh ?? (() => {}),
      sink: {
        write: (bytes, onSent) => {
          call.write(bytes, (error: Error | null | undefined) => {
            if (error === null || error === undefined) onSent();
          });
        },
      },
      onRefused: (typeUrl, refused) => {
        this.#refused += refused.length;
        const { node } = caller() ?? {};
        logger.error(
          { node, typeUrl, refused: refused.slice(0, 10) },
          'an agent refuses resources; it keeps what it had',
        );
      },
    });
  }

  async #open(connection: Connection): Promise<void> {
    const { call, aborted } = connection;
    const address = addressOf(call.getPeer());
    // Neither a question to the API server nor a line of the log for those who go on trying.
    if (!this.#strangers.has(address)) {
      return this.#end(
        connection,
        status.RESOURCE_EXHAUSTED,
        'too many calls were refused; dial again later',
      );
    }
    let caller: Caller;
    try {
      caller = await this.#options.authenticate(call.metadata, aborted.signal);
    } catch (caught) {
      const err = HadalError.from(caught);
      this.#options.logger.warn({ err, address }, 'discovery is refused to a caller');
      // Not why: that is for those who read the log. Who could not be asked has refused nobody.
      const isRefused = err.code === 'ERR_IDENTITY_UNAUTHENTICATED';
      if (isRefused) this.#strangers.take(address);
      return isRefused
        ? this.#end(connection, status.UNAUTHENTICATED, 'authentication failure')
        : this.#end(connection, status.UNAVAILABLE, 'callers cannot be authenticated now; dial again later');
    }
    if (connection.isEnded) return;
    const same = [...this.#connections].filter((other) => other.caller?.name === caller.name).length;
    if (same >= this.#limits.streamsPerCaller) {
      return this.#end(connection, status.RESOURCE_EXHAUSTED, `${caller.name} has ${same} streams already`);
    }
    connection.caller = caller;
    if (caller.expiresAt !== undefined) {
      this.#after(connection, caller.expiresAt - Date.now(), () =>
        this.#end(connection, status.DEADLINE_EXCEEDED, 'the token of this stream has ended; dial again'),
      );
    }
    // Only now is anything read.
    call.on('data', (request: DeltaDiscoveryRequest) => this.#onRequest(connection, request));
    call.on('end', () => this.#end(connection, status.OK, ''));
  }

  #onRequest(connection: Connection, request: DeltaDiscoveryRequest): void {
    if (connection.isEnded) return;
    try {
      connection.stream.onRequest(request);
    } catch (caught) {
      const err = HadalError.from(caught);
      this.#options.logger.warn({ err, node: connection.caller?.node }, 'a discovery stream is ended');
      this.#end(connection, statusOf(err), err.message);
    }
  }

  #after(connection: Connection, delayMs: number, act: () => void): void {
    const timer = setTimeout(act, Math.min(longestTimerMs, Math.max(0, delayMs)));
    timer.unref();
    connection.timers.add(timer);
  }

  #end(connection: Connection, code: status, details: string): void {
    if (connection.isEnded) return;
    const { call } = connection;
    const reason = status[code].toLowerCase();
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
    this.#forget(connection);
    if (code === status.OK) call.end();
    else call.emit('error', { code, details });
    // What still comes must not fill memory, and nobody reads it any more.
    call.resume();
  }

  #forget(connection: Connection): void {
    if (connection.isEnded) return;
    connection.isEnded = true;
    this.#connections.delete(connection);
    this.#endedBytes += connection.stream.sentBytes;
    connection.stream.end();
    connection.aborted.abort();
    for (const timer of connection.timers) clearTimeout(timer);
  }
}

function statusOf({ code }: HadalError): status {
  if (code === 'ERR_XDS_LIMIT') return status.RESOURCE_EXHAUSTED;
  if (code === 'ERR_XDS_BEHIND') return status.UNAVAILABLE;
  if (code === 'ERR_XDS_REQUEST') return status.INVALID_ARGUMENT;
  return status.INTERNAL;
}
