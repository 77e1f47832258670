/** Connections out of a pod that stand until somebody ends them, and what became of each. */
import type { ChildProcess } from 'node:child_process';
import { expect } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import { lastLineOf } from './last-line.ts';

interface Seen {
  readonly open: number;
  readonly echoed: number;
  readonly wrong: number;
  readonly ended: readonly { readonly why: string; readonly at: number }[];
}

export class Held {
  readonly count: number;
  readonly #child: ChildProcess;
  readonly #seen: { latest: Seen };
  readonly #echoes: boolean;

  constructor(
    from: LabPod,
    [address, port]: readonly [string, number],
    count: number,
    mode: 'echo' | 'half' | 'pour' = 'echo',
  ) {
    this.count = count;
    this.#echoes = mode === 'echo';
    const program = '/opt/hadal/package/test/mesh/programs/held.ts';
    this.#child = from.spawn(['node', program, address, String(port), String(count), mode]);
    this.#seen = lastLineOf<Seen>(this.#child, { open: 0, echoed: 0, wrong: 0, ended: [] });
  }

  get seen(): Seen {
    return this.#seen.latest;
  }

  async standing(): Promise<void> {
    await expect.poll(() => this.seen, { timeout: 10_000 }).toMatchObject({ open: this.count, ended: [] });
    if (this.#echoes) await this.progressed();
  }

  /** More came back than now, every byte in its place, and none has ended. */
  async progressed(): Promise<void> {
    const before = this.seen.echoed;
    await expect.poll(() => this.seen.echoed, { timeout: 4000 }).toBeGreaterThan(before + this.count * 4);
    expect(this.seen).toMatchObject({ open: this.count, wrong: 0, ended: [] });
  }

  /** Resolves with the time at which the last one ended, all of them by an RST. */
  async reset(): Promise<number> {
    await expect.poll(() => this.seen.ended.length, { timeout: 10_000 }).toBe(this.count);
    expect(new Set(this.seen.ended.map(({ why }) => why))).toEqual(new Set(['ECONNRESET']));
    return Math.max(...this.seen.ended.map(({ at }) => at));
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
