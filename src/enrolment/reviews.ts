import type { Logger } from '../base/logger.ts';
import type { SnapshotDiff } from '../model/diff.ts';
import { excludesInbound } from '../model/traffic-exclusions.ts';
import type { CarriedPod } from './carried-pod.ts';
import type { OlderConnections } from './older-connections.ts';

interface Wanted {
  readonly untouched: boolean;
}

/**
 * Sees to it that the connections older than an enrolment are judged, and judged again when what decided on them changes: one pod
 * after another. A change that comes during a pod's review has another one follow.
 */
export class Reviews {
  readonly #olderConnections: OlderConnections | undefined;
  readonly #logger: Logger;
  readonly #pods = new Set<CarriedPod>();
  readonly #wanted = new Map<CarriedPod, Wanted>();
  #current: CarriedPod | undefined;
  #isWorking = false;

  /** Without `olderConnections` they are kept whatever they are. */
  constructor(olderConnections: OlderConnections | undefined, logger: Logger) {
    this.#olderConnections = olderConnections;
    this.#logger = logger;
  }

  /** `untouched`: also those that the capture let in without a judgement. */
  begin(pod: CarriedPod, options: Wanted = { untouched: false }): void {
    if (this.#olderConnections === undefined) return;
    this.#pods.add(pod);
    const untouched = options.untouched || this.#wanted.get(pod)?.untouched === true;
    this.#wanted.set(pod, { untouched });
    if (!this.#isWorking) void this.#work(this.#olderConnections);
  }

  /** The mesh changed. */
  onChange(diff: SnapshotDiff): void {
    for (const pod of this.#pods) {
      // Of a review that goes on nobody knows yet what it rests on.
      if (pod === this.#current || this.#olderConnections?.isConcernedBy(pod, diff)) this.begin(pod);
    }
  }

  forget(pod: CarriedPod): void {
    this.#pods.delete(pod);
    this.#wanted.delete(pod);
    this.#olderConnections?.forget(pod);
  }

  async #work(olderConnections: OlderConnections): Promise<void> {
    this.#isWorking = true;
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const [pod, options] = next;
      if (pod.state !== 'carried') continue;
      this.#current = pod;
      const { enrolled, podIndex, netnsFd } = pod;
      const isPastPolicy = (port: number) => pod.bypassesInbound || excludesInbound(pod.exclusions, port);
      try {
        await olderConnections.review({ ...enrolled, podIndex, netnsFd, isPastPolicy }, options);
      } catch (err) {
        // Its descriptor may have been closed meanwhile.
        if (pod.state === 'carried')
          this.#logger.error(
            { err, pod: enrolled.uid },
            'connections older than the enrolment could not be reviewed',
          );
      }
      this.#current = undefined;
      if (!this.#pods.has(pod)) olderConnections.forget(pod);
    }
    this.#isWorking = false;
  }

  #take(): [CarriedPod, Wanted] | undefined {
    for (const entry of this.#wanted) {
      this.#wanted.delete(entry[0]);
      return entry;
    }
    return undefined;
  }
}
