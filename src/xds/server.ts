/** Delta discovery for agents: who may have it, how many, and what became of what they were told. */
import {
  type handleBidiStreamingCall,
  Metadata,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { type Authenticate, addressOf, type Caller } from '../identity/caller.ts';
import { RateLimit } from '../identity/rate-limit.ts';
import { AggregatedDiscoveryServiceService } from '../proto/discovery.gen.ts';
import { errorCodeMetadata } from './generation.ts';
import type { ResourceStore } from './resource-store.ts';
import { type CallRefusal, Door, type Refused } from './server-door.ts';
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
  /** A resuming agent names all that it has: some 100 bytes for each resource, and 150,000 of them in this. */
  'grpc.max_receive_message_length': 16 * 1024 ** 2,
  /** Of one connection; an agent has one for discovery, and some for certificates. */
  'grpc.max_concurrent_streams': 64,
  /** Ends connections whose other end is gone without a word. */
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  /**
   * Above the age of a stream, which ends first and cleanly: what a stream that was ended still holds goes with its connection,
   * whether or not anybody reads it.
   */
  'grpc.max_connection_age_ms': 45 * 60_000,
  'grpc.max_connection_age_grace_ms': 10_000,
});

type Call = ServerDuplexStream<Uint8Array, Uint8Array>;

interface Connection {
  readonly call: Call;
  /** Taken at once: gRPC forgets it with the connection. */
  readonly peer: string;
  readonly stream: ServerStream;
  readonly connectedAt: number;
  readonly timers: Set<NodeJS.Timeout>;
  readonly aborted: AbortController;
  caller: Caller | undefined;
  isEnded: boolean;
}

export interface DiscoveryCounters {
  /** Streams that were ended from here, by why: `renewal` when they were old, else a status of gRPC in lower case. */
  readonly ended: ReadonlyMap<string, number>;
  /** Calls that got no stream. */
  readonly refusedCalls: Readonly<Record<CallRefusal, number>>;
  readonly refused: number;
  /** Names beyond what a stream may ask for. */
  readonly refusedNames: number;
  readonly sentBytes: number;
}

/** Longest time that a timer can wait. */
const longestTimerMs = 2 ** 31 - 1;

const { deltaAggregatedResources } = AggregatedDiscoveryServiceService;

export class DiscoveryServer implements Closeable {
  /** For `addService`, with `handlers`. Responses are bytes already; what a request may hold is seen before it is read. */
  static readonly definition = {
    deltaAggregatedResources: {
      ...deltaAggregatedResources,
      requestSerialize: (bytes: Uint8Array): Buffer => Buffer.from(bytes),
      requestDeserialize: (bytes: Buffer): Uint8Array => bytes,
      responseSerialize: (bytes: Uint8Array): Buffer =>
        Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      responseDeserialize: (bytes: Buffer): Uint8Array => bytes,
    },
  } as const satisfies ServiceDefinition;

  readonly #options: DiscoveryServerOptions;
  readonly #limits: DiscoveryLimits;
  readonly #connections = new Set<Connection>();
  readonly #ended = new Map<string, number>();
  readonly #door: Door;
  /** An agent at its limit asks again and again. */
  readonly #nameLines = new RateLimit({ perSecond: 0.1, burst: 1 });
  #refusedNames = 0;
  /** Streams whose caller is known. */
  #known = 0;
  readonly #unfollow: () => void;
  #refused = 0;
  #endedBytes = 0;
  #isClosed = false;

