import { statSync } from 'node:fs';
import { deadline, waitOrAbort } from '../base/abort.ts';
import { Backoff } from '../base/backoff.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import { CarriedPod, type CarryingParts } from './carried-pod.ts';
import type { OlderConnections } from './older-connections.ts';
import type { PodStore, StoredPod } from './pod-store.ts';
import type { AddRequest, RemoveRequest } from './request.ts';
import type { EnrolmentService } from './server.ts';

export interface EnrolmentParts extends CarryingParts {
  readonly capture: Pick<BpfCapture, 'attachPod' | 'replaceRows' | 'forgetOtherPods' | 'pinnedPods'>;
  readonly store: PodStore;
  /** Undefined: connections older than the enrolment are kept. */
  readonly olderConnections: OlderConnections | undefined;
  readonly logger: Logger;
}

export interface EnrolmentCounts {
  readonly carried: number;
  readonly leaving: number;
  /** Stored, but not carried yet: a restored pod whose enrolment failed and is tried again. */
  readonly pending: number;
  readonly enrolled: number;
  readonly removed: number;
  readonly failed: number;
}

/** How often namespaces that vanished without `/cmddel` are looked for. */
const sweepIntervalMs = 10_000;

/** Which pods are ours. Requests for one pod are served one after the other, different pods at the same time. */
export class Enrolment implements EnrolmentService {
  readonly #parts: EnrolmentParts;
  readonly #carried = new Map<string, CarriedPod>();
  readonly #leaving = new Map<number, CarriedPod>();
  readonly #pending = new Set<string>();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #unreviewed = new Set<CarriedPod>();
  readonly #retries = new Map<string, Backoff>();
  readonly #ending = new AbortController();
  readonly #sweep: NodeJS.Timeout;
  readonly #counts = { enrolled: 0, removed: 0, failed: 0 };
  readonly #restored = { rule: 0, route: 0 };

  constructor(parts: EnrolmentParts) {
    const onRestored: CarryingParts['onRestored'] = (pod, change) => {
      this.#restored[change.what]++;
      parts.onRestored(pod, change);
    };
    this.#parts = { ...parts, onRestored };
    this.#sweep = setInterval(() => this.#removeVanished(), sweepIntervalMs);
    this.#sweep.unref();
  }

  counts(): EnrolmentCounts {
    return {
      carried: this.#carried.size,
      leaving: this.#leaving.size,
      pending: this.#pending.size,
      ...this.#counts,
    };
  }

