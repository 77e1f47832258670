import { isDeepStrictEqual } from 'node:util';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import type { SnapshotDiff } from '../model/diff.ts';
import { selectsInbound } from '../model/traffic-exclusions.ts';
import type { CarriedPod, CarryingParts } from './carried-pod.ts';
import { carryPod } from './carry-pod.ts';
import { describePod } from './describe-pod.ts';
import type { OlderConnections } from './older-connections.ts';
import { hasVanished, openRequestedNamespace, type PodNamespace } from './pod-namespace.ts';
import type { PodStore, StoredPod } from './pod-store.ts';
import { type AddRequest, type RemoveRequest, sameWishes, withWishes } from './request.ts';
import { Restoration, type WaitingPod } from './restoration.ts';
import { Reviews } from './reviews.ts';
import type { EnrolmentService } from './server.ts';
import { Turns } from './turns.ts';

export interface EnrolmentParts extends CarryingParts {
  readonly capture: Pick<BpfCapture, 'attachPod' | 'forgetRows' | 'forgetPods' | 'pinnedPods' | 'sockets'>;
  readonly store: PodStore;
  /** Undefined: connections older than the enrolment are kept. */
  readonly olderConnections: OlderConnections | undefined;
  readonly logger: Logger;
  /** Its connections are carried from now on. */
  readonly onCarried: (pod: CarriedPod) => void;
  /** Its annotations say otherwise now. */
  readonly onChanged: (pod: CarriedPod) => void;
  /** They are not any more, since the pod left the mesh or has ended; called before anything of it is closed. */
  readonly onGone: (pod: CarriedPod, reason: RemoveRequest['reason']) => void;
  /** Captured by an earlier agent, and could not be carried again: its connections are refused, and it is tried again. */
  readonly onPending: (stored: StoredPod) => void;
  /** Such a pod is not captured any more. */
  readonly onLetGo: (stored: StoredPod, reason: RemoveRequest['reason']) => void;
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

type Answer = Readonly<Record<string, unknown>>;

/** Which pods are ours. */
export class Enrolment implements EnrolmentService {
  readonly #parts: EnrolmentParts;
  readonly #carried = new Map<string, CarriedPod>();
  readonly #leaving = new Map<number, CarriedPod>();
  /** Being enrolled now; in no other list yet. */
  readonly #arriving = new Map<string, AddRequest>();
  readonly #turns = new Turns();
  readonly #restoration: Restoration;
  readonly #reviews: Reviews;
  readonly #sweep: NodeJS.Timeout;
  readonly #counts = { enrolled: 0, removed: 0, failed: 0 };
  readonly #restored = { rule: 0, route: 0, filter: 0 };

