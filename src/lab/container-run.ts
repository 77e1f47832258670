import type { ChildProcess } from 'node:child_process';
import { openLog } from './pod-root.ts';
import { type Place, spawnPlaced } from './process.ts';

export interface ContainerRunOptions {
  readonly argv: readonly string[];
  readonly place: Place;
  readonly env: NodeJS.ProcessEnv;
  /** Both streams of the program go here. */
  readonly log: string;
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never';
}

const firstRestartMs = 500;
const lastRestartMs = 10_000;

/** One program of a pod, restarted as its policy says, each time after a longer while. */
export class ContainerRun {
  readonly #options: ContainerRunOptions;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  restarts = 0;

  constructor(options: ContainerRunOptions) {
    this.#options = options;
    this.#start();
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** No further start; the process itself ends with the pod's cgroup. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #start(): void {
    const log = openLog(this.#options.log);
    log.on('error', () => {}); // the lab's directory may go before the program's last word
    const child = spawnPlaced(this.#options.place, this.#options.argv, { env: this.#options.env });
    this.#child = child;
    child.stdin?.end();
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    child.on('error', (error) => log.write(`cannot start: ${error.message}\n`));
    child.on('close', (code, signal) => {
      log.end(`ended with ${code ?? signal}\n`);
      const again =
        this.#options.restartPolicy === 'Always' ||
        (this.#options.restartPolicy === 'OnFailure' && code !== 0);
      if (this.#stopped || !again) return;
      const waitMs = Math.min(firstRestartMs * 2 ** this.restarts, lastRestartMs);
      this.restarts++;
      this.#timer = setTimeout(() => this.#start(), waitMs);
      this.#timer.unref();
    });
  }
}
