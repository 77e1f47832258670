import type { Closeable } from '../base/lifecycle.ts';
import type { CarriedPod } from '../enrolment/carried-pod.ts';
import type { Enrolment } from '../enrolment/enrolment.ts';

/** The enrolled pods, for parts that are there before the enrolment and end after it. */
export class PodHolder implements Closeable {
  enrolment: Enrolment | undefined;

  all(): CarriedPod[] {
    return this.enrolment?.pods() ?? [];
  }

  at(podIndex: number): CarriedPod | undefined {
    return this.enrolment?.podAt(podIndex);
  }

  async close(): Promise<void> {
    await this.enrolment?.close();
  }
}
