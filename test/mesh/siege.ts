/** Heavy load from inside a pod: streams that never end, and new connections beside them (programs/siege.ts). */
import type { ChildProcess } from 'node:child_process';
import { expect } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import { lastLineOf } from './last-line.ts';

export interface SiegeState {
  readonly streaming: number;
  readonly echoed: number;
  readonly done: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
}

export interface SiegeOptions {
  readonly port: number;
  readonly text: string;
  readonly streams: number;
  readonly perSecond: number;
}

export class Siege {
  readonly #child: ChildProcess;
  readonly #streams: number;
  readonly #said: { latest: SiegeState };

  constructor(from: LabPod, address: string, { port, text, streams, perSecond }: SiegeOptions) {
    const program = '/opt/hadal/package/test/mesh/programs/siege.ts';
    const args = [address, port, text, streams, perSecond].map(String);
    this.#child = from.spawn(['node', program, ...args]);
    this.#streams = streams;
    const nothing = { streaming: 0, echoed: 0, done: 0, failed: 0, errors: {} };
    this.#said = lastLineOf<SiegeState>(this.#child, nothing);
  }

  get latest(): SiegeState {
    return this.#said.latest;
  }

  /** Resolves when all streams carry bytes and new connections succeed. */
  async atWork(): Promise<void> {
    const before = this.latest;
    await expect.poll(() => this.latest.streaming, { timeout: 10_000 }).toBe(this.#streams);
    await expect.poll(() => this.latest.done, { timeout: 5_000 }).toBeGreaterThan(before.done + 20);
    await expect.poll(() => this.latest.echoed, { timeout: 5_000 }).toBeGreaterThan(before.echoed);
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
