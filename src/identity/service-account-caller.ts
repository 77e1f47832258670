/** Callers that show a projected service account token of Kubernetes: who they are is the API server's to say, what that is worth is decided here. */
import { createHash } from 'node:crypto';
import { deadline, waitOrAbort } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import { FairQueue, type FairQueueLimits } from '../base/fair-queue.ts';
import { type Caller, unauthenticated } from './caller.ts';
import { expiryOf } from './join-token.ts';
import type { KnownPod, PodView } from './pod-view.ts';

/** The status of a TokenReview of authentication.k8s.io/v1. */
export interface TokenReview {
  readonly authenticated: boolean;
  /** `system:serviceaccount:<namespace>:<name>`. */
  readonly username?: string | undefined;
  readonly audiences?: readonly string[] | undefined;
  readonly extra?: Readonly<Record<string, readonly string[]>> | undefined;
  readonly error?: string | undefined;
}

export interface TokenReviewer {
  /** Rejects when the API server cannot be asked; an invalid token is an answer. */
  review(token: string, audiences: readonly string[], signal: AbortSignal): Promise<TokenReview>;
}

export interface ServiceAccountSettings {
  readonly reviewer: TokenReviewer;
  readonly pods: PodView;
  /** Any of which the token must be for. Default `istio-ca`. */
  readonly audiences?: readonly string[];
  /** `namespace/name` of the accounts under which agents run; nobody else asks for the identities of others. */
  readonly nodeAccounts: readonly string[];
  /** How long an answer of the API server is taken as still true, and never longer than the token says of itself. Default 30 s. */
  readonly cacheMs?: number;
  /** Questions to the API server: at a time, waiting, and of one address. */
  readonly questions?: Partial<FairQueueLimits>;
  readonly now?: () => number;
}

const podNameKey = 'authentication.kubernetes.io/pod-name';
const podUidKey = 'authentication.kubernetes.io/pod-uid';
const nodeNameKey = 'authentication.kubernetes.io/node-name';
const maxCached = 2_000;
const clockSkewMs = 60_000;
/** Far below what an API server allows one client: it has more to do than to look at tokens. */
const defaultQuestions: FairQueueLimits = Object.freeze({ parallel: 16, waiting: 1_000, perAsker: 32 });
/** For one answer, also while callers go and come that wait for the same. */
const answerMs = 8_000;

/** A question that is under way, for all who show the same token meanwhile. */
interface Asked {
  readonly answer: Promise<Reviewed>;
  /** Fires when nobody waits for the answer any longer. */
  readonly left: AbortController;
  waiting: number;
}

interface Reviewed {
  readonly account: { readonly namespace: string; readonly serviceAccount: string };
  readonly pod: string;
  readonly podUid: string;
  /** Since Kubernetes 1.30 the token says so itself. */
  readonly node: string | undefined;
  readonly expiresAt: number | undefined;
}

export class ServiceAccountCallers {
  readonly #settings: ServiceAccountSettings;
  /** By digest: the tokens themselves are not kept. A renewal of all certificates is one review, not one for each. */
  readonly #reviewed = new Map<string, { readonly until: number; readonly result: Reviewed }>();
  readonly #asked = new Map<string, Asked>();
  readonly #questions: FairQueue;

  constructor(settings: ServiceAccountSettings) {
    this.#settings = settings;
    this.#questions = new FairQueue({ ...defaultQuestions, ...settings.questions });
  }

  /** Questions to the API server that are under way, and that wait for their turn. */
  get questions(): { readonly running: number; readonly waiting: number } {
    return { running: this.#questions.running, waiting: this.#questions.waiting };
  }

  /**
   * Throws ERR_IDENTITY_UNAUTHENTICATED, ERR_IDENTITY_REVIEWER when nobody could be asked, or ERR_QUEUE_FULL when too many ask.
   * `address`: where the caller comes from; addresses have their turns one after the other.
   */
  async authenticate(token: string, signal: AbortSignal, address: string): Promise<Caller> {
    const { nodeAccounts } = this.#settings;
    const { account, pod: name, podUid, node, expiresAt } = await this.#review(token, signal, address);
    const accountKey = `${account.namespace}/${account.serviceAccount}`;
    const who = `${accountKey} in pod ${name}`;
    const pod = await this.#pod(account.namespace, name, podUid, signal, address);
    if (pod === undefined) throw unauthenticated(`${who}: there is no such pod with uid ${podUid}`);
    if (pod.serviceAccount !== account.serviceAccount) {
      throw unauthenticated(`${who}: the pod runs as ${pod.serviceAccount}`);
    }
    if (pod.terminal) throw unauthenticated(`${who}: the pod has ended`);
    if (pod.node === '') throw unauthenticated(`${who}: the pod is on no node`);
    if (node !== undefined && node !== pod.node) {
      throw unauthenticated(`${who}: the token is of node ${node}, the pod is on ${pod.node}`);
    }
    return Object.freeze({
      node: pod.node,
      isAgent: nodeAccounts.includes(accountKey),
      name: who,
      account: Object.freeze({ ...account, pod: name, podUid }),
      expiresAt,
    });
  }

  async #review(token: string, signal: AbortSignal, address: string): Promise<Reviewed> {
    const { cacheMs = 30_000, now = Date.now } = this.#settings;
    const digest = createHash('sha256').update(token).digest('base64');
    const cached = this.#reviewed.get(digest);
    if (cached !== undefined && now() < cached.until) return cached.result;
    this.#reviewed.delete(digest);
    // What has ended by its own words is no question for the API server, however often it comes.
    const ends = expiryOf(token) ?? Number.POSITIVE_INFINITY;
    if (ends + clockSkewMs < now())
      throw unauthenticated(`the token ended at ${new Date(ends).toISOString()}`);
    const result = await this.#shared(digest, signal, (left) =>
      this.#questions.run(address, () => this.#ask(token, left), left),
    );
    for (const [oldest] of this.#reviewed) {
      if (this.#reviewed.size < maxCached) break;
      this.#reviewed.delete(oldest);
    }
    this.#reviewed.set(digest, { until: Math.min(now() + cacheMs, ends), result });
    return result;
  }

