/** How often each of many may do something: a bucket of tokens for each, bounded in number. */
export interface RateLimitOptions {
  readonly perSecond: number;
  readonly burst: number;
  /** Names that are remembered; those that were quiet longest are forgotten. Default 10,000. */
  readonly maxNames?: number;
  readonly now?: () => number;
}

export class RateLimit {
  readonly #options: Required<RateLimitOptions>;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, { readonly left: number; readonly at: number }>();

  constructor(options: RateLimitOptions) {
    this.#options = { maxNames: 10_000, now: Date.now, ...options };
  }

  /** Whether `name` might go on; nothing is used. */
  has(name: string): boolean {
    return this.#available(name, this.#options.now()) >= 1;
  }

  /** Whether `name` may go on; then it has used one. */
  take(name: string): boolean {
    const { maxNames, now } = this.#options;
    const at = now();
    const available = this.#available(name, at);
    const allowed = available >= 1;
    this.#buckets.delete(name);
    this.#buckets.set(name, { left: allowed ? available - 1 : available, at });
    for (const [oldest] of this.#buckets) {
      if (this.#buckets.size <= maxNames) break;
      this.#buckets.delete(oldest);
    }
    return allowed;
  }
  #available(name: string, at: number): number {
    const { perSecond, burst } = this.#options;
    const before = this.#buckets.get(name);
    if (before === undefined) return burst;
    return Math.min(burst, before.left + (Math.max(0, at - before.at) / 1000) * perSecond);
  }
}
