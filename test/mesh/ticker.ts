/** Connections that stay open and go on carrying bytes, from inside a pod. */
import type { ChildProcess } from 'node:child_process';
import { expect, vi } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';

export interface Ticks {
  readonly open: number;
  readonly echoed: number;
  readonly errors: readonly string[];
}

const program = '/opt/hadal/package/test/mesh/programs/ticker.ts';

/** `latest` is what they said last. */
export class Ticker {
  readonly #child: ChildProcess;
  latest: Ticks = { open: 0, echoed: 0, errors: [] };

  constructor(from: LabPod, address: string, { port = 8080, count = 1 } = {}) {
    this.#child = from.spawn(['node', program, address, String(port), String(count)]);
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const line = chunk.toString().trim().split('\n').at(-1);
      if (line !== undefined && line !== '') this.latest = JSON.parse(line) as Ticks;
    });
  }

  /** Resolves once `count` connections are open and bytes came back. */
  async running(count = 1): Promise<void> {
    await vi.waitFor(() => expect(this.latest.open).toBe(count), { timeout: 8000 });
    await this.progressed();
  }

  /** Resolves once more bytes came back than now; rejects when none do. */
  async progressed(): Promise<void> {
    const before = this.latest.echoed;
    await vi.waitFor(() => expect(this.latest.echoed).toBeGreaterThan(before), { timeout: 4000 });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
