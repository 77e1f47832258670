import { LabSide } from './lab-side.ts';
import type { SideName } from './side.ts';

/** The labs of a run, each started when a row first wants it, and stopped when none wants it any more. */
export class Sides {
  readonly #running = new Map<SideName, LabSide>();
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  async get(name: SideName): Promise<LabSide> {
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    this.#say(`starting the lab '${name}'`);
    const started = await LabSide.start(name);
    this.#running.set(name, started);
    return started;
  }

  /** What is not wanted costs the others CPU, little as it is. */
  async keepOnly(wanted: ReadonlySet<SideName>): Promise<void> {
    for (const [name, side] of this.#running) {
      if (wanted.has(name)) continue;
      this.#running.delete(name);
      await side.stop();
    }
  }

  async stop(): Promise<void> {
    await this.keepOnly(new Set());
  }
}
