/** Who may have a certificate: an agent for the pods of its node that are in the mesh, a pod for itself while it lives. */
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { parseSpiffeId } from '../model/spiffe-id.ts';
import type { Caller, CallerAccount } from './caller.ts';
import type { KnownPod, PodView } from './pod-view.ts';
import { RateLimit } from './rate-limit.ts';
import type { IssueVerdict } from './signing-server.ts';

export interface NodeAuthorizerSettings {
  readonly pods: PodView;
  /** Our own and its aliases. */
  readonly trustDomains: readonly string[];
  readonly logger: Logger;
  /** How long the source may take to answer. Default 5 s. */
  readonly liveTimeoutMs?: number;
  /** Reads of the source that one agent, or one pod for itself, may cause. Default 10 a second, 50 at once. */
  readonly liveReads?: { readonly perSecond: number; readonly burst: number };
  readonly now?: () => number;
}

export class NodeAuthorizer {
  readonly #settings: NodeAuthorizerSettings;
  readonly #liveReads: RateLimit;

  constructor(settings: NodeAuthorizerSettings) {
    this.#settings = settings;
    this.#liveReads = new RateLimit({
      ...(settings.liveReads ?? { perSecond: 10, burst: 50 }),
      ...(settings.now === undefined ? {} : { now: settings.now }),
    });
  }

  /** `true`, or why not; never throws for what a caller asked. */
  async mayIssue(identity: string, caller: Caller, signal?: AbortSignal): Promise<IssueVerdict> {
    const id = parseSpiffeId(identity);
    if (id === undefined) return { why: 'it is no SPIFFE id of a service account' };
    const { trustDomains, pods } = this.#settings;
    if (!trustDomains.includes(id.trustDomain)) {
      return { why: `its trust domain is none of ${trustDomains.join(', ')}` };
    }
    if (!caller.isAgent) {
      const { account } = caller;
      if (account?.namespace !== id.namespace || account.serviceAccount !== id.serviceAccount)
        return { why: `${caller.name} may ask for its own identity only` };
    }
    const judge = (found: Iterable<KnownPod>) =>
      caller.account === undefined || caller.isAgent
        ? judgeNode(found, caller.node)
        : judgeOwn(found, caller.account);
    const known = judge(pods.podsOf(id.namespace, id.serviceAccount));
    if (known === true || pods.live === undefined) return known;
    // A pod that asks for itself must not use up what its node's agent has.
    if (!this.#liveReads.take(caller.isAgent ? caller.node : caller.name)) {
      return { why: `${known.why}; its source was asked too often to look again`, retry: true };
    }
    try {
      return judge(await this.#read(id.namespace, id.serviceAccount, signal));
    } catch (error) {
      const err = HadalError.from(error, 'ERR_IDENTITY_SOURCE', `looking for pods of ${identity}`);
      this.#settings.logger.warn(
        { err, caller: caller.name, identity },
        'the source of pods does not answer',
      );
      return { why: `${known.why}; its source does not answer`, retry: true };
    }
  }

  #read(namespace: string, account: string, signal: AbortSignal | undefined): Promise<Iterable<KnownPod>> {
    const time = AbortSignal.timeout(this.#settings.liveTimeoutMs ?? 5_000);
    const either = signal === undefined ? time : AbortSignal.any([time, signal]);
    const { live } = this.#settings.pods;
    return live === undefined ? Promise.resolve([]) : live.podsOf(namespace, account, either);
  }
}

type Judgement = true | { readonly why: string; readonly retry: boolean };

/**
 * A pod with a token of its own, a waypoint or whatever else ends its TLS itself: it need not be in the mesh, but the very pod to
 * which the token is bound must live. The API server goes on believing in a token for some seconds after its pod is gone.
 */
function judgeOwn(pods: Iterable<KnownPod>, { namespace, pod: name, podUid }: CallerAccount): Judgement {
  for (const pod of pods) {
    if (pod.uid !== podUid || pod.name !== name || pod.namespace !== namespace) continue;
    return pod.terminal ? { why: `its pod ${namespace}/${name} has ended`, retry: false } : true;
  }
  return { why: `its pod ${namespace}/${name} with uid ${podUid} is not there`, retry: true };
}

/** Says of pods elsewhere no more than that none is here: what runs on other nodes is none of the caller's business. */
function judgeNode(pods: Iterable<KnownPod>, node: string): Judgement {
  let why = `no pod of this service account runs on node ${node}`;
  for (const pod of pods) {
    if (pod.node !== node) continue;
    if (!pod.terminal && pod.enrolled) return true;
    const name = `${pod.namespace}/${pod.name}`;
    why = pod.terminal
      ? `its pod ${name} on node ${node} has ended`
      : `its pod ${name} on node ${node} is not in the mesh`;
  }
  return { why, retry: true };
}