  /** Rules and routes of the capture that somebody removed and that were put back. */
  restored(): Readonly<Record<'rule' | 'route', number>> {
    return { ...this.#restored };
  }

  /** Carried and leaving pods. */
  pods(): CarriedPod[] {
    return [...this.#carried.values(), ...this.#leaving.values()];
  }

  /** By the number in flow records. */
  podAt(podIndex: number): CarriedPod | undefined {
    return this.#leaving.get(podIndex) ?? this.pods().find((pod) => pod.podIndex === podIndex);
  }

  list(): readonly Readonly<Record<string, unknown>>[] {
    return this.pods().map(describePod);
  }

  /** Resolves when the pod is captured. The same pod again is no work and no error. */
  enrol(request: AddRequest): Promise<Readonly<Record<string, unknown>>> {
    return this.#inTurn(request.uid, () => this.#enrol(request));
  }

  async remove(request: RemoveRequest): Promise<Readonly<Record<string, unknown>>> {
    const stored =
      request.uid === ''
        ? this.#parts.store.find(request.namespace, request.name)
        : this.#parts.store.get(request.uid);
    if (stored === undefined) return { removed: false };
    return this.#inTurn(stored.uid, () => this.#remove(stored.uid, request.reason));
  }

  /**
   * Carries again what an earlier agent carried, before anybody may ask for more. Pods whose namespace is gone are dropped;
   * those that fail stay captured, so their connections are refused, and are tried again.
   */
  async restore(timeoutMs: number): Promise<void> {
    const { store, capture, logger } = this.#parts;
    const time = deadline(timeoutMs, 'carrying the pods of the earlier agent again');
    const all = Promise.all(store.pods().map((pod) => this.#inTurn(pod.uid, () => this.#restore(pod))));
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
    const indexes = new Set(store.pods().map(({ podIndex }) => podIndex));
    const known = capture.pinnedPods().filter(({ podIndex }) => indexes.has(podIndex));
    for (const pod of capture.forgetOtherPods(known)) {
      logger.info(
        { podIndex: pod.podIndex },
        'a pod that nobody knows any more was taken out of the capture',
      );
    }
  }

  /** A connection that was not judged because the mesh state did not know its pod is judged when it does. */
  onSnapshot(): void {
    for (const pod of this.#unreviewed) this.#review(pod);
  }

  /** The last connection of a pod that left has ended. */
  onDrained(podIndex: number): void {
    const pod = this.#leaving.get(podIndex);
    if (pod === undefined) return;
    void this.#inTurn(pod.stored.uid, () => this.#endLeaving(pod)).catch((err: unknown) => {
      this.#parts.logger.warn(
        { err, pod: pod.enrolled.uid },
        'a pod that left could not be taken out completely',
      );
    });
  }

  /** Takes no more requests and lets go; what is captured stays captured. */
  async close(): Promise<void> {
    this.#ending.abort(new HadalError('ERR_DRAINING', 'the agent is ending'));
    clearInterval(this.#sweep);
    await Promise.allSettled(this.#turns.values());
    for (const pod of this.pods()) pod.release();
    this.#carried.clear();
    this.#leaving.clear();
  }

  async #enrol(request: AddRequest): Promise<Readonly<Record<string, unknown>>> {
    const { native, store, logger } = this.#parts;
    const netnsFd = this.#openNetns(request.netns);
    const netnsInode = String(native.netnsIdentity(netnsFd).inode);
    const known = this.#carried.get(request.uid);
    if (known !== undefined && known.stored.netnsInode === netnsInode) {
      native.closeFd(netnsFd);
      known.followAddresses();
      return { ...describePod(known), already: true };
    }
    if (known !== undefined) {
      logger.info(
        { pod: known.enrolled.uid },
        'the pod has another network namespace now; it is enrolled anew',
      );
      await this.#remove(request.uid, 'deleted');
    }
    await this.#removeOthersIn(netnsInode, request.uid);
    const enrolledAt = new Date().toISOString();
    const podIndex = store.reserveIndex();
    const stored: StoredPod = { ...request, podIndex, netnsInode, enrolledAt };
    try {
      const pod = await this.#carry(netnsFd, stored, false);
      return describePod(pod);
    } catch (caught) {
      this.#counts.failed++;
      store.releaseIndex(podIndex);
      await store.remove(request.uid);
      throw caught;
    }
  }

  async #carry(netnsFd: number, stored: StoredPod, adopted: boolean): Promise<CarriedPod> {
    const { store, logger } = this.#parts;
    const keep = () => (adopted ? Promise.resolve() : store.put(stored));
    const pod = await CarriedPod.carry(this.#parts, netnsFd, stored, { adopted, keep });
    this.#carried.set(stored.uid, pod);
    this.#counts.enrolled++;
    logger.info({ pod: pod.enrolled.uid, addresses: pod.addresses, adopted }, 'enrolled');
    logger.debug({ pod: pod.enrolled.uid, ...pod.timings }, 'steps of the enrolment, in ms');
    this.#review(pod);
    return pod;
  }

  async #restore(stored: StoredPod): Promise<void> {
    const { native, store, logger } = this.#parts;
    const name = `${stored.namespace}/${stored.name}`;
    let netnsFd: number | undefined;
    try {
      netnsFd = native.openNetns(stored.netns);
      if (String(native.netnsIdentity(netnsFd).inode) !== stored.netnsInode) {
        throw new HadalError('ERR_NETNS', `${stored.netns} is another network namespace now`);
      }
    } catch (err) {
      if (netnsFd !== undefined) native.closeFd(netnsFd);
      logger.info({ err, pod: name }, 'the network namespace of an enrolled pod is gone; the pod is dropped');
      await store.remove(stored.uid);
      store.releaseIndex(stored.podIndex);
      return;
    }
    if (stored.leftAt !== undefined) return this.#finishLeaving(netnsFd, stored);
    this.#pending.add(stored.uid);
    try {
      await this.#carry(netnsFd, stored, true);
      this.#pending.delete(stored.uid);
    } catch (err) {
      this.#counts.failed++;
      logger.error(
        { err, pod: name },
        'an enrolled pod cannot be carried again; its connections are refused until it can',
      );
      this.#restoreLater(stored);
    }
  }

  /** Its connections ended with the earlier agent; what is left of it are the routes. */
  async #finishLeaving(netnsFd: number, stored: StoredPod): Promise<void> {
    const { native, routing, store, logger } = this.#parts;
    try {
      native.removeCaptureRouting(netnsFd, routing);
    } catch (err) {
      logger.warn(
        { err, pod: `${stored.namespace}/${stored.name}` },
        'the routes of a pod that left could not be removed',
      );
    } finally {
      native.closeFd(netnsFd);
    }
    await store.remove(stored.uid);
    store.releaseIndex(stored.podIndex);
  }

  #restoreLater(stored: StoredPod): void {
    const backoff = this.#retries.get(stored.uid) ?? new Backoff({ initialMs: 500, maxMs: 10_000 });
    this.#retries.set(stored.uid, backoff);
    const timer = setTimeout(() => {
      if (this.#ending.signal.aborted || this.#parts.store.get(stored.uid) !== stored) return;
      void this.#inTurn(stored.uid, () => this.#restore(stored)).catch(() => {});
    }, backoff.next());
    timer.unref();
  }

  async #remove(uid: string, reason: RemoveRequest['reason']): Promise<Readonly<Record<string, unknown>>> {
    const { store, logger } = this.#parts;
    this.#pending.delete(uid);
    const pod = this.#carried.get(uid) ?? this.#leavingOf(uid);
    if (pod === undefined) {
      const stored = store.get(uid);
      await store.remove(uid);
      if (stored !== undefined) store.releaseIndex(stored.podIndex);
      return { removed: stored !== undefined };
    }
    this.#carried.delete(uid);
    this.#unreviewed.delete(pod);
    this.#counts.removed++;
    if (reason === 'left') {
      this.#leaving.set(pod.podIndex, pod);
      pod.leave();
      await store.put({ ...pod.stored, leftAt: new Date().toISOString() });
      logger.info({ pod: pod.enrolled.uid }, 'left the mesh; its open connections run to their end');
      return { removed: true, draining: true };
    }
    this.#leaving.delete(pod.podIndex);
    pod.end({ keepRoutes: false });
    await this.#forget(pod);
    logger.info({ pod: pod.enrolled.uid }, 'removed');
    return { removed: true };
  }

