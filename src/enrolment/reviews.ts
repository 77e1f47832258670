import type { Logger } from '../base/logger.ts';
import type { CarriedPod } from './carried-pod.ts';
import type { OlderConnections } from './older-connections.ts';

/** Sees to it that the connections older than an enrolment are judged once: as soon as the mesh state knows the pod. */
export class Reviews {
  readonly #olderConnections: OlderConnections | undefined;
  readonly #logger: Logger;
  readonly #waiting = new Set<CarriedPod>();

  /** Without `olderConnections` they are kept whatever they are. */
  constructor(olderConnections: OlderConnections | undefined, logger: Logger) {
    this.#olderConnections = olderConnections;
    this.#logger = logger;
  }

  /** `untouched`: also those that the capture let in without a judgement. */
  begin(pod: CarriedPod, options: { readonly untouched: boolean } = { untouched: false }): void {
    if (this.#olderConnections === undefined || pod.state !== 'carried') return;
    if (!this.#olderConnections.canReview(pod.enrolled)) {
      this.#waiting.add(pod);
      return;
    }
    this.#waiting.delete(pod);
    try {
      this.#olderConnections.review(
        { ...pod.enrolled, netnsFd: pod.netnsFd, bypassesInbound: pod.bypassesInbound },
        options,
      );
    } catch (err) {
      this.#logger.error(
        { err, pod: pod.enrolled.uid },
        'connections older than the enrolment could not be reviewed',
      );
    }
  }

  /** The mesh state changed. */
  retry(): void {
    for (const pod of this.#waiting) this.begin(pod);
  }

  forget(pod: CarriedPod): void {
    this.#waiting.delete(pod);
  }
}
