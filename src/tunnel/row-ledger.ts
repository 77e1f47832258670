/** A row as it was written down: its key, whom it belongs to and what must change for it to be derived again. */
export interface LedgerEntry<T> {
  readonly key: string;
  readonly podIndex: number;
  readonly dependencies: readonly string[];
  /** Refusals go first when a pod's quota is used up: a scan makes thousands of them, real traffic few. */
  readonly refused: boolean;
  readonly value: T;
}

interface PodEntries<T> {
  /** Insertion order is age. */
  readonly carried: Map<string, LedgerEntry<T>>;
  readonly refused: Map<string, LedgerEntry<T>>;
}

/**
 * Remembers which rows the native tables hold, so that they can be derived again, and bounds them per pod:
 * one pod's scan evicts its own oldest rows, never a neighbour's.
 */
export class RowLedger<T> {
  readonly #limitPerPod: number;
  readonly #entries = new Map<string, LedgerEntry<T>>();
  readonly #pods = new Map<number, PodEntries<T>>();
  readonly #dependents = new Map<string, Set<LedgerEntry<T>>>();

  constructor(limitPerPod: number) {
    this.#limitPerPod = limitPerPod;
  }

  get size(): number {
    return this.#entries.size;
  }

  sizeOf(podIndex: number): number {
    const pod = this.#pods.get(podIndex);
    return pod === undefined ? 0 : pod.carried.size + pod.refused.size;
  }

  get(key: string): LedgerEntry<T> | undefined {
    return this.#entries.get(key);
  }

  entries(): IterableIterator<LedgerEntry<T>> {
    return this.#entries.values();
  }

  /** Writes or replaces a row. Returns what had to go: the row replaced, and rows evicted by the quota. */
  put(entry: LedgerEntry<T>): { replaced: LedgerEntry<T> | undefined; evicted: LedgerEntry<T> | undefined } {
    const replaced = this.remove(entry.key);
    const pod = this.#podOf(entry.podIndex);
    const evicted = this.sizeOf(entry.podIndex) >= this.#limitPerPod ? this.#oldest(pod) : undefined;
    if (evicted !== undefined) this.remove(evicted.key);
    this.#entries.set(entry.key, entry);
    (entry.refused ? pod.refused : pod.carried).set(entry.key, entry);
    for (const name of entry.dependencies) {
      const dependents = this.#dependents.get(name);
      if (dependents === undefined) this.#dependents.set(name, new Set([entry]));
      else dependents.add(entry);
    }
    // Eviction may have emptied and dropped the pod's record.
    this.#pods.set(entry.podIndex, pod);
    return { replaced, evicted };
  }

  remove(key: string): LedgerEntry<T> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    const pod = this.#pods.get(entry.podIndex);
    if (pod !== undefined) {
      (entry.refused ? pod.refused : pod.carried).delete(key);
      if (pod.carried.size === 0 && pod.refused.size === 0) this.#pods.delete(entry.podIndex);
    }
    for (const name of entry.dependencies) {
      const dependents = this.#dependents.get(name);
      dependents?.delete(entry);
      if (dependents?.size === 0) this.#dependents.delete(name);
    }
    return entry;
  }

  ofPod(podIndex: number): LedgerEntry<T>[] {
    const pod = this.#pods.get(podIndex);
    return pod === undefined ? [] : [...pod.refused.values(), ...pod.carried.values()];
  }

  /** Entries that depend on any of the names, each once. */
  affectedBy(names: Iterable<string>): Set<LedgerEntry<T>> {
    const affected = new Set<LedgerEntry<T>>();
    for (const name of names) {
      for (const entry of this.#dependents.get(name) ?? []) affected.add(entry);
    }
    return affected;
  }

  #podOf(podIndex: number): PodEntries<T> {
    return this.#pods.get(podIndex) ?? { carried: new Map(), refused: new Map() };
  }

  #oldest(pod: PodEntries<T>): LedgerEntry<T> | undefined {
    const [refused] = pod.refused.values();
    if (refused !== undefined) return refused;
    const [carried] = pod.carried.values();
    return carried;
  }
}
