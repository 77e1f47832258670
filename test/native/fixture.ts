import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Why kernel tests cannot run here; undefined when they can. */
export const kernelTestsUnavailable: string | undefined =
  process.getuid?.() !== 0
    ? 'not root'
    : cgroupRoot() === undefined
      ? 'no cgroup v2 is mounted'
      : existsSync('/sys/kernel/btf/vmlinux')
        ? undefined
        : 'the kernel has no BTF';

if (kernelTestsUnavailable !== undefined) {
  console.warn(`SKIPPED: tests of the native bindings need the kernel: ${kernelTestsUnavailable}`);
}

function cgroupRoot(): string | undefined {
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[2] === 'cgroup2');
  return mount?.split(' ')[1];
}

let serial = 0;
const unique = (): string => `${process.pid}-${serial++}`;

/** What the kernel must forget afterwards. Everything is undone in reverse order, also when a test fails. */
export class KernelFixture {
  readonly #undo: (() => void)[] = [];

  onDispose(undo: () => void): void {
    this.#undo.push(undo);
  }

  dispose(): void {
    const problems: unknown[] = [];
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        undo();
      } catch (problem) {
        problems.push(problem);
      }
    }
    if (problems.length > 0) throw new AggregateError(problems, 'cleaning up a kernel fixture');
  }

  /** A directory that goes with the fixture. */
  directory(): string {
    const path = mkdtempSync(join(tmpdir(), 'hadal-native-'));
    this.onDispose(() => rmSync(path, { recursive: true }));
    return path;
  }

  /** Compiles programs/<name>.bpf.c. */
  compile(name: string): string {
    const output = join(this.directory(), `${name}.bpf.o`);
    const source = join(here, 'programs', `${name}.bpf.c`);
    const clang = existsSync('/usr/bin/clang-14') ? 'clang-14' : 'clang';
    const include = '-I/usr/include/x86_64-linux-gnu';
    execFileSync(clang, ['-target', 'bpf', '-mcpu=v3', '-O2', '-g', include, '-c', source, '-o', output], {
      env: toolEnvironment,
    });
    return output;
  }

  /** A bpf file system of its own. */
  bpffs(): string {
    const path = this.directory();
    execFileSync('mount', ['-t', 'bpf', 'bpf', path]);
    this.onDispose(() => execFileSync('umount', [path]));
    return path;
  }

  cgroup(): string {
    const path = join(cgroupRoot() as string, `hadal-native-${unique()}`);
    mkdirSync(path);
    this.onDispose(() => rmdirSync(path));
    return path;
  }

  /** A network namespace with `lo` up; the path to hand to openNetns. */
  netns(): { name: string; path: string } {
    const name = `hadal-nt-${unique()}`;
    ip('netns', 'add', name);
    this.onDispose(() => ip('netns', 'del', name));
    ip('-n', name, 'link', 'set', 'lo', 'up');
    return { name, path: `/run/netns/${name}` };
  }
}

/** Without a sanitizer that is preloaded into Node: it finds faults of the tools themselves. */
const { LD_PRELOAD: _preloaded, ...toolEnvironment } = process.env;

export function ip(...args: string[]): string {
  return execFileSync('ip', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: toolEnvironment,
  });
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

export interface ChildResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly killed: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs children/<name> with Node to its end, or kills it after `timeoutMs`. */
export async function runChild(
  name: string,
  args: readonly string[],
  options: { timeoutMs?: number; nodeOptions?: readonly string[]; cgroup?: string; netns?: string } = {},
): Promise<ChildResult> {
  const node = [process.execPath, ...(options.nodeOptions ?? []), join(here, 'children', name), ...args];
  const inNetns = options.netns === undefined ? node : ['ip', 'netns', 'exec', options.netns, ...node];
  const command =
    options.cgroup === undefined
      ? inNetns
      : ['sh', '-c', `echo $$ > "$0/cgroup.procs" && exec "$@"`, options.cgroup, ...inNetns];
  const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  let killed = false;
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const timer = setTimeout(() => {
    killed = true;
    child.kill('SIGKILL');
  }, options.timeoutMs ?? 15_000);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, killed, stdout, stderr });
    });
  });
}
