/** Time as a parameter, so that tests can live through a certificate's life in a moment. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `action` after `delayMs`, once; the answer cancels it. Keeps no process alive. */
  after(delayMs: number, action: () => void): () => void;
}

/** setTimeout knows 31 bits of milliseconds; a longer delay would fire at once. */
const maxDelayMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: Date.now,
  after(delayMs, action) {
    const timer = setTimeout(action, Math.min(Math.max(0, delayMs), maxDelayMs));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
