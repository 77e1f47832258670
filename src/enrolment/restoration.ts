import { deadline, waitOrAbort } from '../base/abort.ts';
import { Backoff } from '../base/backoff.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import type { CaptureRouting, NativeNet } from '../native/types.ts';
import type { CarriedPod } from './carried-pod.ts';
import { openStoredNamespace, type PodNamespace } from './pod-namespace.ts';
import type { PodStore, StoredPod } from './pod-store.ts';
import type { RemoveReason } from './request.ts';
import type { Turns } from './turns.ts';

/** Captured, and refused until it can be carried. */
export interface WaitingPod {
  readonly stored: StoredPod;
  readonly error: HadalError;
}

export interface RestorationParts {
  readonly native: NativeNet;
  readonly capture: Pick<BpfCapture, 'forgetPods' | 'pinnedPods'>;
  readonly store: PodStore;
  readonly routing: CaptureRouting;
  readonly turns: Turns;
  /** Carries a pod that an earlier agent carried. Takes over the descriptor. */
  readonly carry: (netnsFd: number, stored: StoredPod) => Promise<unknown>;
  readonly isCarried: (uid: string) => boolean;
  readonly onFailed: () => void;
  readonly onPending: (stored: StoredPod) => void;
  readonly onLetGo: (stored: StoredPod, reason: RemoveReason) => void;
  readonly logger: Logger;
}

/**
 * Pods that an earlier agent carried: in the store or in the kernel, and not carried by this one yet. Whatever goes wrong
 * with them, they stay captured: their connections are refused, not sent in the clear.
 */
export class Restoration {
  readonly #parts: RestorationParts;
  readonly #pending = new Map<string, WaitingPod>();
  readonly #retries = new Map<string, Backoff>();
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(parts: RestorationParts) {
    this.#parts = parts;
  }

