/** What the agents of one control plane may use of it. Values far above what a healthy mesh needs. */
export interface DiscoveryLimits {
  /** Streams at a time, all agents together. */
  readonly streams: number;
  /** Streams at a time of one caller: its own, and those of an upgrade or of a connection that is not known to be dead yet. */
  readonly streamsPerCaller: number;
  /** Names that a stream may ask for, per type. */
  readonly names: number;
  /** Requests that a stream may send at once, and per second after that. */
  readonly requestBurst: number;
  readonly requestsPerSecond: number;
  /** Length of a response, unless one resource alone is longer. Below the 4 MiB that gRPC's clients take by default. */
  readonly responseBytes: number;
  /** Responses that may wait for their answer; then changes gather until one comes. */
  readonly unanswered: number;
  /** How long a stream may take until it has said who it is and what it wants. */
  readonly openingMs: number;
  /** Tokens that are not accepted from one address, at once and per second after that; then it is refused without a look. */
  readonly strangerBurst: number;
  readonly strangersPerSecond: number;
}

export const defaultLimits: DiscoveryLimits = Object.freeze({
  streams: 10_000,
  streamsPerCaller: 8,
  names: 50_000,
  requestBurst: 10_000,
  requestsPerSecond: 1_000,
  responseBytes: 1024 ** 2,
  unanswered: 4,
  openingMs: 30_000,
  strangerBurst: 100,
  strangersPerSecond: 5,
});

/** A bucket that fills with time. */
export class RequestBudget {
  readonly #limits: Pick<DiscoveryLimits, 'requestBurst' | 'requestsPerSecond'>;
  #left: number;
  #at: number;

  constructor(limits: Pick<DiscoveryLimits, 'requestBurst' | 'requestsPerSecond'>, now: number) {
    this.#limits = limits;
    this.#left = limits.requestBurst;
    this.#at = now;
  }

  /** False when it is empty. */
  take(now: number): boolean {
    const { requestBurst, requestsPerSecond } = this.#limits;
    this.#left = Math.min(requestBurst, this.#left + ((now - this.#at) / 1_000) * requestsPerSecond);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
