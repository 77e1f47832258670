/**
 * Connections of enrolled pods that no tunnel carries (left alone, or direct), as records: when they end, from a ring buffer; while they live,
 * from an iterator over one network namespace. Records stay raw until somebody asks for them.
 */
import type { UntouchedFlow } from '../model/flow.ts';
import type { BpfLink, BpfObject, NativeBpf, RingBuffer } from '../native/types.ts';
import { type StructCodec, structCodec } from './codec.ts';
import { FLOW_CLOSED, FLOW_LIVE, FLOW_OUTBOUND, FLOW_SLIPPED } from './constants.gen.ts';

interface RawFlow {
  readonly cookie: bigint;
  readonly openedNs: bigint;
  readonly durationNs: bigint;
  readonly bytesSent: bigint;
  readonly bytesReceived: bigint;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly askedAddress: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly askedPort: number;
  readonly podIndex: number;
  readonly peerPodIndex: number;
  readonly edge: number;
  readonly rttUs: number;
  readonly retransmits: number;
  readonly reason: number;
  readonly kind: number;
  readonly direction: number;
  readonly established: number;
  readonly direct: number;
}

export interface FlowReaderOptions {
  /** Records of ended connections, packed, each `recordBytes` long. */
  readonly onClosed: (records: Uint8Array) => void;
  /** Captured by mark, yet on its way out of the pod in clear: end it at once. */
  readonly onSlipped: (flow: UntouchedFlow) => void;
  /** At most this long after the end of a connection. Default 200 ms. */
  readonly intervalMs?: number;
}

export class FlowReader {
  readonly recordBytes: number;
  readonly #codec: StructCodec<RawFlow>;
  readonly #kindOffset: number;
  readonly #live: BpfLink;
  #ring: RingBuffer | undefined;

  constructor(
    native: NativeBpf,
    iterators: BpfObject,
    flows: Parameters<NativeBpf['openRingBuffer']>[0],
    options: FlowReaderOptions,
  ) {
    const type = iterators.type('hadal_flow');
    this.#codec = structCodec<RawFlow>(type, [
      'cookie',
      'openedNs',
      'durationNs',
      'bytesSent',
      'bytesReceived',
      'localAddress',
      'remoteAddress',
      'askedAddress',
      'localPort',
      'remotePort',
      'askedPort',
      'podIndex',
      'peerPodIndex',
      'edge',
      'rttUs',
      'retransmits',
      'reason',
      'kind',
      'direction',
      'established',
      'direct',
    ]);
    this.recordBytes = this.#codec.size;
    this.#kindOffset =
      type.kind === 'struct' ? (type.members.find(({ name }) => name === 'kind')?.offset ?? 0) : 0;
    this.#live = iterators.program('hadal_live_flows').attachIterator();
    this.#ring = native.openRingBuffer(flows, (records) => this.#sort(records, options), {
      intervalMs: options.intervalMs ?? 200,
    });
  }

  /** Decodes the record at `index` of a packed buffer. */
  decode(records: Uint8Array, index: number): UntouchedFlow {
    const raw = this.#codec.decode(records, index * this.recordBytes);
    const isOutbound = raw.direction === FLOW_OUTBOUND;
    const local = { address: raw.localAddress, port: raw.localPort };
    const remote = { address: raw.remoteAddress, port: raw.remotePort };
    const [source, destination] = isOutbound ? [local, remote] : [remote, local];
    const [sent, received] = isOutbound
      ? [raw.bytesSent, raw.bytesReceived]
      : [raw.bytesReceived, raw.bytesSent];
    return {
      flowId: `k${raw.cookie.toString(16)}`,
      cookie: raw.cookie,
      kind: kindOf(raw),
      direction: isOutbound ? 'outbound' : 'inbound',
      path: raw.direct !== 0 ? 'node_local' : 'untouched',
      openedUnixMicroseconds: Math.round(monotonicToUnixUs(raw.openedNs)),
      durationMicroseconds: Number(raw.durationNs / 1000n),
      bytesSent: Number(sent),
      bytesReceived: Number(received),
      sourceAddress: source.address,
      sourcePort: source.port,
      // A direct one asked for a service perhaps, and went to its endpoint.
      destinationAddress: raw.askedPort !== 0 ? raw.askedAddress : destination.address,
      destinationPort: raw.askedPort !== 0 ? raw.askedPort : destination.port,
      endpointAddress: destination.address,
      endpointPort: destination.port,
      podIndex: raw.podIndex,
      peerPodIndex: raw.peerPodIndex,
      edge: raw.edge,
      rttMicroseconds: raw.rttUs,
      retransmits: raw.retransmits,
      reason: raw.reason,
    };
  }

  /** Of the record that begins at `at`, which is not decoded for it: thousands a second may end. */
  isLive(records: Uint8Array, at: number): boolean {
    return records[at + this.#kindOffset] === FLOW_LIVE;
  }

  /** Those of the pod behind `netnsFd` that live now, packed; brings the untouched counters up to date with them. */
  readLive(netnsFd: number): Uint8Array {
    return this.#live.readIterator({ netnsFd });
  }

  /** Delivers what the ring buffer holds now. */
  flush(): void {
    this.#ring?.flush();
  }

  close(): void {
    this.#ring?.close();
    this.#ring = undefined;
    this.#live.close();
  }

  #sort(records: Uint8Array, { onClosed, onSlipped }: FlowReaderOptions): void {
    const count = Math.floor(records.byteLength / this.recordBytes);
    let slipped = 0;
    for (let index = 0; index < count; index++) {
      if (records[index * this.recordBytes + this.#kindOffset] !== FLOW_SLIPPED) continue;
      slipped++;
      onSlipped(this.decode(records, index));
    }
    if (slipped < count) onClosed(records);
  }
}

function kindOf({ kind, established }: RawFlow): UntouchedFlow['kind'] {
  if (kind === FLOW_SLIPPED) return 'slipped';
  if (kind === FLOW_LIVE) return 'live';
  return kind === FLOW_CLOSED && established !== 0 ? 'closed' : 'refused';
}

/** bpf_ktime_get_ns() and process.hrtime() read the same clock. */
function monotonicToUnixUs(ns: bigint): number {
  return Date.now() * 1000 - Number((process.hrtime.bigint() - ns) / 1000n);
}