  constructor(parts: EnrolmentParts) {
    const onRestored: CarryingParts['onRestored'] = (pod, change) => {
      this.#restored[change.what]++;
      parts.onRestored(pod, change);
    };
    this.#parts = { ...parts, onRestored };
    this.#restoration = new Restoration({
      ...this.#parts,
      turns: this.#turns,
      carry: (netnsFd, stored) => this.#carry(netnsFd, stored, true),
      isCarried: (uid) => this.#carried.has(uid),
      onFailed: () => {
        this.#counts.failed++;
      },
    });
    this.#reviews = new Reviews(parts.olderConnections, parts.logger);
    this.#sweep = setInterval(() => this.#removeVanished(), sweepIntervalMs);
    this.#sweep.unref();
  }

  counts(): EnrolmentCounts {
    return {
      carried: this.#carried.size,
      leaving: this.#leaving.size,
      pending: this.#restoration.pending.length,
      ...this.#counts,
    };
  }

  /** Rules and routes of the capture that somebody removed and that were put back. */
  restored(): Readonly<Record<'rule' | 'route' | 'filter', number>> {
    return { ...this.#restored };
  }

  /** Carried and leaving pods. */
  pods(): CarriedPod[] {
    return [...this.#carried.values(), ...this.#leaving.values()];
  }

  /** Captured by an earlier agent and not carried again yet. */
  waiting(): readonly WaitingPod[] {
    return this.#restoration.pending;
  }

  /** By the number in flow records. */
  podAt(podIndex: number): CarriedPod | undefined {
    return this.#leaving.get(podIndex) ?? this.pods().find((pod) => pod.podIndex === podIndex);
  }

  list(): readonly Answer[] {
    return this.pods().map(describePod);
  }

  /** Resolves when the pod is captured. The same pod again is no work and no error. */
  async enrol(request: AddRequest): Promise<Answer> {
    this.#arriving.set(request.uid, request);
    try {
      return await this.#turns.take(request.uid, () => this.#enrol(request));
    } finally {
      if (this.#arriving.get(request.uid) === request) this.#arriving.delete(request.uid);
    }
  }

  /** A pod that is being enrolled is removed when it is: its runtime gave up waiting. */
  async remove(request: RemoveRequest): Promise<Answer> {
    const uid = request.uid === '' ? this.#uidOf(request) : request.uid;
    if (uid === undefined) return { removed: false };
    return this.#turns.take(uid, () => this.#remove(uid, request.reason));
  }

  /** Carries again what an earlier agent carried, before anybody may ask for more. */
  restore(timeoutMs: number): Promise<void> {
    return this.#restoration.all(timeoutMs);
  }

  /** The mesh changed: connections that nobody judged since are judged again. */
  onSnapshot(diff: SnapshotDiff): void {
    this.#reviews.onChange(diff);
  }

  /** The last connection of a pod that left has ended. */
  onDrained(podIndex: number): void {
    const pod = this.#leaving.get(podIndex);
    if (pod === undefined) return;
    this.#turns
      .take(pod.stored.uid, () => this.#endLeaving(pod))
      .catch((err: unknown) => {
        this.#parts.logger.warn(
          { err, pod: pod.enrolled.uid },
          'a pod that left could not be taken out completely',
        );
      });
  }

  /** Takes no more requests and lets go; what is captured stays captured. */
  async close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#restoration.close();
    await this.#turns.end();
    for (const pod of this.pods()) pod.release();
    this.#carried.clear();
    this.#leaving.clear();
  }

  async #enrol(request: AddRequest): Promise<Answer> {
    const { native, store } = this.#parts;
    const namespace = openRequestedNamespace(native, request.netns);
    let stored: StoredPod;
    let adopted: boolean;
    try {
      const known = this.#carried.get(request.uid);
      if (known?.stored.netnsInode === namespace.inode) {
        known.followAddresses();
        await this.#change(known, request);
        native.closeFd(namespace.fd);
        return { ...describePod(known), already: true };
      }
      await this.#makeRoom(request.uid, namespace);
      const before = store.get(request.uid);
      // Captured by an earlier agent and not carried again yet: its number and what the kernel knows under it stay.
      adopted = before !== undefined && before.leftAt === undefined;
      const podIndex = before !== undefined && adopted ? before.podIndex : store.reserveIndex();
      const enrolledAt = new Date().toISOString();
      stored = { ...request, podIndex, netnsInode: namespace.inode, enrolledAt };
    } catch (caught) {
      native.closeFd(namespace.fd);
      throw caught;
    }
    return this.#carryNew(namespace, stored, adopted);
  }

  /** What the pod wishes is written down first: an agent that starts again must not fall back to the old. */
  async #change(pod: CarriedPod, request: AddRequest): Promise<void> {
    if (sameWishes(pod.stored, request)) return;
    const before = pod.stored;
    const changed = withWishes(pod.stored, request);
    await this.#parts.store.put(changed);
    pod.change(changed);
    this.#parts.onChanged(pod);
    const { dnsCapture, bypassesInbound, virtualInterfaces, exclusions } = pod;
    this.#parts.logger.info(
      { pod: pod.enrolled.uid, dnsCapture, bypassesInbound, virtualInterfaces, exclusions },
      'the annotations of the pod changed',
    );
    // Those that came in past every policy are judged now.
    const isNarrower =
      before.bypassInbound === true ||
      (before.exclusions !== undefined &&
        selectsInbound(before.exclusions) &&
        !isDeepStrictEqual(before.exclusions, changed.exclusions));
    if (isNarrower && !bypassesInbound) this.#reviews.begin(pod, { untouched: true });
  }

  async #carryNew(namespace: PodNamespace, stored: StoredPod, adopted: boolean): Promise<Answer> {
    const before = this.#parts.store.get(stored.uid);
    let pod: CarriedPod;
    try {
      pod = await this.#carry(namespace.fd, stored, adopted);
    } catch (caught) {
      this.#counts.failed++;
      await this.#takeBack(stored, before, adopted, caught).catch((err: unknown) => {
        this.#parts.logger.error(
          { err, pod: stored.uid },
          'a failed enrolment could not be taken back on disk',
        );
      });
      throw caught;
    }
    await this.#restoration.replacedBy(pod);
    return describePod(pod);
  }

  /** What the store said before a failed enrolment holds on. */
  async #takeBack(
    stored: StoredPod,
    before: StoredPod | undefined,
    adopted: boolean,
    cause: unknown,
  ): Promise<void> {
    const { store } = this.#parts;
    if (!adopted) store.releaseIndex(stored.podIndex);
    if (before === undefined) return store.remove(stored.uid);
    await store.put(before);
    if (adopted) this.#restoration.later(before, cause);
  }

  /** A namespace belongs to one pod and a pod to one namespace: whoever else is written down there has ended without anybody telling. */
  async #makeRoom(uid: string, { inode }: PodNamespace): Promise<void> {
    const { logger, store } = this.#parts;
    for (const pod of [...this.#carried.values()]) {
      if ((pod.stored.uid === uid) === (pod.stored.netnsInode === inode)) continue;
      const why =
        pod.stored.uid === uid
          ? 'the pod has another network namespace now; it is enrolled anew'
          : 'its network namespace is another pod’s now; it is removed';
      logger.warn({ pod: pod.enrolled.uid }, why);
      await this.#remove(pod.stored.uid, 'deleted');
    }
    for (const stored of store.pods()) {
      if ((stored.uid === uid) === (stored.netnsInode === inode) || this.#isHere(stored)) continue;
      await this.#restoration.letGo(stored, 'deleted');
    }
  }

  #isHere({ uid, podIndex }: StoredPod): boolean {
    return this.#carried.get(uid)?.podIndex === podIndex || this.#leaving.has(podIndex);
  }

  async #carry(netnsFd: number, stored: StoredPod, adopted: boolean): Promise<CarriedPod> {
    const { store, logger } = this.#parts;
    const keep = () => (store.get(stored.uid) === stored ? Promise.resolve() : store.put(stored));
    const pod = await carryPod(this.#parts, netnsFd, stored, { adopted, keep });
    this.#carried.set(stored.uid, pod);
    this.#counts.enrolled++;
    this.#parts.onCarried(pod);
    logger.info({ pod: pod.enrolled.uid, addresses: pod.addresses, adopted }, 'enrolled');
    logger.debug({ pod: pod.enrolled.uid, ...pod.timings }, 'steps of the enrolment, in ms');
    this.#reviews.begin(pod);
    return pod;
  }

  async #remove(uid: string, reason: RemoveRequest['reason']): Promise<Answer> {
    const { store, logger } = this.#parts;
    const pod = this.#carried.get(uid) ?? this.#leavingOf(uid);
    if (pod === undefined) {
      const stored = store.get(uid);
      if (stored !== undefined) await this.#restoration.letGo(stored, reason);
      return { removed: stored !== undefined };
    }
    this.#carried.delete(uid);
    this.#parts.onGone(pod, reason);
    this.#reviews.forget(pod);
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

  #leavingOf(uid: string): CarriedPod | undefined {
    return [...this.#leaving.values()].find(({ stored }) => stored.uid === uid);
  }

  #uidOf({ namespace, name }: RemoveRequest): string | undefined {
    const known = [...this.#arriving.values(), ...this.#parts.store.pods()];
    return known.find((pod) => pod.namespace === namespace && pod.name === name)?.uid;
  }

  /** An open descriptor keeps a namespace alive whose pod is gone. */
  #removeVanished(): void {
    for (const pod of this.pods()) {
      const { uid, netns } = pod.stored;
      if (!hasVanished(pod.stored)) continue;
      this.#parts.logger.info(
        { pod: pod.enrolled.uid, netns },
        'the network namespace is gone; the pod is removed',
      );
      const end = async () => {
        // Enrolled anew before this had its turn: that one is not meant.
        if (this.#carried.get(uid) === pod || this.#leaving.get(pod.podIndex) === pod)
          await this.#remove(uid, 'deleted');
      };
      this.#turns.take(uid, end).catch((err: unknown) => {
        this.#parts.logger.warn(
          { err, pod: pod.enrolled.uid },
          'a pod that is gone could not be removed completely',
        );
      });
    }
  }
}
