/**
 * What TypeScript decided about destinations, and the endpoints that direct rows lead to. A set of endpoints never changes: the
 * new one is written first, then the row is switched to it, then the old one goes, so that no pick mixes two decisions.
 */
import { randomInt } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import type { BpfMap, BtfType } from '../native/types.ts';
import { structCodec } from './codec.ts';
import { MAX_TARGETS, TARGET_DIRECT, TARGET_TUNNEL, VERDICT_DIRECT } from './constants.gen.ts';
import { TypedMap } from './typed-map.ts';

export interface RowKey {
  readonly podIndex: number;
  readonly address: string;
  readonly port: number;
}

/** A refusal, a connection that is left alone, or one for the tunnel. */
export interface PlainRow {
  readonly verdict: number;
  readonly reason: number;
  readonly error: number;
  readonly edge: number;
}

/** One of its slots is picked at random for each connection; weights are repetitions. */
export interface DirectRow {
  readonly verdict: typeof VERDICT_DIRECT;
  readonly edge: number;
  readonly slots: readonly DirectSlot[];
}

export type RowEntry = PlainRow | DirectRow;

export type DirectSlot =
  /** The agent picks among the endpoints that are not direct. */
  | { readonly kind: 'tunnel' }
  | {
      readonly kind: 'direct';
      readonly address: string;
      readonly port: number;
      readonly podIndex: number;
      readonly netnsCookie: bigint;
      readonly edge: number;
      readonly inboundEdge: number;
    };

interface RawRow extends PlainRow {
  readonly targetSet: number;
  readonly targetCount: number;
}

interface TargetKey {
  readonly targetSet: number;
  readonly slot: number;
}

interface RawTarget {
  readonly destinationNetnsCookie: bigint;
  readonly address: string;
  readonly destinationPodIndex: number;
  readonly edge: number;
  readonly inboundEdge: number;
  readonly targetSet: number;
  readonly port: number;
  readonly kind: number;
}

export interface RowTypes {
  readonly rowKey: BtfType;
  readonly row: BtfType;
  readonly targetKey: BtfType;
  readonly target: BtfType;
}

export class RowTable {
  readonly #rows: TypedMap<RowKey, RawRow>;
  readonly #targets: TypedMap<TargetKey, RawTarget>;
  /** From a random one on: the agent before this one may still write its own. */
  #nextSet = randomInt(1, 2 ** 32);

