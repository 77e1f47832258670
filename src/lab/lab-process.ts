/** A program of ours that runs in a lab: it can be killed and started again, and its log outlives it. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { Answer } from './admin-call.ts';
import { openLog } from './pod-root.ts';

export interface LabProcessOptions {
  /** For messages: `agent of a`. */
  readonly name: string;
  readonly spawn: () => ChildProcess;
  readonly log: string;
  /** The process began or ended. */
  readonly onChange: () => void;
  /** What its readiness server says. */
  readonly askReady: () => Promise<Answer>;
}

export class LabProcess {
  readonly #options: LabProcessOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<number> = Promise.resolve(0);

  constructor(options: LabProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.isRunning ? this.#child?.pid : undefined;
  }
  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }
  get logPath(): string {
    return this.#options.log;
  }

  start(): void {
    if (this.isRunning) return;
    const { spawn, name, onChange } = this.#options;
    const log = openLog(this.#options.log);
    log.on('error', () => {});
    const child = spawn();
    this.#child = child;
    onChange();
    child.stdin?.end();
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    this.#exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        log.end(`the ${name} ended with ${code ?? signal}\n`);
        onChange();
        resolve(code ?? -1);
      });
      child.on('error', () => resolve(-1));
    });
  }

  /** Sends the signal and waits until the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.#child?.kill(signal);
    return await this.#exited;
  }

  /** Resolves when it says that it is ready; rejects with its last words when it ends before. */
  async waitReady(timeoutMs = 60_000): Promise<void> {
    const { name, askReady } = this.#options;
    const deadline = Date.now() + timeoutMs;
    let last = 'no answer';
    while (Date.now() < deadline) {
      if (!this.isRunning) throw new HadalError('ERR_LAB_AGENT', `the ${name} ended: ${this.lastWords()}`);
      const answer = await askReady().catch((error: Error) => ({ status: 0, body: error.message }));
      if (answer.status === 200) return;
      last = answer.body.trim();
      await sleep(50);
    }
    const why = `${last}; ${this.lastWords()}`;
    throw new HadalError('ERR_LAB_AGENT', `the ${name} is not ready after ${timeoutMs} ms: ${why}`);
  }

  /** The end of its log, which goes with the lab. */
  lastWords(lines = 20): string {
    const { log } = this.#options;
    const text = existsSync(log) ? readFileSync(log, 'utf8').trim() : '';
    return text === '' ? 'it said nothing' : `it said:\n${text.split('\n').slice(-lines).join('\n')}`;
  }
}
