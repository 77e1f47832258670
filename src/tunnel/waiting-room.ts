/**
 * Keys with a time: questions whose answer the mesh state may still learn, and refusals that are asked again later.
 * Each room has one duration, so the order of arrival is the order of time and one timer is enough; it sleeps while the room is empty.
 */
export class WaitingRoom<T> {
  readonly #durationMs: number;
  readonly #onDue: (due: readonly T[]) => void;
  readonly #entries = new Map<string, { readonly value: T; readonly dueAt: number }>();
  #timer: NodeJS.Timeout | undefined;

  constructor(durationMs: number, onDue: (due: readonly T[]) => void) {
    this.#durationMs = durationMs;
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** A key that is in the room keeps its time. */
  enter(key: string, value: T): void {
    const known = this.#entries.get(key);
    this.#entries.set(key, { value, dueAt: known?.dueAt ?? performance.now() + this.#durationMs });
    this.#arm();
  }

  leave(key: string): T | undefined {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    return entry?.value;
  }

  values(): T[] {
    return Array.from(this.#entries.values(), ({ value }) => value);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#entries.clear();
  }

  #arm(): void {
    const [first] = this.#entries.values();
    if (this.#timer !== undefined || first === undefined) return;
    this.#timer = setTimeout(() => this.#fire(), Math.max(1, first.dueAt - performance.now()));
    this.#timer.unref();
  }

  #fire(): void {
    this.#timer = undefined;
    const now = performance.now();
    const due: T[] = [];
    for (const [key, { value, dueAt }] of this.#entries) {
      if (dueAt > now) break;
      due.push(value);
      this.#entries.delete(key);
    }
    this.#arm();
    if (due.length > 0) this.#onDue(due);
  }
}
