import { dependency } from '../model/diff.ts';
import type { EnrolledPod, LocalNode } from '../routing/judgement.ts';
import type { PathState } from '../routing/same-node-path.ts';

/** A pod as the tunnel and the kernel know it. */
export interface LocalPod extends EnrolledPod {
  /** By which the kernel knows its network namespace; without it nothing goes to it directly. */
  readonly netnsCookie?: bigint;
}

/** The pods that are carried here, as judgements see them, and by the numbers under which the kernel knows them. */
export class LocalPods implements LocalNode {
  readonly #pods = new Map<number, LocalPod>();
  readonly #indexes = new Map<string, number>();
  #path: PathState = 'unknown';

  get path(): PathState {
    return this.#path;
  }

  /** Returns the dependency that changed. */
  setPath(path: PathState): string {
    this.#path = path;
    return dependency.sameNodePath;
  }

  at(podIndex: number): LocalPod | undefined {
    return this.#pods.get(podIndex);
  }

  has(podIndex: number): boolean {
    return this.#pods.has(podIndex);
  }

  pod(uid: string): LocalPod | undefined {
    return this.#pods.get(this.#indexes.get(uid) ?? 0);
  }

  values(): IterableIterator<LocalPod> {
    return this.#pods.values();
  }

  /** Under which the kernel connects to it; undefined: it cannot. */
  target(uid: string): { readonly podIndex: number; readonly netnsCookie: bigint } | undefined {
    const podIndex = this.#indexes.get(uid);
    const netnsCookie = this.pod(uid)?.netnsCookie;
    return podIndex === undefined || netnsCookie === undefined ? undefined : { podIndex, netnsCookie };
  }

  /** Returns the dependency that changed. */
  set(podIndex: number, pod: LocalPod): string {
    this.#pods.set(podIndex, pod);
    this.#indexes.set(pod.uid, podIndex);
    return dependency.localPod(pod.uid);
  }

  /** Returns the dependencies that changed. */
  delete(podIndex: number): string[] {
    const uid = this.#pods.get(podIndex)?.uid;
    this.#pods.delete(podIndex);
    // A pod that was made again under its name has another index by now.
    if (uid === undefined || this.#indexes.get(uid) !== podIndex) return [];
    this.#indexes.delete(uid);
    return [dependency.localPod(uid)];
  }
}
