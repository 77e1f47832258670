/** Both ends of streams whose every byte is looked at: `programs/streams`, compiled once for a test file, and what it says. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/lab/package-root.ts';

/** How one mode's connection went, as one end saw it. */
export interface StreamEnd {
  readonly mode: string;
  readonly sent: number;
  readonly toSend: number;
  readonly received: number;
  readonly toReceive: number;
  /** The first place that is not as it was sent, or at which the stream ended too early or went on too long; -1. */
  readonly wrong: number;
  /** Reads with MSG_WAITALL, after MSG_PEEK or of what FIONREAD says that gave less than they promise. */
  readonly shortReads: number;
  /** Reads of a socket that blocks which answered EAGAIN. */
  readonly wouldBlock: number;
  /** `end`, `reset`, `left` (its own doing), `stalled`, or the error's name. */
  readonly end: string;
}

export interface StreamReport {
  readonly seed: number;
  readonly streams: readonly StreamEnd[];
}

/** The program in the build directory, which the pods of a lab see too. */
export class StreamProgram {
  readonly #file = join('build', `streams-${process.pid}`);

  constructor() {
    const source = join(import.meta.dirname, 'programs', 'streams', 'main.c');
    mkdirSync(join(packageRoot(), 'build'), { recursive: true });
    execFileSync('gcc', ['-O2', '-Wall', '-Werror', '-o', this.path, source, '-pthread']);
  }

  get path(): string {
    return join(packageRoot(), this.#file);
  }
  get pathInPods(): string {
    return join('/opt/hadal/package', this.#file);
  }

  remove(): void {
    rmSync(this.path, { force: true });
  }
}

/** The process's lines as they come: the first says that it listens, the last is its report. */
export class StreamProcess {
  readonly #child: ChildProcess;
  readonly listening: Promise<void>;
  readonly report: Promise<StreamReport>;

  constructor(child: ChildProcess) {
    this.#child = child;
    let text = '';
    let errors = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    this.listening = new Promise((resolve) => {
      child.stdout?.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('"listening"')) resolve();
      });
    });
    this.report = new Promise((resolve, reject) => {
      child.once('close', () => {
        const last = text.trim().split('\n').at(-1) ?? '';
        if (last.includes('"streams"')) resolve(JSON.parse(last) as StreamReport);
        else reject(new Error(`the program of streams ended without a report: ${errors || text}`));
      });
    });
    // Looked at later; its failure is not without a handler until then.
    this.report.catch(() => {});
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Modes in which one side leaves in the middle: what the other has by then is a beginning of what was sent. */
const leaving: Readonly<Record<string, 'client' | 'server'>> = {
  'client-resets': 'client',
  'client-leaves': 'client',
  'server-resets': 'server',
};

/** Every way that the program has, in its order. */
export const streamModes = [
  'random',
  'peek',
  'waitall',
  'splice',
  'sendfile',
  'vectors',
  'counted',
  'edge-triggered',
  'slow',
  'small-buffers',
  'nodelay',
  'corked',
  'turns',
  'server-first',
  'late-accept',
  'client-ends-first',
  'server-ends-first',
  'client-resets',
  'server-resets',
  'client-leaves',
  'held-back',
] as const;

/**
 * What is not as it must be, in words; nothing when both ends agree on every byte. `mayNotWait`: a read of a socket that blocks
 * may say EAGAIN, and is tried again.
 */
export function faultsOf(client: StreamReport, server: StreamReport, mayNotWait = false): string[] {
  if (client.streams.length === 0 || client.streams.length !== server.streams.length)
    return [`${client.streams.length} and ${server.streams.length} streams`];
  return client.streams.flatMap((near, index) => {
    const far = server.streams[index];
    if (far?.mode !== near.mode) return [`${near.mode} beside ${far?.mode}`];
    const faults = [...faultsOfEnd('client', near, far), ...faultsOfEnd('server', far, near)];
    if (!mayNotWait) faults.push(...impatience('client', near), ...impatience('server', far));
    return faults.map((fault) => `${near.mode}, seed ${client.seed}: the ${fault}`);
  });
}

function impatience(side: string, { wouldBlock }: StreamEnd): string[] {
  return wouldBlock > 0 ? [`${side} did not wait in ${wouldBlock} reads`] : [];
}

function faultsOfEnd(side: 'client' | 'server', own: StreamEnd, other: StreamEnd): string[] {
  const faults: string[] = [];
  const { wrong, received, end, shortReads } = own;
  const leaves = leaving[own.mode];
  if (wrong >= 0) faults.push(`${side} has something else at ${wrong} of ${own.toReceive}`);
  if (shortReads > 0) faults.push(`${side} got less than promised from ${shortReads} reads`);
  const expectedEnd = leaves === undefined ? 'end' : leaves === side ? 'left' : 'reset';
  if (end !== expectedEnd) faults.push(`${side} read to '${end}', not '${expectedEnd}'`);
  if (leaves !== undefined && received === 0) faults.push(`${side} received nothing`);
  if (leaves === undefined && received !== other.sent)
    faults.push(`${side} received ${received} bytes of ${other.sent}`);
  return faults;
}

export function receivedBytes(...reports: readonly StreamReport[]): number {
  return reports.flatMap(({ streams }) => streams).reduce((sum, { received }) => sum + received, 0);
}