  constructor(rows: BpfMap, targets: BpfMap, types: RowTypes) {
    this.#rows = new TypedMap(
      rows,
      structCodec<RowKey>(types.rowKey, ['podIndex', 'address', 'port']),
      structCodec<RawRow>(types.row, ['verdict', 'reason', 'error', 'edge', 'targetSet', 'targetCount']),
    );
    this.#targets = new TypedMap(
      targets,
      structCodec<TargetKey>(types.targetKey, ['targetSet', 'slot']),
      structCodec<RawTarget>(types.target, [
        'destinationNetnsCookie',
        'address',
        'destinationPodIndex',
        'edge',
        'inboundEdge',
        'targetSet',
        'port',
        'kind',
      ]),
    );
  }

  keys(): RowKey[] {
    return this.#rows.keys();
  }

  get(key: RowKey): RowEntry | undefined {
    const row = this.#rows.get(key);
    if (row === undefined) return undefined;
    const { targetSet, targetCount, ...plain } = row;
    if (row.verdict !== VERDICT_DIRECT) return plain;
    const slots: DirectSlot[] = [];
    for (let slot = 0; slot < targetCount; slot++) {
      const target = this.#targets.get({ targetSet, slot });
      if (target !== undefined) slots.push(slotOf(target));
    }
    return { verdict: VERDICT_DIRECT, edge: row.edge, slots };
  }

  /** All or, when a map is full, an error; then rows that are not written keep what they had. */
  put(rows: readonly (readonly [RowKey, RowEntry])[]): void {
    const written: RawRow[] = [];
    const replaced = rows.map(([key]) => this.#rows.get(key));
    try {
      for (const [, entry] of rows) written.push(this.#writeTargets(entry));
      this.#rows.setAll(rows.map(([key], index) => [key, written[index] as RawRow] as const));
    } catch (error) {
      // A row that was switched all the same finds no target: its connections go to the agent.
      for (const row of written) this.#dropSet(row);
      throw error;
    }
    for (const row of replaced) this.#dropSet(row);
  }

  remove(keys: readonly RowKey[]): void {
    const removed = keys.map((key) => this.#rows.get(key));
    this.#rows.deleteAll(keys);
    for (const row of removed) this.#dropSet(row);
  }

  /** Makes the rows that `owned` accepts exactly these. */
  replace(
    wanted: readonly (readonly [RowKey, RowEntry])[],
    owned: (key: RowKey) => boolean,
  ): { set: number; deleted: number } {
    const present = new Map(
      this.#rows
        .entries()
        .filter(([key]) => owned(key))
        .map(([key, row]) => [textOf(key), { key, row }]),
    );
    const changed = wanted.filter(([key, entry]) => {
      const found = present.get(textOf(key));
      present.delete(textOf(key));
      return found === undefined || isDirect(entry) || !isSame(found.row, entry);
    });
    this.put(changed);
    const leftOver = [...present.values()];
    this.#rows.deleteAll(leftOver.map(({ key }) => key));
    for (const { row } of leftOver) this.#dropSet(row);
    return { set: changed.length, deleted: leftOver.length };
  }

  /** Takes out every endpoint at these addresses: what would pick it goes to the agent. Returns how many there were. */
  removeTargets(addresses: readonly string[]): number {
    const gone = new Set(addresses.map(canonical));
    const found = this.#targets
      .entries()
      .filter(([, { kind, address }]) => kind === TARGET_DIRECT && gone.has(address));
    this.#targets.deleteAll(found.map(([key]) => key));
    return found.length;
  }

  /** Sets that no row names: their agent ended between two writes. */
  sweep(): number {
    const named = new Set(this.#rows.entries().map(([, { targetSet }]) => targetSet));
    const orphans = this.#targets.keys().filter(({ targetSet }) => !named.has(targetSet));
    this.#targets.deleteAll(orphans);
    return orphans.length;
  }

  #writeTargets(entry: RowEntry): RawRow {
    if (!isDirect(entry)) return { ...entry, targetSet: 0, targetCount: 0 };
    const { edge, slots } = entry;
    if (slots.length === 0 || slots.length > MAX_TARGETS) {
      throw new HadalError(
        'ERR_KERNEL_VALUE',
        `a direct row has ${slots.length} slots; it must have 1 to ${MAX_TARGETS}`,
      );
    }
    const row = {
      verdict: VERDICT_DIRECT,
      reason: 0,
      error: 0,
      edge,
      targetSet: this.#freeSet(),
      targetCount: slots.length,
    };
    try {
      this.#targets.setAll(
        slots.map((slot, index) => [
          { targetSet: row.targetSet, slot: index },
          targetOf(slot, row.targetSet),
        ]),
      );
    } catch (error) {
      this.#dropSet(row);
      throw error;
    }
    return row;
  }

  /** Never one that was used: a program may still be about to read of it. */
  #freeSet(): number {
    for (;;) {
      const targetSet = this.#nextSet;
      this.#nextSet = targetSet + 1 === 2 ** 32 ? 1 : targetSet + 1;
      if (this.#targets.get({ targetSet, slot: 0 }) === undefined) return targetSet;
    }
  }

  #dropSet(row: RawRow | undefined): void {
    if (row === undefined || row.targetCount === 0) return;
    const { targetSet, targetCount } = row;
    this.#targets.deleteAll(Array.from({ length: targetCount }, (_, slot) => ({ targetSet, slot })));
  }
}

/** As addresses of the maps are read. */
export function canonical(text: string): string {
  const address = parseAddress(text);
  if (address !== undefined) return address.text;
  throw new HadalError('ERR_KERNEL_VALUE', `'${text}' is no IP address, such as 10.0.0.7 or fd00::7`);
}

function isDirect(entry: RowEntry): entry is DirectRow {
  return 'slots' in entry;
}

function isSame(row: RawRow, entry: PlainRow): boolean {
  return (
    row.verdict === entry.verdict &&
    row.reason === entry.reason &&
    row.error === entry.error &&
    row.edge === entry.edge
  );
}

function textOf({ podIndex, address, port }: RowKey): string {
  return `${podIndex} ${address} ${port}`;
}

function targetOf(slot: DirectSlot, targetSet: number): RawTarget {
  return slot.kind === 'tunnel'
    ? {
        kind: TARGET_TUNNEL,
        targetSet,
        address: '::',
        port: 0,
        destinationPodIndex: 0,
        destinationNetnsCookie: 0n,
        edge: 0,
        inboundEdge: 0,
      }
    : {
        kind: TARGET_DIRECT,
        targetSet,
        address: slot.address,
        port: slot.port,
        destinationPodIndex: slot.podIndex,
        destinationNetnsCookie: slot.netnsCookie,
        edge: slot.edge,
        inboundEdge: slot.inboundEdge,
      };
}

function slotOf(target: RawTarget): DirectSlot {
  if (target.kind !== TARGET_DIRECT) return { kind: 'tunnel' };
  return {
    kind: 'direct',
    address: target.address,
    port: target.port,
    podIndex: target.destinationPodIndex,
    netnsCookie: target.destinationNetnsCookie,
    edge: target.edge,
    inboundEdge: target.inboundEdge,
  };
}
