/**
 * Authentication as the port for agents does it: of calls that have not shown yet who makes them only so many are open, of one
 * address and in all. Each of them holds a stream, and may be a question for the API server.
 */
import { deadline, waitOrAbort } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import { type Authenticate, addressOf, type Caller } from './caller.ts';

export interface AdmissionLimits {
  /** Calls of one address that wait to be authenticated. */
  readonly perAddress: number;
  /** Of all addresses. */
  readonly calls: number;
  /** How long one may wait. */
  readonly longestMs: number;
}

export const defaultAdmissionLimits: AdmissionLimits = Object.freeze({
  perAddress: 32,
  calls: 2_000,
  longestMs: 10_000,
});

export interface AdmissionSettings {
  readonly authenticate: Authenticate;
  /** Told of each caller that is known now. */
  readonly onKnown: (peer: string, caller: Caller) => void;
  readonly limits?: Partial<AdmissionLimits>;
}

export class Admission {
  readonly #settings: AdmissionSettings;
  readonly #limits: AdmissionLimits;
  readonly #ofAddress = new Map<string, number>();
  #open = 0;
  #refused = 0;

  constructor(settings: AdmissionSettings) {
    this.#settings = settings;
    this.#limits = Object.freeze({ ...defaultAdmissionLimits, ...settings.limits });
  }

  get counts(): { readonly open: number; readonly refused: number } {
    return { open: this.#open, refused: this.#refused };
  }

  /** Rejects with ERR_IDENTITY_RATE where too many wait already, else as what it wraps. */
  readonly authenticate: Authenticate = async (metadata, signal, peer) => {
    const { authenticate, onKnown } = this.#settings;
    const { perAddress, calls, longestMs } = this.#limits;
    const address = addressOf(peer);
    const own = this.#ofAddress.get(address) ?? 0;
    if (own >= perAddress) throw this.#refuse(`${own} calls of ${address} wait to be authenticated`);
    if (this.#open >= calls) throw this.#refuse(`${this.#open} calls wait to be authenticated`);
    this.#open += 1;
    this.#ofAddress.set(address, own + 1);
    try {
      const time = deadline(longestMs, 'authentication', signal);
      const known = authenticate(metadata, time.signal, peer);
      const caller = await waitOrAbort(known, time.signal, 'authenticating a caller').finally(time.clear);
      onKnown(peer, caller);
      return caller;
    } catch (caught) {
      // A deadline is nobody's fault but ours, or the API server's.
      const isLate = HadalError.from(caught).code === 'ERR_ABORTED' && !signal.aborted;
      throw isLate ? new HadalError('ERR_IDENTITY_REVIEWER', HadalError.from(caught).message) : caught;
    } finally {
      this.#open -= 1;
      const left = (this.#ofAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#ofAddress.delete(address);
      else this.#ofAddress.set(address, left);
    }
  };

  #refuse(why: string): HadalError<'ERR_IDENTITY_RATE'> {
    this.#refused += 1;
    return new HadalError('ERR_IDENTITY_RATE', `${why}, which is as many as may`);
  }
}
