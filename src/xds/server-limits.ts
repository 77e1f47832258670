/** What the agents of one control plane may use of it. Values far above what a healthy mesh needs. */
export interface DiscoveryLimits {
  /** Streams at a time, all agents together. Those of callers that are not known yet are bounded where they are authenticated. */
  readonly streams: number;
  /** Streams at a time of one caller: its own, and those of an upgrade or of a connection that is not known to be dead yet. */
  readonly streamsPerCaller: number;
  /** Names that a stream may ask for, per type. What it asks for beyond is answered with an error, and the rest goes on. */
  readonly names: number;
  /** Of each. With a version of Hadal's own servers some 100 bytes. */
  readonly nameBytes: number;
  /** Names and versions in one request; a resuming agent states a version of all that it has. */
  readonly requestNames: number;
  /** Of names and versions in all requests of a stream: at once, and per second after that. */
  readonly nameBurst: number;
  readonly namesPerSecond: number;
  /** Of what says who the agent is, of a nonce, of a type's name. */
  readonly fieldBytes: number;
  /** Characters of a refusal that are read. */
  readonly refusalLength: number;
  /** Requests that a stream may send at once, and per second after that. */
  readonly requestBurst: number;
  readonly requestsPerSecond: number;
  /** Length of a response, unless one resource alone is longer. Below the 4 MiB that gRPC's clients take by default. */
  readonly responseBytes: number;
  /** Responses that may wait for their answer; then changes gather until one comes. */
  readonly unanswered: number;
  /** How long a stream may take until it has said who it is and what it wants. */
  readonly openingMs: number;
  /** How long a stream lives, up to a tenth less; never longer than the token that opened it. Then its agent shows one anew. */
  readonly streamAgeMs: number;
  /** Tokens that are not accepted from one address, at once and per second after that; then it is refused without a look. */
  readonly strangerBurst: number;
  readonly strangersPerSecond: number;
}

export const defaultLimits: DiscoveryLimits = Object.freeze({
  streams: 10_000,
  streamsPerCaller: 8,
  names: 50_000,
  nameBytes: 1_024,
  requestNames: 200_000,
  nameBurst: 500_000,
  namesPerSecond: 10_000,
  fieldBytes: 64 * 1024,
  refusalLength: 64 * 1024,
  requestBurst: 5_000,
  requestsPerSecond: 1_000,
  responseBytes: 1024 ** 2,
  unanswered: 4,
  openingMs: 15_000,
  streamAgeMs: 30 * 60_000,
  strangerBurst: 100,
  strangersPerSecond: 5,
});

/** A bucket that fills with time. */
export class Budget {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #at: number;

  constructor(burst: number, perSecond: number, now: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#at = now;
  }

  /** False when there is not so much in it. */
  take(now: number, amount = 1): boolean {
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) / 1_000) * this.#perSecond);
    this.#at = now;
    if (this.#left < amount) return false;
    this.#left -= amount;
    return true;
  }
}
