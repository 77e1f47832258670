import type { FlowReader } from '../../src/kernel/flows.ts';
import type { UntouchedFlow } from '../../src/model/flow.ts';
import type { CaptureWorld, EnrolledPod } from './capture-world.ts';

/** Decoded records of a world's connections that no tunnel carries, read from the kernel until the world is disposed. */
export class CollectedFlows {
  readonly ended: UntouchedFlow[] = [];
  readonly slipped: UntouchedFlow[] = [];
  readonly #world: CaptureWorld;
  #reader: FlowReader;

  constructor(world: CaptureWorld) {
    this.#world = world;
    this.#reader = this.#open();
    world.onDispose(() => this.#reader.close());
  }

  /** Those of the pod that are open now. */
  liveOf({ netnsFd }: Pick<EnrolledPod, 'netnsFd'>): UntouchedFlow[] {
    return this.#decoded(this.#reader.readLive(netnsFd));
  }

  /** What the kernel has told is in `ended` when this returns. */
  flush(): void {
    this.#reader.flush();
  }

  clear(): void {
    this.ended.length = 0;
    this.slipped.length = 0;
  }

  close(): void {
    this.#reader.close();
  }

  /** Of the capture that the world has now. */
  reopen(): void {
    this.#reader = this.#open();
  }

  #open(): FlowReader {
    return this.#world.capture.openFlows({
      intervalMs: 20,
      onClosed: (records) => this.ended.push(...this.#decoded(records)),
      onSlipped: (flow) => this.slipped.push(flow),
    });
  }

  #decoded(records: Uint8Array): UntouchedFlow[] {
    const count = records.byteLength / this.#reader.recordBytes;
    return Array.from({ length: count }, (_, at) => this.#reader.decode(records, at));
  }
}
