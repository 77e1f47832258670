/** Who gets a stream: agents, and nobody else. What is refused is counted, and told to the log now and then. */
import { status } from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { type Authenticate, addressOf, type Caller, type CallMetadata } from '../identity/caller.ts';
import { RateLimit } from '../identity/rate-limit.ts';
import type { DiscoveryLimits } from './server-limits.ts';

/** Why a call gets no stream, as metrics name it. */
export const callRefusals = ['unauthenticated', 'permission', 'rate', 'unavailable', 'streams'] as const;
export type CallRefusal = (typeof callRefusals)[number];

/** What a caller hears that gets no stream. */
export interface Refused {
  readonly code: status;
  readonly details: string;
}

/** One of the two. */
export type Opened =
  | { readonly caller: Caller; readonly refused?: undefined }
  | { readonly caller?: undefined; readonly refused: Refused };

export interface DoorOptions {
  /** Rejects when nobody may. */
  readonly authenticate: Authenticate;
  readonly limits: DiscoveryLimits;
  readonly logger: Logger;
}

export class Door {
  readonly #options: DoorOptions;
  /** Addresses that show tokens which are not accepted. */
  readonly #strangers: RateLimit;
  /** Whoever is refused again and again must not fill the log with it. */
  readonly #lines = new RateLimit({ perSecond: 0.2, burst: 5 });
  readonly #refused: Record<CallRefusal, number> = {
    unauthenticated: 0,
    permission: 0,
    rate: 0,
    unavailable: 0,
    streams: 0,
  };

  constructor(options: DoorOptions) {
    this.#options = options;
    const { strangerBurst: burst, strangersPerSecond: perSecond } = options.limits;
    this.#strangers = new RateLimit({ burst, perSecond });
  }

  get refused(): Readonly<Record<CallRefusal, number>> {
    return this.#refused;
  }

  /** The agent that calls, or what it hears. `signal` fires when the call has gone. */
  async open(metadata: CallMetadata, peer: string, signal: AbortSignal): Promise<Opened> {
    const address = addressOf(peer);
    // Neither a question to the API server nor a line of the log for those who go on trying.
    if (!this.#strangers.has(address)) {
      const details = 'too many calls were refused; dial again later';
      return { refused: this.refuse('rate', { code: status.RESOURCE_EXHAUSTED, details }, { address }) };
    }
    let caller: Caller;
    try {
      caller = await this.#options.authenticate(metadata, signal, peer);
    } catch (caught) {
      return { refused: this.#unknown(HadalError.from(caught), address, signal) };
    }
    if (caller.isAgent) return { caller };
    const details = `${caller.name} may not have the mesh: only agents may, name its account in HADAL_AGENT_ACCOUNTS if it is one`;
    const refused = { code: status.PERMISSION_DENIED, details };
    return { refused: this.refuse('permission', refused, { address, caller }) };
  }

  /** `why`: what only the log may say. */
  refuse(
    reason: CallRefusal,
    refused: Refused,
    who: { readonly address: string; readonly caller?: Caller },
    why = refused.details,
  ): Refused {
    this.#refused[reason] += 1;
    const { address, caller } = who;
    if (this.#lines.take(address)) {
      const known = caller === undefined ? {} : { node: caller.node, caller: caller.name };
      const line = { audit: true, ...known, address, reason, why };
      this.#options.logger.warn(line, 'discovery is refused to a caller');
    }
    return refused;
  }

  #unknown({ code, message }: HadalError, address: string, signal: AbortSignal): Refused {
    const isRefused = code === 'ERR_IDENTITY_UNAUTHENTICATED';
    // Who leaves before it is known costs as much as who shows a wrong token.
    if (isRefused || signal.aborted) this.#strangers.take(address);
    if (signal.aborted) return { code: status.CANCELLED, details: 'the caller has left' };
    // Not why: that is for those who read the log. Who could not be asked has refused nobody.
    const [reason, refused] = isRefused
      ? (['unauthenticated', answers.unauthenticated] as const)
      : code === 'ERR_IDENTITY_RATE' || code === 'ERR_QUEUE_FULL'
        ? (['rate', answers.rate] as const)
        : (['unavailable', answers.unavailable] as const);
    return this.refuse(reason, refused, { address }, message);
  }
}

const answers = {
  unauthenticated: { code: status.UNAUTHENTICATED, details: 'authentication failure' },
  rate: {
    code: status.RESOURCE_EXHAUSTED,
    details: 'too many calls wait to be authenticated; dial again later',
  },
  unavailable: {
    code: status.UNAVAILABLE,
    details: 'callers cannot be authenticated now; dial again later',
  },
} as const;
