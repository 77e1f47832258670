/** All that is known of connections: what the tunnel's workers and the kernel report, joined with names when somebody asks. */
import { flowKinds, type ObservedFlow } from '../model/flow.ts';
import { decodeFlowRecord, flowRecordBytes } from '../tunnel/flow-record.ts';
import { type ConnectionEntry, type JoinContext, toConnectionEntry } from './connection-entry.ts';
import { decodeAll, type FlowFormat, FlowRing, type FlowRingOptions } from './flow-ring.ts';

/** Offset of `kind` in native/tunnel/flow_record.h. */
const kindOffset = 116;
const liveKind = flowKinds.indexOf('live') + 1;

export const tunnelFlowFormat: FlowFormat<ObservedFlow> = {
  recordBytes: flowRecordBytes,
  isLive: (records, at) => records[at + kindOffset] === liveKind,
  decode: decodeFlowRecord,
};

export interface FlowChannelOptions extends FlowRingOptions {
  /** Reads the live flows now. Without it the last reports of live ones are shown. */
  readonly readLive?: () => Promise<Uint8Array>;
}

/** One reporter of flows: the tunnel, or the kernel's capture. */
export interface FlowChannel {
  append(records: Uint8Array): void;
  /** Records that the reporter had to drop. */
  addLost(count: number): void;
}

export interface ConnectionList {
  /** For the next call's `after`: only what ended since then. */
  readonly cursor: string;
  /** Ended connections that could not be kept, or reported, since the agent started. */
  readonly lost: number;
  /** Newest first. */
  readonly connections: readonly ConnectionEntry[];
}

export interface ConnectionQuery {
  /** A cursor: ended connections since then. Live ones are always told. */
  readonly after?: string | undefined;
  /** At most so many, the newest. */
  readonly limit?: number | undefined;
  readonly states?: readonly ConnectionEntry['state'][] | undefined;
  /** `namespace/name` of a pod of this node. */
  readonly pod?: string | undefined;
}

class Channel implements FlowChannel {
  readonly name: string;
  readonly ring: FlowRing<ObservedFlow>;
  readonly #format: FlowFormat<ObservedFlow>;
  readonly #readLive: (() => Promise<Uint8Array>) | undefined;
  lost = 0;

  constructor(name: string, format: FlowFormat<ObservedFlow>, { readLive, ...options }: FlowChannelOptions) {
    this.name = name;
    this.ring = new FlowRing(format, options);
    this.#format = format;
    this.#readLive = readLive;
  }

  get readsLive(): boolean {
    return this.#readLive !== undefined;
  }

  append(records: Uint8Array): void {
    this.ring.append(records);
  }

  addLost(count: number): void {
    this.lost += count;
  }

  async live(): Promise<ObservedFlow[]> {
    return this.#readLive === undefined
      ? this.ring.recentlyLive()
      : decodeAll(this.#format, await this.#readLive());
  }
}

export class FlowLog {
  readonly #context: JoinContext;
  readonly #channels: Channel[] = [];

  constructor(context: JoinContext) {
    this.#context = context;
  }

  /** A further reporter. Its name distinguishes its flow ids from those of others. */
  channel(
    name: string,
    format: FlowFormat<ObservedFlow> = tunnelFlowFormat,
    options: FlowChannelOptions = {},
  ): FlowChannel {
    const channel = new Channel(name, format, options);
    this.#channels.push(channel);
    return channel;
  }

  get recorded(): number {
    return this.#channels.reduce((sum, { ring }) => sum + ring.count, 0);
  }

  get lost(): number {
    return this.#channels.reduce((sum, { lost }) => sum + lost, 0);
  }

  async connections(query: ConnectionQuery = {}): Promise<ConnectionList> {
    const after = readCursor(query.after);
    const lists = await Promise.all(
      this.#channels.map((channel) => this.#of(channel, after.get(channel.name) ?? 0)),
    );
    const cursor = this.#channels
      .map((channel, index) => `${channel.name}:${lists[index]?.end ?? 0}`)
      .join(',');
    const wanted = lists
      .flatMap(({ entries }) => entries)
      .filter(({ state, pod }) => (query.states?.includes(state) ?? true) && (query.pod ?? pod) === pod)
      .sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0));
    return { cursor, lost: this.lost, connections: wanted.slice(0, query.limit ?? wanted.length) };
  }

  async #of(channel: Channel, after: number): Promise<{ entries: ConnectionEntry[]; end: number }> {
    const before = channel.ring.count;
    const live = new Map((await channel.live()).map((flow) => [flow.flowId, flow]));
    // What ended while it was read, or since its last report, is told once: as ended.
    const since = channel.readsLive ? before : Math.max(0, before - recentlyEnded);
    if (live.size > 0) for (const { flowId } of channel.ring.ended(since).records) live.delete(flowId);
    const flows = [...live.values(), ...channel.ring.ended(after).records];
    const entries = flows.map((flow) => {
      const entry = toConnectionEntry(flow, this.#context);
      return { ...entry, id: `${channel.name}-${entry.id}` };
    });
    return { entries, end: channel.ring.count };
  }
}

/** How many ended connections are looked through for those that were reported as live a moment before. */
const recentlyEnded = 4_096;

function readCursor(text: string | undefined): Map<string, number> {
  const pairs = (text ?? '').split(',').map((part) => part.split(':', 2));
  return new Map(
    pairs
      .map(([name = '', count = '']) => [name, Number(count)] as const)
      .filter(([, count]) => Number.isSafeInteger(count) && count >= 0),
  );
}
