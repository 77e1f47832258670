/** A program that goes on, and what it says in lines of JSON. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

export class Running {
  readonly #child: ChildProcess;
  readonly said: Record<string, unknown>[] = [];

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error('the program has no output');
    createInterface({ input: child.stdout }).on('line', (line) => this.said.push(JSON.parse(line)));
  }

  /** The line of this number, waited for. */
  async line(number: number, timeout = 5000): Promise<Record<string, unknown>> {
    for (const end = Date.now() + timeout; ; await sleep(20)) {
      const said = this.said[number];
      if (said !== undefined) return said;
      if (Date.now() > end) throw new Error(`line ${number} was not said within ${timeout} ms`);
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
