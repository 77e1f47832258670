/**
 * `CreateCertificate` of Istio's certificate service, without its transport: who asks, whether they may, and an audit line for
 * every answer. What a refused caller hears is for a legitimate agent's log; the reason in full is in ours.
 */
import { type ErrorCode, HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { spiffeText } from '../model/spiffe-id.ts';
import { type Authenticate, addressOf, type Caller, type CallMetadata } from './caller.ts';
import type { NodeAuthorizer } from './node-authorizer.ts';
import { RateLimit } from './rate-limit.ts';
import type { CertificateSigner } from './signer.ts';

export interface CertificateCall {
  /** PEM. */
  readonly csr: string;
  /** Seconds; 0 or less leaves it to the authority. */
  readonly validityDuration: number;
  /** The metadata of the request: `ImpersonatedIdentity`, and what else a caller puts there. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface IssuerSettings {
  readonly authority: CertificateSigner;
  readonly authenticate: Authenticate;
  readonly authorizer: Pick<NodeAuthorizer, 'mayIssue'>;
  /** The first is the one of callers that name no identity. */
  readonly trustDomains: readonly string[];
  readonly logger: Logger;
  /** Requests of one caller. Default 50 a second, 1,000 at once: an agent that starts with all its pods. */
  readonly requests?: { readonly perSecond: number; readonly burst: number };
  /** Calls at a time of one agent, and of a pod that asks for itself. Default 64 and 4. */
  readonly parallel?: { readonly agent: number; readonly guest: number };
  /** Calls of one address that could not be authenticated. Default 5 a second, 100 at once. */
  readonly strangers?: { readonly perSecond: number; readonly burst: number };
  readonly now?: () => number;
}

/** Why requests were refused, as metrics name it. */
export const refusalReasons = [
  'unauthenticated',
  'identity',
  'request',
  'rate',
  'unavailable',
  'authority',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

export interface IssuerCounts {
  readonly issued: number;
  readonly refused: Readonly<Record<RefusalReason, number>>;
}

/** Well above a request with an RSA-8192 key; `readCsr` bounds it further. */
const maxCsrBytes = 16 * 1024;
/** As what an identity may have. */
const maxIdentityBytes = 2048;

export class CertificateIssuer {
  readonly #settings: IssuerSettings;
  readonly #requests: RateLimit;
  readonly #strangers: RateLimit;
  readonly #overRate: RateLimit;
  /** Calls under way, by caller: each may hold a message that is not whole yet. */
  readonly #underWay = new Map<string, number>();
  readonly #refused = Object.fromEntries(refusalReasons.map((reason) => [reason, 0])) as Record<
    RefusalReason,
    number
  >;
  #issued = 0;

  constructor(settings: IssuerSettings) {
    const { requests, strangers, now = Date.now } = settings;
    this.#settings = settings;
    this.#requests = new RateLimit({ ...(requests ?? { perSecond: 50, burst: 1_000 }), now });
    this.#strangers = new RateLimit({ ...(strangers ?? { perSecond: 5, burst: 100 }), now });
    // Whoever sends too much must not fill the log with it.
    this.#overRate = new RateLimit({ perSecond: 0.1, burst: 1, now });
  }

  counts(): IssuerCounts {
    return { issued: this.#issued, refused: { ...this.#refused } };
  }

  /**
   * The chain, leaf first, the bundle of roots last. Rejects with a HadalError whose message is what the caller may hear. What is
   * asked is read only from callers that are known: strangers must not fill memory with it.
   */
  async issue(
    read: () => Promise<CertificateCall>,
    metadata: CallMetadata,
    peer: string,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const address = addressOf(peer);
    const caller = await this.#authenticate(metadata, peer, signal);
    let identity: string | undefined;
    const underWay = this.#underWay.get(caller.name) ?? 0;
    this.#underWay.set(caller.name, underWay + 1);
    try {
      const { agent, guest } = this.#settings.parallel ?? { agent: 64, guest: 4 };
      if (underWay >= (caller.isAgent ? agent : guest))
        throw tooOften(`${caller.name} asks too much at a time`);
      if (!this.#requests.take(caller.name)) throw tooOften(`${caller.name} asks too often`);
      const call = await read();
      identity = this.#identityOf(call, caller);
      const verdict = await this.#settings.authorizer.mayIssue(identity, caller, signal);
      if (verdict !== true) {
        const { why = 'not permitted', retry = false } = verdict === false ? {} : verdict;
        throw notPermitted(caller, identity, why, retry);
      }
      const lifetimeMs = Math.max(0, call.validityDuration) * 1000;
      const signed = await this.#settings.authority.sign({ csr: call.csr, identity, lifetimeMs }, signal);
      this.#issued += 1;
      this.#settings.logger.info(
        { audit: true, ...auditCaller(caller), address, identity, lifetimeMs },
        'signed a certificate',
      );
      return [...signed.chain, signed.roots];
    } catch (caught) {
      throw this.#refuse(HadalError.from(caught, 'ERR_IDENTITY_SIGNER'), { caller, address, identity });
    } finally {
      const left = (this.#underWay.get(caller.name) ?? 1) - 1;
      if (left === 0) this.#underWay.delete(caller.name);
      else this.#underWay.set(caller.name, left);
    }
  }

  async #authenticate(metadata: CallMetadata, peer: string, signal: AbortSignal): Promise<Caller> {
    const address = addressOf(peer);
    // Before anybody is asked: each token of a stranger would be a question for the API server.
    if (!this.#strangers.has(address)) {
      throw this.#refuse(tooOften(`${address} showed too many tokens that are not accepted`), { address });
    }
    try {
      return await this.#settings.authenticate(metadata, signal, peer);
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_IDENTITY_UNAUTHENTICATED');
      // Who leaves before it is known costs as much as who shows a wrong token.
      if (error.code === 'ERR_IDENTITY_UNAUTHENTICATED' || signal.aborted) this.#strangers.take(address);
      throw this.#refuse(error, { address });
    }
  }

  #identityOf({ csr, fields }: CertificateCall, caller: Caller): string {
    const { ImpersonatedIdentity: identity } = fields;
    if (csr === '') throw badRequest('it holds no csr');
    if (csr.length > maxCsrBytes)
      throw badRequest(`its csr has ${csr.length} bytes, more than ${maxCsrBytes}`);
    if (identity === undefined || identity === '') {
      const { account } = caller;
      if (account === undefined) throw badRequest('its metadata lacks ImpersonatedIdentity');
      return spiffeText(this.#settings.trustDomains[0] ?? '', account.namespace, account.serviceAccount);
    }
    if (typeof identity !== 'string') throw badRequest('ImpersonatedIdentity of its metadata is no text');
    if (identity.length > maxIdentityBytes)
      throw badRequest(`ImpersonatedIdentity has ${identity.length} characters`);
    return identity;
  }

  /** Counts and logs; gives back what the caller hears. */
  #refuse(
    error: HadalError,
    { caller, address, identity }: { caller?: Caller; address: string; identity?: string | undefined },
  ): HadalError {
    const { reason, public: told } = outcomes[error.code] ?? outcomes.ERR_IDENTITY_SIGNER;
    this.#refused[reason] += 1;
    const who = caller === undefined ? {} : auditCaller(caller);
    if (reason !== 'rate' || this.#overRate.take(caller?.name ?? address)) {
      const line = { audit: true, ...who, address, identity, reason, why: error.message };
      if (reason === 'authority')
        this.#settings.logger.error({ ...line, err: error }, 'could not sign a certificate');
      else this.#settings.logger.warn(line, 'refused to sign a certificate');
    }
    return new HadalError(error.code, told ?? error.message);
  }
}

interface Outcome {
  readonly reason: RefusalReason;
  /** All that the caller hears; absent: the error's own words. */
  readonly public?: string;
}

const failed = 'the authority failed; its log says why';
/** Istio's words, which say nothing to those who try tokens. */
const unauthenticatedText = 'request authenticate failure';

const outcomes: Readonly<Record<ErrorCode, Outcome>> & { readonly ERR_IDENTITY_SIGNER: Outcome } = {
  ERR_IDENTITY_UNAUTHENTICATED: { reason: 'unauthenticated', public: unauthenticatedText },
  ERR_IDENTITY_JOIN_KEY: { reason: 'unauthenticated', public: unauthenticatedText },
  ERR_IDENTITY_REVIEWER: {
    reason: 'unavailable',
    public: 'the token cannot be checked now; a retry may help',
  },
  ERR_ABORTED: { reason: 'unavailable', public: 'the call took too long; a retry may help' },
  ERR_QUEUE_FULL: { reason: 'rate', public: 'too many tokens wait to be checked; a retry may help' },
  ERR_IDENTITY_REFUSED: { reason: 'identity' },
  ERR_IDENTITY_CSR: { reason: 'request' },
  ERR_IDENTITY_REQUEST: { reason: 'request' },
  ERR_IDENTITY_RATE: { reason: 'rate', public: 'too many requests; a retry may help' },
  ERR_IDENTITY_SIGNER: { reason: 'authority', public: failed },
};

/** Istio's words first, so that what is known of them is found; then what a legitimate agent can do. */
function notPermitted(caller: Caller, identity: string, why: string, retry: boolean): HadalError {
  const hint = retry ? '; a retry may help, once the pod is there' : '';
  return new HadalError(
    'ERR_IDENTITY_REFUSED',
    `request impersonation authentication failure: node ${caller.node} may not have a certificate for ${identity}: ${why}${hint}`,
  );
}

function badRequest(why: string): HadalError {
  return new HadalError('ERR_IDENTITY_REQUEST', `the signing request is wrong: ${why}`);
}

function tooOften(why: string): HadalError {
  return new HadalError('ERR_IDENTITY_RATE', why);
}

function auditCaller({ node, name }: Caller): { readonly node: string; readonly caller: string } {
  return { node, caller: name };
}
