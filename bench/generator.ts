import type { ChildProcessByStdio } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export type GeneratorProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** What the client says after one slice. Times in ns of CLOCK_MONOTONIC, percentiles in us. */
export interface SliceAnswer {
  readonly operations: number;
  readonly bytes: number;
  readonly ns: number;
  readonly start: number;
  readonly failures: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** One `hadal-bench` process: a line in, a JSON line out. */
export class Generator {
  readonly #process: GeneratorProcess;
  readonly #lines: AsyncIterableIterator<string>;
  readonly #reader: Interface;
  readonly #what: string;
  #errors = '';

  constructor(process: GeneratorProcess, what: string) {
    this.#process = process;
    this.#what = what;
    this.#reader = createInterface({ input: process.stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]() as AsyncIterableIterator<string>;
    process.stderr.on('data', (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-2000);
    });
    process.stdin.on('error', () => {}); // its death is told by the next answer
  }

  /** The first line: connected and warm, or listening. */
  async ready(): Promise<this> {
    await this.#answer();
    return this;
  }

  async ask<T>(command: string): Promise<T> {
    this.#process.stdin.write(`${command}\n`);
    return (await this.#answer()) as T;
  }

  async close(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    this.#process.stdin.end();
    const late = setTimeout(() => this.#process.kill('SIGKILL'), 2000);
    await ended;
    clearTimeout(late);
    this.#reader.close();
  }

  async #answer(): Promise<unknown> {
    const next = await this.#lines.next();
    if (next.done === true) throw new Error(`${this.#what} ended: ${this.#errors.trim() || 'no message'}`);
    const answer = JSON.parse(next.value) as { error?: string };
    if (answer.error !== undefined) throw new Error(`${this.#what}: ${answer.error}`);
    return answer;
  }
}
