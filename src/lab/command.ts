/** Runs the system's own tools (`ip`, `nsenter`, `mount`) for the lab; the agent never does. */
import { spawn } from 'node:child_process';
import { HadalError } from '../base/errors.ts';

export interface CommandResult {
  /** Exit status, or 128 + signal number as shells have it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Then SIGKILL. Default: 60 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const signalNumbers: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** Runs a program to its end and returns what it said, whatever its status. */
export function capture(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = argv;
  if (program === undefined) throw new HadalError('ERR_LAB_COMMAND', 'no program given');
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: ['pipe', 'pipe', 'pipe'],
      signal: options.signal,
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeoutMs ?? 60_000);
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => {}); // the program may end without reading its input
    child.stdin.end(options.input ?? '');
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new HadalError('ERR_LAB_COMMAND', `cannot run ${program}: ${cause.message}`, { cause }));
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      const code = status ?? 128 + (signalNumbers[signal ?? ''] ?? 0);
      resolve({
        code,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
        timedOut,
      });
    });
  });
}

/** Runs a program that must succeed; its complaint becomes the error. `what` names the step for the operator. */
export async function run(
  what: string,
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const result = await capture(argv, options);
  if (result.code === 0) return result.stdout;
  const said = (result.stderr.trim() || result.stdout.trim() || 'nothing').slice(-2_000);
  const why = result.timedOut ? 'took too long' : `ended with ${result.code}`;
  throw new HadalError('ERR_LAB_COMMAND', `${what}: ${argv[0]} ${why} and said: ${said}`);
}

/** A shell script that stops at its first failure. */
export function runScript(what: string, script: string, options: CommandOptions = {}): Promise<string> {
  return run(what, ['sh', '-eu', '-s'], { ...options, input: script });
}

/** One word of a shell script. */
export function quoted(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