  /** One question for all who show the same token at a time. It is given up when the last of them has left. */
  async #shared(
    digest: string,
    signal: AbortSignal,
    ask: (left: AbortSignal) => Promise<Reviewed>,
  ): Promise<Reviewed> {
    let asked = this.#asked.get(digest);
    if (asked === undefined) {
      const left = new AbortController();
      asked = { answer: ask(left.signal), left, waiting: 0 };
      this.#asked.set(digest, asked);
    }
    asked.waiting += 1;
    try {
      return await waitOrAbort(asked.answer, signal, 'asking the API server about a token');
    } finally {
      asked.waiting -= 1;
      if (asked.waiting === 0) {
        asked.left.abort(new HadalError('ERR_ABORTED', 'nobody waits for the answer any longer'));
        if (this.#asked.get(digest) === asked) this.#asked.delete(digest);
      }
    }
  }

  async #ask(token: string, left: AbortSignal): Promise<Reviewed> {
    const { reviewer, audiences = ['istio-ca'] } = this.#settings;
    const time = deadline(answerMs, 'a TokenReview', left);
    let review: TokenReview;
    try {
      review = await reviewer.review(token, audiences, time.signal);
    } catch (error) {
      throw unanswered('asking the API server about a token', error);
    } finally {
      time.clear();
    }
    if (!review.authenticated) {
      throw unauthenticated(`the API server does not know the token: ${review.error ?? 'no reason given'}`);
    }
    // An authenticator that knows nothing of audiences returns none: then the token proves less than it must.
    if (!audiences.some((audience) => review.audiences?.includes(audience) === true)) {
      throw unauthenticated(
        `the token of ${review.username} is for ${review.audiences?.join(', ') || 'no audience'}, expected ${audiences.join(' or ')}`,
      );
    }
    const [, namespace, serviceAccount] =
      /^system:serviceaccount:([^:]+):([^:]+)$/.exec(review.username ?? '') ?? [];
    if (namespace === undefined || serviceAccount === undefined) {
      throw unauthenticated(`${review.username} is no service account`);
    }
    const one = (key: string) => (review.extra?.[key]?.length === 1 ? review.extra[key][0] : undefined);
    const [pod, podUid] = [one(podNameKey), one(podUidKey)];
    if (!pod || !podUid) {
      throw unauthenticated(`the token of ${namespace}/${serviceAccount} is bound to no pod`);
    }
    // Its signature was checked by now, so what it says of itself is true.
    const expiresAt = expiryOf(token);
    return { account: { namespace, serviceAccount }, pod, podUid, node: one(nodeNameKey), expiresAt };
  }

  /** The pod with this uid: from the source itself when the view has it not, or another of its name, or not yet its node. */
  async #pod(
    namespace: string,
    name: string,
    uid: string,
    signal: AbortSignal,
    address: string,
  ): Promise<KnownPod | undefined> {
    const { pods } = this.#settings;
    const { live } = pods;
    const known = pods.pod(namespace, name);
    if (known?.uid === uid && known.node !== '') return known;
    if (live === undefined) return undefined;
    let found: KnownPod | undefined;
    try {
      found = await this.#questions.run(address, () => live.pod(namespace, name, signal), signal);
    } catch (error) {
      throw unanswered(`looking for pod ${namespace}/${name}`, error);
    }
    return found?.uid === uid ? found : undefined;
  }
}

/** Whatever it was: nobody was refused. Only that too many ask is another thing, and passes. */
function unanswered(doing: string, cause: unknown): HadalError {
  const { code, message } = HadalError.from(cause);
  return new HadalError(code === 'ERR_QUEUE_FULL' ? code : 'ERR_IDENTITY_REVIEWER', `${doing}: ${message}`, {
    cause,
  });
}
