/**
 * The agent's end of delta discovery: one stream for all types, opened again whenever it ends, resumed with what is in force.
 * A response is converted, applied, and only then answered, so a server never outruns its agent.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { sleep } from '../base/abort.ts';
import { Backoff } from '../base/backoff.ts';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import { createChange, isEmptyChange } from '../model/change.ts';
import { mergeChanges } from '../model/change-merge.ts';
import { convertAll } from './client-convert.ts';
import { rejectedOf, retainedOf } from './client-kept.ts';
import type { Gone, XdsClientOptions } from './client-options.ts';
import { receive } from './client-receive.ts';
import {
  type ClientState,
  type Termination,
  terminationOf,
  type XdsCounters,
  type XdsStatus,
} from './client-state.ts';
import type { RawResponse, XdsStream } from './client-stream.ts';
import {
  type Asked,
  createSubscription,
  forgetResources,
  lookAway,
  lookUp,
  openingRequest,
  type Request,
  type Subscription,
} from './client-subscription.ts';
import { errorCodeMetadata, generationMetadata } from './generation.ts';
import { GenerationGuard } from './generation-guard.ts';
import type { NodeIdentity } from './node-identity.ts';
import { isLastOfPush } from './push-end.ts';
import { type Held, PushHold } from './push-hold.ts';
import { addressType, authorizationType } from './type-urls.ts';
import { mergeVersions, noVersions, type ResourceKind } from './versioned-change.ts';

/** A stream that held so long was a good one, even if the server had nothing to say. */
const goodStreamMs = 10_000;
/** So long a push that takes many responses may be on its way before the part that is there comes in force. */
const longestHoldMs = 5_000;

