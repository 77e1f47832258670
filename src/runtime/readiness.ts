/** Whether the program can serve: it can once every named task is done. */
export class Readiness {
  readonly #pending = new Map<symbol, string>();
  #waiting: (() => void)[] = [];
  #draining = false;

  /** Holds readiness back until the returned function is called. Call it once per thing to wait for, before it starts. */
  task(name: string): () => void {
    const id = Symbol(name);
    this.#pending.set(id, name);
    return () => {
      this.#pending.delete(id);
      if (this.#pending.size > 0) return;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting) resolve();
    };
  }

  /** Not ready any more and never again: new work shall go elsewhere. */
  drain(): void {
    this.#draining = true;
  }

  get ready(): boolean {
    return this.#pending.size === 0 && !this.#draining;
  }

  /** What it still waits for, in the order of `task`. */
  get pending(): string[] {
    return [...this.#pending.values(), ...(this.#draining ? ['draining'] : [])];
  }

  /** Resolves when all tasks are done. */
  async whenReady(): Promise<void> {
    if (this.#pending.size === 0) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