  async #endLeaving(pod: CarriedPod): Promise<void> {
    if (!this.#leaving.delete(pod.podIndex)) return;
    const heir = this.#carried.get(pod.stored.uid);
    pod.end({ keepRoutes: heir?.stored.netnsInode === pod.stored.netnsInode });
    await this.#forget(pod);
    this.#parts.logger.info({ pod: pod.enrolled.uid }, 'the last connection of a pod that left has ended');
  }

  /** Out of the store, unless the pod was enrolled anew under another number. */
  async #forget(pod: CarriedPod): Promise<void> {
    const { store } = this.#parts;
    if (store.get(pod.stored.uid)?.podIndex === pod.podIndex) await store.remove(pod.stored.uid);
    store.releaseIndex(pod.podIndex);
  }

  /** A namespace belongs to one pod: whoever is enrolled in it has ended without anybody telling. */
  async #removeOthersIn(netnsInode: string, uid: string): Promise<void> {
    for (const pod of [...this.#carried.values()]) {
      if (pod.stored.netnsInode !== netnsInode || pod.stored.uid === uid) continue;
      this.#parts.logger.warn(
        { pod: pod.enrolled.uid },
        'its network namespace is another pod’s now; it is removed',
      );
      await this.#remove(pod.stored.uid, 'deleted');
    }
  }

  #openNetns(path: string): number {
    const { native } = this.#parts;
    let fd: number;
    try {
      fd = native.openNetns(path);
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_NETNS');
      throw new HadalError('ERR_ENROLMENT_REQUEST', `field Netns: ${error.message}`, {
        cause: error,
        details: { field: 'Netns' },
      });
    }
    if (native.netnsIdentity(fd).inode !== statSync('/proc/self/ns/net', { bigint: true }).ino) return fd;
    native.closeFd(fd);
    throw new HadalError(
      'ERR_ENROLMENT_REQUEST',
      `field Netns: ${path} is the namespace of the agent itself; pods in the host's network are not carried`,
      { details: { field: 'Netns' } },
    );
  }

  #leavingOf(uid: string): CarriedPod | undefined {
    return [...this.#leaving.values()].find(({ stored }) => stored.uid === uid);
  }

  #review(pod: CarriedPod): void {
    const { olderConnections, logger } = this.#parts;
    if (olderConnections === undefined || pod.state !== 'carried') return;
    if (!olderConnections.canReview(pod.enrolled)) {
      this.#unreviewed.add(pod);
      return;
    }
    this.#unreviewed.delete(pod);
    try {
      olderConnections.review({ ...pod.enrolled, netnsFd: pod.netnsFd });
    } catch (err) {
      logger.error(
        { err, pod: pod.enrolled.uid },
        'connections older than the enrolment could not be reviewed',
      );
    }
  }

  /** An open descriptor keeps a namespace alive whose pod is gone. */
  #removeVanished(): void {
    for (const pod of this.pods()) {
      const { uid, netns, netnsInode } = pod.stored;
      if (String(statSync(netns, { bigint: true, throwIfNoEntry: false })?.ino) === netnsInode) continue;
      this.#parts.logger.info(
        { pod: pod.enrolled.uid, netns },
        'the network namespace is gone; the pod is removed',
      );
      void this.#inTurn(uid, () => this.#remove(uid, 'deleted')).catch(() => {});
    }
  }

  async #inTurn<T>(uid: string, act: () => Promise<T>): Promise<T> {
    if (this.#ending.signal.aborted)
      throw new HadalError('ERR_DRAINING', 'the agent is ending; ask the next one');
    const turn = (this.#turns.get(uid) ?? Promise.resolve()).catch(() => {}).then(act);
    this.#turns.set(uid, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(uid) === turn) this.#turns.delete(uid);
    }
  }
}

function describePod(pod: CarriedPod): Readonly<Record<string, unknown>> {
  const { uid, name, namespace, serviceAccount, netns, enrolledAt } = pod.stored;
  return {
    uid,
    name,
    namespace,
    serviceAccount,
    netns,
    enrolledAt,
    workload: pod.enrolled.uid,
    podIndex: pod.podIndex,
    identity: pod.identity,
    addresses: pod.addresses,
    state: pod.state,
    certificate: pod.hasCertificate ? 'ready' : 'pending',
    routesRestored: pod.restoredRoutes,
  };
}
