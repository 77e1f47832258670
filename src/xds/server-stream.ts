/**
 * One agent's stream. Requests change what it wants, changes of the store what it has to be told; both only note names. What
 * there is to say goes out one response at a time, the next when the one before has left this process, and never more than a few
 * without an answer: a slow agent costs the names of what changed, and hears the newest of each.
 */
import { status } from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse, ResourceError } from '../proto/discovery.gen.ts';
import { Answers } from './answers.ts';
import { describeBehind, generationMetadata, isBehind, parseGeneration } from './generation.ts';
import { nonceOf } from './push-end.ts';
import { namesIn } from './request-bounds.ts';
import type { ResourceStore, StoreChange } from './resource-store.ts';
import { Budget, type DiscoveryLimits } from './server-limits.ts';
import type { AgentSubscription, RefusedResource } from './server-status.ts';
import { type Batch, ServerSubscription, servedTypes } from './server-subscription.ts';
import { authorizationType } from './type-urls.ts';

/** The wire below. */
export interface ResponseSink {
  /** `onSent` is called when the bytes have left; never after the end of the stream. */
  write(response: Uint8Array, onSent: () => void): void;
}

export interface ServerStreamOptions {
  readonly store: ResourceStore;
  readonly limits: DiscoveryLimits;
  readonly refresh: () => void;
  readonly sink: ResponseSink;
  readonly onRefused: (typeUrl: string, refused: readonly RefusedResource[]) => void;
  /** Names beyond what the stream may ask for; it hears so. */
  readonly onNamesRefused: (typeUrl: string, names: readonly string[]) => void;
}

interface Subscribed {
  readonly subscription: ServerSubscription;
  readonly answers: Answers;
  sentResources: number;
}