export class XdsClient implements Closeable {
  readonly #options: XdsClientOptions;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  /** Policies first: what an address says is to be judged by them. */
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #terminations = new Map<Termination, number>();
  readonly #messages = new Map<string, number>();
  readonly #messageBytes = new Map<string, number>();
  readonly #hold: PushHold;
  /** What has seen less than what is in force must not undo it. */
  readonly #guard: GenerationGuard;
  #state: ClientState = { name: 'idle' };
  #stream: XdsStream | undefined;
  #running: Promise<void> = Promise.resolve();
  #lastResponseAt: number | undefined;
  #error: string | undefined;
  /** Why the server last did not tell of a name. */
  #nameError: string | undefined;
  /** The stream before ended without a fault. */
  #isRenewal = false;
  #rejected = 0;
  #systemVersion = '';

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff({ initialMs: 10, maxMs: 15_000, jitter: 0.5 });
    const { kept, onDemand } = options;
    this.#hold = new PushHold({ longestMs: longestHoldMs, putInForce: (held) => this.#putInForce(held) });
    const start = (typeUrl: string, kinds: readonly ResourceKind[], wildcard: boolean) => {
      const retained = kept === undefined ? [] : kinds.flatMap((kind) => retainedOf(kept, kind));
      const subscription = createSubscription({
        typeUrl,
        wildcard,
        retained,
        rejected: rejectedOf(kept, retained),
        isComplete: kept !== undefined,
      });
      this.#subscriptions.set(typeUrl, subscription);
    };
    this.#guard = new GenerationGuard(kept?.generation ?? '', options.behindPatienceMs ?? 600_000);
    start(authorizationType, ['policies'], true);
    start(addressType, ['workloads', 'services'], !onDemand);
  }

  get status(): XdsStatus {
    const state = this.#state;
    return {
      address: this.#options.address,
      state: state.name,
      connectedAt: state.name === 'streaming' ? state.since : undefined,
      lastResponseAt: this.#lastResponseAt,
      error: this.#error,
      rejected: [...this.#subscriptions.values()].flatMap(({ typeUrl, rejected }) =>
        Array.from(rejected, ([name, rejection]) => ({ typeUrl, name, ...rejection })),
      ),
      systemVersion: this.#systemVersion,
      held: this.#hold.size,
      behind: this.#guard.behind,
      names: this.#options.onDemand ? this.wanted.size : undefined,
    };
  }

  get counters(): XdsCounters {
    return {
      terminations: this.#terminations,
      messages: this.#messages,
      messageBytes: this.#messageBytes,
      rejected: this.#rejected,
    };
  }

  /** Everything of every type was received at some time, here or by an earlier process. */
  get isComplete(): boolean {
    return [...this.#subscriptions.values()].every(({ isComplete }) => isComplete);
  }

  start(): void {
    if (this.#state.name !== 'idle') return;
    this.#running = this.#run(this.#closing.signal);
  }

  /** On demand: asks for addresses by name; true when any of them was not asked for yet. */
  lookUp(names: Iterable<string>): boolean {
    return this.#ask(lookUp(this.#subscription(addressType), names));
  }

  /** Nobody wants to know any more: a later question asks anew. */
  lookAway(names: Iterable<string>): void {
    this.#ask(lookAway(this.#subscription(addressType), names));
  }

  /** Names that are asked for; without on demand there are none. */
  get wanted(): ReadonlyMap<string, true> {
    return this.#subscription(addressType).wanted;
  }

  /** Stops asking for names, and gives up what came with no other: nobody would tell of its changes. */
  async forget(names: readonly string[], gone: Gone): Promise<void> {
    const known = this.#subscription(addressType);
    this.lookAway(names);
    const resources = [...gone.workloads, ...gone.services];
    this.#subscriptions.set(addressType, forgetResources(this.#subscription(addressType), resources));
    const [workloads, services] = [gone.workloads, gone.services].map((all) => ({
      removals: all.filter((name) => known.retained.has(name)),
    }));
    const change = createChange({ ...(workloads && { workloads }), ...(services && { services }) });
    if (isEmptyChange(change)) return;
    await this.#options.onChange({ change, versions: noVersions, generation: this.#guard.text });
  }

  #ask(asked: Asked | undefined): boolean {
    if (asked === undefined) return false;
    this.#subscriptions.set(addressType, asked.subscription);
    // Without a stream the opening request of the next one asks.
    this.#stream?.send(asked.request);
    return true;
  }

  async close(): Promise<void> {
    this.#closing.abort(new HadalError('ERR_DRAINING', 'the agent is ending'));
    this.#stream?.cancel();
    await this.#running;
    this.#hold.close();
    this.#enter({ name: 'closed' });
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#enter({ name: 'connecting', attempt: this.#backoff.failures + 1 });
      const error = await this.#follow(signal);
      if (signal.aborted) return;
      const delayMs = this.#backoff.next();
      this.#enter({ name: 'waiting', delayMs, error });
      await sleep(delayMs, signal, { step: 'waiting for the control plane' }).catch(() => {});
    }
  }

  /** One stream from its opening to its end. Resolves with what went wrong, in words. */
  async #follow(signal: AbortSignal): Promise<string | undefined> {
    let stream: XdsStream | undefined;
    let failure: unknown;
    try {
      const metadata = await this.#options.metadata();
      if (signal.aborted) return undefined;
      this.#giveUpWaiting();
      stream = this.#options.transport.open(metadata, () => this.#onConnected());
      this.#stream = stream;
      this.#open(stream);
      for await (const response of stream.responses) {
        this.#guard.check(response.systemVersion);
        // From here on it is a good connection; a server that only accepts and fails must not be asked in a loop.
        this.#backoff.reset();
        await this.#onResponse(stream, response);
        if (signal.aborted) break;
      }
    } catch (caught) {
      failure = caught;
    }
    this.#stream = undefined;
    stream?.cancel();
    if (signal.aborted) return undefined;
    await this.#hold.endStream(this.isComplete);
    return this.#ended(failure, stream?.isConnected ?? false);
  }

  #giveUpWaiting(): void {
    const { behind, text } = this.#guard;
    if (!this.#guard.giveUp()) return;
    const since = new Date(behind?.since ?? 0).toISOString();
    this.#options.logger.warn(
      { address: this.#options.address, known: text, since },
      'no control plane has seen what is in force here, for as long as HADAL_XDS_BEHIND_PATIENCE; what it tells now is taken',
    );
  }

  #open(stream: XdsStream): void {
    let node: NodeIdentity | undefined = this.#node();
    for (const subscription of this.#subscriptions.values()) {
      stream.send(openingRequest(subscription), node);
      node = undefined;
    }
  }

  #node(): NodeIdentity {
    const { node } = this.#options;
    const { text } = this.#guard;
    return text === '' ? node : { ...node, metadata: { ...node.metadata, [generationMetadata]: text } };
  }

  #onConnected(): void {
    this.#enter({ name: 'streaming', since: Date.now() });
    // A stream that took the place of one whose time was over is no news.
    const level = this.#isRenewal ? 'debug' : 'info';
    this.#isRenewal = false;
    this.#options.logger[level]({ address: this.#options.address }, 'connected to the control plane');
    this.#options.onConnected?.();
  }

  #ended(failure: unknown, isConnected: boolean): string | undefined {
    const { address, logger } = this.#options;
    if (this.#state.name === 'streaming' && Date.now() - this.#state.since > goodStreamMs)
      this.#backoff.reset();
    const termination = terminationOf(failure, isConnected);
    count(this.#terminations, termination, 1);
    if (termination === 'Complete') {
      logger.debug({ address }, 'the control plane ended the stream');
      this.#isRenewal = true;
      return undefined;
    }
    this.#isRenewal = false;
    const err = isBehindThere(failure)
      ? this.#guard.refuse(failure.details)
      : HadalError.from(failure, 'ERR_XDS_STREAM', `discovery from ${address}`);
    const isNews = err.message !== this.#error;
    this.#error = err.message;
    if (termination === 'Reconnect') logger.info({ err }, 'the stream from the control plane ended');
    else if (isNews) logger.warn({ err }, 'no discovery from the control plane; what is in force stays');
    return err.message;
  }

  async #onResponse(stream: XdsStream, response: RawResponse): Promise<void> {
    this.#lastResponseAt = Date.now();
    this.#error = undefined;
    this.#systemVersion = response.systemVersion;
    this.#tellErrors(response);
    count(this.#messages, response.typeUrl, 1);
    count(this.#messageBytes, response.typeUrl, response.bytes);
    const { typeUrl, nonce, systemVersion } = response;
    if (!this.#subscriptions.has(typeUrl)) {
      stream.send(acknowledgement(typeUrl, nonce));
      return;
    }
    const resources = await convertAll(response, this.#options);
    // Only now: names may have been asked for meanwhile.
    const isLast = isLastOfPush(nonce);
    const converted = { nonce, isLast, resources, removed: response.removed };
    const received = receive(this.#subscription(typeUrl), converted);
    this.#subscriptions.set(typeUrl, received.subscription);
    this.#rejected += resources.filter((each) => 'reason' in each).length;
    this.#tellRefusals(received.reply);
    const { change, versions, absent } = received;
    const held = { change, versions, systemVersion, absent };
    await this.#hold.add(typeUrl, held, isLast, this.isComplete);
    stream.send(received.reply);
  }

  /** As one change, so that nobody meets half of it. */
  async #putInForce(held: readonly Held[]): Promise<void> {
    const { onChange, onAbsent } = this.#options;
    this.#guard.inForce(held.map(({ systemVersion }) => systemVersion));
    const { text: generation } = this.#guard;
    const change = mergeChanges(held.map((each) => each.change));
    await onChange({ change, versions: mergeVersions(held.map(({ versions }) => versions)), generation });
    const absent = held.flatMap((each) => each.absent);
    if (absent.length > 0) onAbsent?.(absent);
  }

  /** The same cause once: at a limit each new question has it. */
  #tellErrors({ typeUrl, errors }: RawResponse): void {
    const [first] = errors;
    if (first === undefined || first.why === this.#nameError) return;
    this.#nameError = first.why;
    const names = errors.slice(0, 10).map(({ name }) => name);
    this.#options.logger.warn(
      { typeUrl, names, why: first.why },
      'the control plane does not tell of names that are asked for; connections there are refused',
    );
  }

  #tellRefusals({ typeUrl, refusal }: Request): void {
    if (refusal === undefined) return;
    this.#options.logger.error(
      { typeUrl, refusal },
      'the control plane sent resources that are not understood; their last good versions stay, and policies without one refuse',
    );
  }

  #subscription(typeUrl: string): Subscription {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription === undefined) throw new HadalError('ERR_INTERNAL', `${typeUrl} is not subscribed to`);
    return subscription;
  }

  #enter(next: ClientState): void {
    if (this.#state.name !== 'closed') this.#state = next;
  }
}

/** A server's own word for it, before it has told anything. */
function isBehindThere(failure: unknown): failure is ServiceError {
  if (!(failure instanceof Error) || !('metadata' in failure)) return false;
  return (failure as ServiceError).metadata.get(errorCodeMetadata).includes('ERR_XDS_BEHIND');
}

function acknowledgement(typeUrl: string, nonce: string): Request {
  return { typeUrl, subscribe: [], unsubscribe: [], versions: new Map(), nonce, refusal: undefined };
}

function count<K>(counts: Map<K, number>, key: K, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