  constructor(options: DiscoveryServerOptions) {
    this.#options = options;
    this.#limits = Object.freeze({ ...defaultLimits, ...options.limits });
    const { authenticate, logger } = options;
    this.#door = new Door({ authenticate, logger, limits: this.#limits });
    this.#unfollow = options.store.follow((change) => {
      for (const { stream } of this.#connections) stream.onChange(change);
    });
  }

  get handlers(): {
    readonly deltaAggregatedResources: handleBidiStreamingCall<Uint8Array, Uint8Array>;
  } {
    return { deltaAggregatedResources: (call) => this.#accept(call) };
  }

  get counters(): DiscoveryCounters {
    let sentBytes = this.#endedBytes;
    for (const { stream } of this.#connections) sentBytes += stream.sentBytes;
    return {
      ended: this.#ended,
      refusedCalls: this.#door.refused,
      refused: this.#refused,
      refusedNames: this.#refusedNames,
      sentBytes,
    };
  }

  /** Agents that are connected, by when they came. */
  agents(): AgentConnection[] {
    return Array.from(this.#connections)
      .filter(({ caller }) => caller !== undefined)
      .map(({ peer, stream, connectedAt, caller }) => ({
        id: stream.nodeId,
        node: caller?.node ?? '',
        caller: caller?.name ?? '',
        address: peer,
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
      peer: call.getPeer(),
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
      onNamesRefused: (typeUrl, names) => {
        this.#refusedNames += names.length;
        const { node, name = '' } = caller() ?? {};
        if (!this.#nameLines.take(name)) return;
        const line = { audit: true, node, typeUrl, names: names.slice(0, 10), most: this.#limits.names };
        logger.warn(line, 'an agent asks for more names than it may; it does not hear of these');
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
    const { call, peer, aborted } = connection;
    const opened = await this.#door.open(call.metadata, peer, aborted.signal);
    if (connection.isEnded) return;
    const { caller } = opened;
    const refused = caller === undefined ? opened.refused : this.#crowded(caller, peer);
    if (caller === undefined || refused !== undefined) {
      if (refused !== undefined) this.#end(connection, refused.code, refused.details);
      return;
    }
    connection.caller = caller;
    this.#known += 1;
    this.#after(connection, this.#lifeOf(caller), () => this.#end(connection, status.OK, '', 'renewal'));
    // Only now is anything read.
    call.on('data', (request: Uint8Array) => this.#onRequest(connection, request));
    call.on('end', () => this.#end(connection, status.OK, ''));
  }

  /** Why there is no room for another stream of this caller. */
  #crowded(caller: Caller, peer: string): Refused | undefined {
    const same = [...this.#connections].filter((other) => other.caller?.name === caller.name).length;
    const details =
      same >= this.#limits.streamsPerCaller
        ? `${caller.name} has ${same} streams already`
        : 'too many streams; dial again later';
    if (same < this.#limits.streamsPerCaller && this.#known < this.#limits.streams) return undefined;
    const who = { address: addressOf(peer), caller };
    return this.#door.refuse('streams', { code: status.RESOURCE_EXHAUSTED, details }, who);
  }

  /** Not all at once that came at once. */
  #lifeOf({ expiresAt = Number.POSITIVE_INFINITY }: Caller): number {
    return Math.min(expiresAt - Date.now(), this.#limits.streamAgeMs) * (1 - Math.random() / 10);
  }

  #onRequest(connection: Connection, request: Uint8Array): void {
    if (connection.isEnded) return;
    try {
      connection.stream.onRequest(request);
    } catch (caught) {
      const err = HadalError.from(caught);
      this.#options.logger.warn({ err, node: connection.caller?.node }, 'a discovery stream is ended');
      this.#end(connection, statusOf(err), err.message, undefined, err.code);
    }
  }

  #after(connection: Connection, delayMs: number, act: () => void): void {
    const timer = setTimeout(act, Math.min(longestTimerMs, Math.max(0, delayMs)));
    timer.unref();
    connection.timers.add(timer);
  }

  /** With OK, as of a stream whose time is over, an agent dials again at once and as if nothing had been. */
  #end(
    connection: Connection,
    code: status,
    details: string,
    reason: string = status[code].toLowerCase(),
    errorCode = '',
  ): void {
    if (connection.isEnded) return;
    const { call } = connection;
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
    this.#forget(connection);
    if (code === status.OK) call.end();
    else
      call.emit('error', {
        code,
        details,
        metadata: Metadata.fromHttp2Headers({ [errorCodeMetadata]: errorCode }),
      });
    // What still comes must not fill memory, and nobody reads it any more.
    call.resume();
  }

  #forget(connection: Connection): void {
    if (connection.isEnded) return;
    connection.isEnded = true;
    if (connection.caller !== undefined) this.#known -= 1;
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
