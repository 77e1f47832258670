/**
 * Flow records as they came, in memory of a fixed size: no object per connection until somebody asks. Ended connections are kept
 * in a ring, the newest push out the oldest. Reports of live ones are kept as batches for a few intervals.
 */
export interface FlowFormat<T> {
  readonly recordBytes: number;
  /** Whether the record that begins at `at` is of a connection that still lives. */
  readonly isLive: (records: Uint8Array, at: number) => boolean;
  readonly decode: (records: Uint8Array, index: number) => T;
}

export interface FlowRingOptions {
  /** Ended connections that are remembered. Default 16,384. */
  readonly capacity?: number;
  /** How long a report of a live connection counts. Default 15 s: three of the default intervals. */
  readonly liveMs?: number;
  /** Reports of live connections that are kept. Default 16,384. */
  readonly liveCapacity?: number;
  readonly now?: () => number;
}

interface LiveBatch {
  readonly at: number;
  readonly records: Uint8Array;
}

export class FlowRing<T> {
  readonly #format: FlowFormat<T>;
  readonly #options: Required<FlowRingOptions>;
  /** Made with the first record; the kernel gives pages only as they are written. */
  #ring: Uint8Array | undefined;
  /** Ended connections since the start. */
  #ended = 0;
  #live: LiveBatch[] = [];
  #liveRecords = 0;

  constructor(format: FlowFormat<T>, options: FlowRingOptions = {}) {
    this.#format = format;
    this.#options = { capacity: 16_384, liveMs: 15_000, liveCapacity: 16_384, now: Date.now, ...options };
  }

  /** Ended connections so far; a cursor for `ended`. */
  get count(): number {
    return this.#ended;
  }

  /** Takes a copy of whole records; a torn one at the end is left out. */
  append(records: Uint8Array): void {
    const { recordBytes, isLive } = this.#format;
    const total = Math.floor(records.byteLength / recordBytes) * recordBytes;
    const live: Uint8Array[] = [];
    for (let start = 0; start < total; ) {
      const alive = isLive(records, start);
      let end = start + recordBytes;
      while (end < total && isLive(records, end) === alive) end += recordBytes;
      const run = records.subarray(start, end);
      if (alive) live.push(run);
      else this.#push(run);
      start = end;
    }
    if (live.length > 0) this.#keepLive(Buffer.concat(live));
  }

  /** Records of connections that ended after the first `after`, oldest first, and how many of them were pushed out meanwhile. */
  ended(after = 0): { readonly records: T[]; readonly lost: number } {
    const { capacity } = this.#options;
    const oldest = Math.max(0, this.#ended - capacity);
    const first = Math.max(oldest, Math.min(after, this.#ended));
    const records: T[] = [];
    for (let sequence = first; sequence < this.#ended; sequence++) {
      records.push(this.#format.decode(this.#ring ?? new Uint8Array(), sequence % capacity));
    }
    return { records, lost: Math.max(0, first - after) };
  }

  /** The last reports of live connections, oldest first; a connection may occur several times. */
  recentlyLive(): T[] {
    this.#dropOld();
    return this.#live.flatMap(({ records }) => decodeAll(this.#format, records));
  }

  #push(run: Uint8Array): void {
    const { recordBytes } = this.#format;
    const { capacity } = this.#options;
    this.#ring ??= new Uint8Array(capacity * recordBytes);
    const count = run.byteLength / recordBytes;
    // Of a run longer than the ring only its end stays.
    let from = Math.max(0, count - capacity);
    this.#ended += from;
    while (from < count) {
      const at = this.#ended % capacity;
      const fit = Math.min(count - from, capacity - at);
      this.#ring.set(run.subarray(from * recordBytes, (from + fit) * recordBytes), at * recordBytes);
      this.#ended += fit;
      from += fit;
    }
  }

  #keepLive(records: Uint8Array): void {
    this.#live.push({ at: this.#options.now(), records });
    this.#liveRecords += records.byteLength / this.#format.recordBytes;
    this.#dropOld();
  }

  #dropOld(): void {
    const { liveMs, liveCapacity, now } = this.#options;
    const since = now() - liveMs;
    let first = this.#live[0];
    while (
      first !== undefined &&
      (first.at < since || (this.#liveRecords > liveCapacity && this.#live.length > 1))
    ) {
      this.#liveRecords -= first.records.byteLength / this.#format.recordBytes;
      this.#live.shift();
      first = this.#live[0];
    }
  }
}

export function decodeAll<T>(format: FlowFormat<T>, records: Uint8Array): T[] {
  const count = Math.floor(records.byteLength / format.recordBytes);
  return Array.from({ length: count }, (_, index) => format.decode(records, index));
}