  /** Pods that could not be carried again yet; they are tried again. */
  get pending(): readonly WaitingPod[] {
    return [...this.#pending.values()];
  }

  /** Carries all of them again; goes on without those that take longer than `timeoutMs`. */
  async all(timeoutMs: number): Promise<void> {
    const { store, turns, logger } = this.#parts;
    const time = deadline(timeoutMs, 'carrying the pods of the earlier agent again');
    const all = Promise.all(store.pods().map((pod) => turns.take(pod.uid, () => this.#one(pod))));
    try {
      await waitOrAbort(all, time.signal, 'restore');
    } catch (err) {
      logger.error(
        { err, pending: this.#pending.size },
        'not all pods are carried again; going on without them',
      );
    } finally {
      time.clear();
    }
    await this.#settleUnknown();
  }

  /** Another attempt, when an attempt failed. */
  later(stored: StoredPod, cause: unknown): void {
    const { turns, store } = this.#parts;
    const backoff = this.#retries.get(stored.uid) ?? new Backoff({ initialMs: 500, maxMs: 10_000 });
    this.#pending.set(stored.uid, { stored, error: HadalError.from(cause, 'ERR_ENROLMENT') });
    // One that left is not to be carried again, only to be cleaned up after.
    if (stored.leftAt === undefined) this.#parts.onPending(stored);
    this.#retries.set(stored.uid, backoff);
    clearTimeout(this.#timers.get(stored.uid));
    const timer = setTimeout(() => {
      this.#timers.delete(stored.uid);
      if (turns.ended || store.get(stored.uid) !== stored) return;
      turns.take(stored.uid, () => this.#one(stored)).catch(() => {}); // told where it failed
    }, backoff.next());
    timer.unref();
    this.#timers.set(stored.uid, timer);
  }

  /** It is carried, or gone: nothing is to be tried again. */
  done(uid: string): void {
    this.#pending.delete(uid);
    this.#retries.delete(uid);
    clearTimeout(this.#timers.get(uid));
    this.#timers.delete(uid);
  }

  /** Takes a pod out of the capture that is known from the store alone. */
  async letGo(stored: StoredPod, reason: RemoveReason): Promise<void> {
    this.done(stored.uid);
    if (stored.leftAt === undefined) this.#parts.onLetGo(stored, reason);
    this.#parts.capture.forgetPods(({ podIndex }) => podIndex === stored.podIndex);
    let namespace: PodNamespace | undefined;
    try {
      namespace = openStoredNamespace(this.#parts.native, stored);
    } catch (err) {
      this.#parts.logger.warn({ err, pod: nameOf(stored) }, 'the routes of a pod could not be removed');
    }
    await this.#endRoutes(namespace, stored);
  }

  /** Carried now. Under another number the same namespace may be captured since a store that was lost: that ends. */
  async replacedBy({ stored, netns, podIndex }: CarriedPod): Promise<void> {
    const { capture, store, logger } = this.#parts;
    this.done(stored.uid);
    try {
      const older = capture.forgetPods(
        (pod) => pod.netnsCookie === netns.cookie && pod.podIndex !== podIndex,
      );
      await store.unhold(older.map((pod) => pod.podIndex));
    } catch (err) {
      logger.warn({ err, pod: nameOf(stored) }, 'an earlier capture of the pod could not be removed');
    }
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  async #one(stored: StoredPod): Promise<void> {
    const { native, store, logger, carry, isCarried, onFailed } = this.#parts;
    // It was asked for anew, or removed, while this waited for its turn.
    if (store.get(stored.uid) !== stored || isCarried(stored.uid)) return;
    try {
      const namespace = openStoredNamespace(native, stored);
      if (namespace === undefined) {
        logger.info(
          { pod: nameOf(stored) },
          'the network namespace of an enrolled pod is gone; the pod is dropped',
        );
        // The pod itself may go on in another one, as after a reboot; until it is enrolled there nobody holds it.
        await this.letGo(stored, 'left');
      } else if (stored.leftAt !== undefined) {
        this.#parts.capture.forgetPods(({ podIndex }) => podIndex === stored.podIndex);
        await this.#endRoutes(namespace, stored);
      } else {
        await carry(namespace.fd, stored);
      }
      this.done(stored.uid);
    } catch (err) {
      onFailed();
      logger.error(
        { err, pod: nameOf(stored) },
        'an enrolled pod cannot be carried again; its connections are refused until it can',
      );
      this.later(stored, err);
    }
  }

  /** The connections of a pod that left ended with the earlier agent; what is left of it are the routes. */
  async #endRoutes(namespace: PodNamespace | undefined, stored: StoredPod): Promise<void> {
    const { native, routing, store, logger } = this.#parts;
    if (namespace !== undefined) {
      try {
        native.removeCaptureRouting(namespace.fd, routing);
      } catch (err) {
        logger.warn({ err, pod: nameOf(stored) }, 'the routes of a pod that left could not be removed');
      } finally {
        native.closeFd(namespace.fd);
      }
    }
    await store.remove(stored.uid);
    store.releaseIndex(stored.podIndex);
  }

  /**
   * What the kernel captures and the store does not know. An enrolment that a crash cut short is taken out again. But when the
   * store is lost, all pods look like that: then they stay captured until somebody enrols them anew.
   */
  async #settleUnknown(): Promise<void> {
    const { store, capture, logger } = this.#parts;
    const indexes = new Set([...store.pods().map(({ podIndex }) => podIndex), ...store.held]);
    const pinned = capture.pinnedPods();
    await store.unhold(store.held.filter((held) => !pinned.some(({ podIndex }) => podIndex === held)));
    const unknown = pinned.filter(({ podIndex }) => !indexes.has(podIndex));
    if (unknown.length === 0) return;
    const podIndexes = unknown.map(({ podIndex }) => podIndex);
    if (store.isLost) {
      await store.hold(podIndexes);
      logger.error(
        { podIndexes },
        'the kernel captures pods that the lost store knew; their connections are refused until POST /cmdadd names them again',
      );
      return;
    }
    for (const pod of capture.forgetPods(({ podIndex }) => !indexes.has(podIndex))) {
      logger.info(
        { podIndex: pod.podIndex },
        'a pod that nobody knows any more was taken out of the capture',
      );
    }
  }
}

function nameOf({ namespace, name }: StoredPod): string {
  return `${namespace}/${name}`;
}