export class ServerStream {
  readonly #options: ServerStreamOptions;
  readonly #requests: Budget;
  readonly #names: Budget;
  /** In the order in which they are told. */
  readonly #types = new Map<string, Subscribed>();
  #nodeId = '';
  #responses = 0;
  #sentBytes = 0;
  #isWriting = false;
  #isEnded = false;
  #isScheduled = false;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    const { requestBurst, requestsPerSecond, nameBurst, namesPerSecond } = options.limits;
    this.#requests = new Budget(requestBurst, requestsPerSecond, performance.now());
    this.#names = new Budget(nameBurst, namesPerSecond, performance.now());
  }

  get nodeId(): string {
    return this.#nodeId;
  }
  get sentBytes(): number {
    return this.#sentBytes;
  }
  get isSlow(): boolean {
    if (!this.#isWriting && !this.#isFull()) return false;
    return [...this.#types.values()].some(({ subscription }) => subscription.pending > 0);
  }

  /** Throws what must end the stream. */
  onRequest(bytes: Uint8Array): void {
    this.#take(this.#decode(bytes));
  }

  /** Bounded first, then made an object. */
  #decode(bytes: Uint8Array): DeltaDiscoveryRequest {
    const now = performance.now();
    const isTooFast =
      !this.#requests.take(now) || !this.#names.take(now, namesIn(bytes, this.#options.limits));
    if (isTooFast)
      throw new HadalError('ERR_XDS_LIMIT', 'requests come faster than an agent has any use for');
    try {
      return DeltaDiscoveryRequest.decode(bytes);
    } catch (caught) {
      throw HadalError.from(caught, 'ERR_XDS_REQUEST', 'reading a request');
    }
  }

  #take(request: DeltaDiscoveryRequest): void {
    if (this.#nodeId === '') this.#introduce(request);
    const kinds = servedTypes.get(request.typeUrl);
    // As Istio's server: who asks for what there is not gets no answer, since an empty one would say that there is none of it.
    if (kinds === undefined) return;
    const subscribed = this.#subscribed(request.typeUrl);
    this.#answer(subscribed, request);
    const { subscription } = subscribed;
    subscription.request(request);
    this.#schedule();
  }

  onChange(change: StoreChange): void {
    for (const { subscription } of this.#types.values()) subscription.onChange(change);
    if (this.#types.size > 0) this.#schedule();
  }

  end(): void {
    this.#isEnded = true;
    this.#types.clear();
  }

  subscriptions(): AgentSubscription[] {
    return Array.from(this.#types.values(), ({ subscription, answers, sentResources }) => ({
      typeUrl: subscription.typeUrl,
      mode: subscription.isWildcard ? 'everything' : 'by name',
      names: subscription.keyCount,
      followed: subscription.followedCount,
      pending: subscription.pending,
      unanswered: answers.unanswered,
      acknowledged: answers.acknowledged,
      acknowledgedAt: answers.acknowledgedAt,
      sentResources,
      refused: answers.refused,
    }));
  }

  #introduce({ node }: DeltaDiscoveryRequest): void {
    if (node === undefined || node.id === '') {
      throw new HadalError('ERR_XDS_REQUEST', 'the first request of a stream must name its node');
    }
    this.#nodeId = node.id;
    const seen: unknown = node.metadata?.[generationMetadata];
    const known = typeof seen === 'string' ? parseGeneration(seen) : undefined;
    this.#options.refresh();
    const { generation } = this.#options.store;
    if (isBehind(generation, known)) {
      throw new HadalError(
        'ERR_XDS_BEHIND',
        `this replica is behind what the agent has (${describeBehind(generation, known)}); it goes on with that and dials others. After a restore from a backup see HADAL_XDS_BEHIND_PATIENCE of the agent`,
      );
    }
  }

  #subscribed(typeUrl: string): Subscribed {
    const known = this.#types.get(typeUrl);
    if (known !== undefined) return known;
    // Asked for in any order, told in this one.
    const others = [...this.#types];
    this.#types.clear();
    for (const [url, kinds] of servedTypes) {
      const other = others.find(([type]) => type === url);
      if (other !== undefined) this.#types.set(...other);
      if (url !== typeUrl) continue;
      const { store, limits } = this.#options;
      const subscription = new ServerSubscription(url, kinds, store, limits.names);
      this.#types.set(url, { subscription, answers: new Answers(), sentResources: 0 });
    }
    return this.#types.get(typeUrl) as Subscribed;
  }

  #answer({ answers }: Subscribed, { responseNonce, errorDetail, typeUrl }: DeltaDiscoveryRequest): void {
    if (responseNonce === '') return;
    const refusal = errorDetail?.message.slice(0, this.#options.limits.refusalLength);
    const refused = answers.answer(responseNonce, refusal, Date.now());
    if (refused !== undefined && refused.length > 0) this.#options.onRefused(typeUrl, refused);
  }

  /** What comes in one turn of the event loop, requests for several types and changes alike, is told in one go. */
  #schedule(): void {
    if (this.#isScheduled || this.#isEnded) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#isWriting || this.#isEnded || this.#isFull()) return;
    const next = this.#next();
    if (next === undefined) return;
    this.#isWriting = true;
    this.#write(next.subscribed, next.batch, () => {
      this.#isWriting = false;
      this.#pump();
    });
  }

  #isFull(): boolean {
    let unanswered = 0;
    for (const { answers } of this.#types.values()) unanswered += answers.unanswered;
    return unanswered >= this.#options.limits.unanswered;
  }

  /**
   * Policies go before the workloads that name them, and end after those that named them: in between, one policy more is in
   * force, never one less.
   */
  #next(): { readonly subscribed: Subscribed; readonly batch: Batch } | undefined {
    const { responseBytes } = this.#options.limits;
    for (const subscribed of this.#types.values()) {
      const { subscription } = subscribed;
      const endsLater = subscription.typeUrl === authorizationType && this.#othersPending(subscription);
      const batch = subscription.take(responseBytes, endsLater ? 'upserts' : undefined);
      if (batch !== undefined) return { subscribed, batch };
    }
    return undefined;
  }

  #othersPending(subscription: ServerSubscription): boolean {
    return [...this.#types.values()].some(
      (other) => other.subscription !== subscription && other.subscription.pending > 0,
    );
  }

  #write(subscribed: Subscribed, { upserts, removed, refused, isLast }: Batch, onSent: () => void): void {
    const { store, sink, onNamesRefused } = this.#options;
    const { typeUrl } = subscribed.subscription;
    this.#responses += 1;
    const nonce = nonceOf(this.#responses, isLast);
    const head = DeltaDiscoveryResponse.encode({
      systemVersionInfo: store.generationText,
      resources: [],
      typeUrl,
      nonce,
      removedResources: [...removed],
      resourceErrors: refused.map((name) => nameRefused(name, this.#options.limits.names)),
    }).finish();
    // Fields of a message may come in any order: the resources are the bytes that every agent gets.
    const bytes = Buffer.concat([head, ...upserts.map((resource) => resource.entry(typeUrl))]);
    subscribed.answers.sent(nonce, { generation: store.generationText, upserts, removed });
    subscribed.sentResources += upserts.length;
    this.#sentBytes += bytes.length;
    if (refused.length > 0) onNamesRefused(typeUrl, refused);
    sink.write(bytes, onSent);
  }
}

/** As what is not there to agents that know nothing of errors: then nobody waits for it. */
function nameRefused(name: string, most: number): ResourceError {
  const message = `${most} names are asked for already, as many as one stream may; unsubscribe some, or subscribe to everything`;
  const errorDetail = { code: status.RESOURCE_EXHAUSTED, message };
  return ResourceError.fromPartial({ resourceName: { name }, errorDetail });
}
