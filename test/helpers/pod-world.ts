/**
 * A small world of pods for tests of the capture: a node's network namespace that routes between pods, each with a veth and
 * both families of addresses, and a cgroup tree. Names carry the process id; `dispose` undoes all, also after a failure.
 */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { findCgroupRoot } from '../../src/kernel/file-systems.ts';
import { podSysctls } from '../../src/kernel/pod-sysctls.ts';
import { nativeAddon } from '../../src/native/addon.ts';

const programs = join(dirname(fileURLToPath(import.meta.url)), 'programs');
const python = '/usr/bin/python3';

/** Why tests with pods cannot run here; undefined when they can. */
export const podWorldUnavailable: string | undefined =
  process.getuid?.() !== 0
    ? 'not root'
    : findCgroupRoot() === undefined
      ? 'no cgroup v2 is mounted'
      : !existsSync('/sys/kernel/btf/vmlinux')
        ? 'the kernel has no BTF'
        : !existsSync(python)
          ? `${python} is missing (apt-get install python3)`
          : undefined;

if (podWorldUnavailable !== undefined)
  console.warn(`SKIPPED: tests with pods need the kernel: ${podWorldUnavailable}`);

export interface WorldPod {
  readonly name: string;
  readonly netns: string;
  readonly netnsFd: number;
  readonly netnsCookie: bigint;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly cgroup: string;
  /** The node's end of its veth. */
  readonly device: string;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface Answer {
  readonly who: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly mark: number;
}

export interface DialResult {
  readonly connected: boolean;
  readonly error?: string;
  readonly firstError?: string;
  readonly local?: Endpoint;
  readonly remote?: Endpoint;
  readonly mark?: number;
  readonly answer?: Answer;
  /** Length of the line in which the answer came. */
  readonly greetingBytes?: number;
  readonly received?: number;
  readonly md5Keys?: number;
  readonly seconds: number;
}

export interface DialOptions {
  readonly to: readonly [string, number];
  /** An IPv6 socket also for an IPv4 destination, which must then be written mapped. */
  readonly family?: 4 | 6;
  readonly bind?: readonly [string, number];
  readonly device?: string;
  readonly deviceAfter?: string;
  readonly fastOpen?: 'connect' | 'send';
  readonly mptcp?: boolean;
  readonly udp?: boolean;
  readonly mark?: number;
  readonly transparent?: boolean;
  readonly freebind?: boolean;
  readonly md5Keys?: number;
  /** Pinned sk_storage map that exempts the socket. */
  readonly exempt?: string;
  /** Dialled before on the same socket, then dissolved. */
  readonly first?: readonly [string, number];
  readonly bytes?: number;
  /** How long a held connection waits for its byte, in seconds. Default 2. */
  readonly patience?: number;
  /** Sent as soon as the connection stands. */
  readonly say?: string;
  readonly repeat?: number;
  readonly timeout?: number;
  readonly nonBlocking?: boolean;
  /** With `first`: connects again without dissolving anything in between. */
  readonly again?: boolean;
  /** Ends with RST instead of FIN. */
  readonly reset?: boolean;
}

export interface RunOptions {
  /** Default: nobody without any capability, as an application. */
  readonly asRoot?: boolean;
  /** Default: the pod's. */
  readonly cgroup?: string;
}

/** What came of one order; `error` names the errno of a call that failed. */
export interface HandAnswer {
  readonly ok: boolean;
  readonly error?: string | null;
  readonly bytes?: number;
  /** Whether the bytes were those that belong at this place of the stream. */
  readonly exact?: boolean;
  readonly [detail: string]: unknown;
}

export interface SocketHand {
  readonly pid: number;
  do(what: string, order?: Readonly<Record<string, unknown>>): Promise<HandAnswer>;
  stop(): Promise<void>;
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

let serial = 0;

export class PodWorld {
  readonly name = `hadaltest-${process.pid}-${serial++}`;
  readonly #undo: (() => void | Promise<void>)[] = [];
  readonly #children = new Set<Child>();
  readonly #gone = new Set<string>();
  #podCount = 0;
  readonly cgroup = join(findCgroupRoot() ?? '/', this.name);
  #node: { readonly netns: string; readonly netnsFd: number; readonly netnsCookie: bigint } | undefined;

  static create(): Promise<PodWorld> {
    return PodWorld.build(() => new PodWorld());
  }

  /** Makes a world whole, or leaves nothing of it; sweeps what killed test runs have left. */
  protected static async build<T extends PodWorld>(make: () => T): Promise<T> {
    sweepDeadWorlds();
    const world = make();
    try {
      await world.start();
      return world;
    } catch (error) {
      await world.dispose();
      throw error;
    }
  }

  protected async start(): Promise<void> {
    this.#makeCgroup(this.cgroup);
    const netns = this.#makeNetns('node');
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    setSysctls(netns, { 'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1' });
    this.#node = { netns, ...this.#openNetns(netns) };
  }

  /** The node: its namespace routes between the pods, and is the kubelet's. */
  get node(): { readonly netns: string; readonly netnsFd: number; readonly netnsCookie: bigint } {
    if (this.#node === undefined) throw new Error('the world has not started');
    return this.#node;
  }

  /** `instead`: takes over the addresses of a pod that is gone. */
  addPod(name: string, instead?: WorldPod): WorldPod {
    const index = instead === undefined ? ++this.#podCount : Number(instead.device.slice(1));
    const netns = this.#makeNetns(name);
    const device = `v${index}`;
    const [ipv4, ipv6] = [`10.60.${index}.2`, `fd60:${index}::2`];
    ipBatch(this.node.netns, [
      `link add ${device} type veth peer name eth0 netns ${netns}`,
      `link set ${device} up`,
      `addr add 10.60.${index}.1/24 dev ${device}`,
      `addr add fd60:${index}::1/64 dev ${device} nodad`,
    ]);
    ipBatch(netns, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${ipv4}/24 dev eth0`,
      `addr add ${ipv6}/64 dev eth0 nodad`,
      `route add default via 10.60.${index}.1`,
      `route add default via fd60:${index}::1`,
    ]);
    const cgroup = this.#makeCgroup(join(this.cgroup, name));
    return { name, netns, ...this.#openNetns(netns), ipv4, ipv6, cgroup, device };
  }

  /**
   * A machine inside a pod, as a virtual machine's tap shows it: a namespace of its own behind `device` of the pod, which
   * forwards for it. The rest of the world knows the way back.
   */
  addMachine(pod: WorldPod, name: string, device: string): WorldPod {
    const index = ++this.#podCount;
    const netns = this.#makeNetns(name);
    const [ipv4, ipv6] = [`10.70.${index}.2`, `fd70:${index}::2`];
    setSysctls(pod.netns, { 'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1' });
    ipBatch(pod.netns, [
      `link add ${device} type veth peer name eth0 netns ${netns}`,
      `link set ${device} up`,
      `addr add 10.70.${index}.1/24 dev ${device}`,
      `addr add fd70:${index}::1/64 dev ${device} nodad`,
    ]);
    ipBatch(netns, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${ipv4}/24 dev eth0`,
      `addr add ${ipv6}/64 dev eth0 nodad`,
      `route add default via 10.70.${index}.1`,
      `route add default via fd70:${index}::1`,
    ]);
    ipBatch(this.node.netns, [
      `route add 10.70.${index}.0/24 via ${pod.ipv4}`,
      `route add fd70:${index}::/64 via ${pod.ipv6}`,
    ]);
    const cgroup = this.#makeCgroup(join(this.cgroup, name));
    return { name, netns, ...this.#openNetns(netns), ipv4, ipv6, cgroup, device };
  }

  /** The pod's namespace goes, as when a pod is deleted; its descriptor must not keep it. */
  removePod(pod: WorldPod): void {
    closeSync(pod.netnsFd);
    this.#gone.add(pod.netns);
    // Its namespace may end later, and its addresses be wanted at once.
    ip('-n', this.node.netns, 'link', 'del', pod.device);
    ip('netns', 'del', pod.netns);
  }

  makeCgroup(name: string): string {
    return this.#makeCgroup(join(this.cgroup, name));
  }

  /** The rule of the mark and a local route for each interface, as enrolment sets them. */
  addCaptureRouting({ netns, ipv4 }: WorldPod, mark: number, table: number): void {
    setSysctls(netns, Object.fromEntries(podSysctls.map(({ name, value }) => [`net/${name}`, value])));
    for (const family of ['-4', '-6']) {
      const source = family === '-4' ? `src ${ipv4}` : '';
      const commands = [
        `rule add fwmark ${mark}/0xffff lookup ${table} priority 100`,
        `route add local default dev lo ${source} table ${table} metric 1`,
        `route add local default dev eth0 ${source} table ${table} metric 2`,
      ];
      ipBatch(netns, commands, family);
    }
  }

  /** Dials from a pod; one result for each repetition. */
  async dialAll(pod: WorldPod, options: DialOptions, run: RunOptions = {}): Promise<DialResult[]> {
    const child = this.#spawn(pod, 'dial.py', options, run);
    const lines: DialResult[] = [];
    for await (const line of createInterface({ input: child.stdout })) lines.push(JSON.parse(line));
    return lines;
  }

  async dial(pod: WorldPod, options: DialOptions, run: RunOptions = {}): Promise<DialResult> {
    const [result] = await this.dialAll(pod, options, run);
    if (result === undefined) throw new Error(`dial.py in ${pod.name} printed nothing`);
    return result;
  }

  /** Dials and keeps the connection; `check` tells whether it still carries bytes, and ends it. */
  async dialAndHold(pod: WorldPod, options: DialOptions, run: RunOptions = {}) {
    const child = this.#spawn(pod, 'dial.py', { ...options, hold: true }, run);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const result: DialResult = JSON.parse(String((await lines.next()).value));
    return {
      result,
      check: async (): Promise<{ readonly alive: boolean; readonly error?: string }> => {
        child.stdin.write('\n');
        return JSON.parse(String((await lines.next()).value));
      },
    };
  }

  /** A SYN made by hand; whether anybody answered it. */
  async sendSyn(
    pod: WorldPod,
    options: { from: readonly [string, number]; to: readonly [string, number] },
  ): Promise<{ readonly answered: 'syn-ack' | 'rst' | null }> {
    const child = this.#spawn(pod, 'raw_syn.py', options, { asRoot: true });
    const line = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
    return JSON.parse(String(line.value));
  }

  /**
   * Whoever calls this IPv4 port of the pod is called at the same time, by the same ports (simultaneous open); the function
   * returned tells what was heard. The pod's own kernel has no part in it.
   */
  async crossSyns(pod: WorldPod, port: number) {
    ip('-n', pod.netns, 'route', 'replace', 'blackhole', 'default');
    const options = { device: 'eth0', at: [pod.ipv4, port] };
    const child = this.#spawn(pod, 'crossed_syn.py', options, { asRoot: true });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    await lines.next();
    return async (): Promise<{ crossed: boolean; acknowledged: boolean; heard: string }> => {
      child.stdin.write('\n');
      return JSON.parse(String((await lines.next()).value));
    };
  }

  /** An application that answers on `ports`, until the world ends or `stop` is called. */
  serve(
    pod: WorldPod,
    options: { ports: number[]; who?: string; reusePort?: boolean; mptcp?: boolean },
    run: RunOptions = {},
  ): Promise<{ stop: () => Promise<void> }> {
    return this.#serve(pod, { as: 'app', ...options }, run);
  }

  /** The three listeners of an agent in a pod; `listeners` is the pinned sock map, `exempt` is the pinned sk_storage map. */
  serveAgent(
    pod: WorldPod,
    options: { listeners: string; podIndex: number; exempt: string; workers: number[]; reusePort?: boolean },
    run: RunOptions = {},
  ): Promise<{ ports: Record<string, number>; stop: () => Promise<void> }> {
    return this.#serve(pod, { as: 'agent', ...options }, { asRoot: true, ...run });
  }

  /** Counts TCP packets that leave the pod by eth0, as its node sees them; `marked`: those in which the marker stands. */
  async sniff(
    pod: WorldPod,
    marker?: string,
  ): Promise<() => Promise<{ readonly count: number; readonly first: string[]; readonly marked?: number }>> {
    const child = this.#spawn(
      { ...pod, netns: this.node.netns },
      'sniff.py',
      { device: pod.device, ...(marker === undefined ? {} : { marker }) },
      { asRoot: true },
    );
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    await lines.next();
    return async () => {
      child.stdin.write('\n');
      return JSON.parse(String((await lines.next()).value));
    };
  }

  /** A process in the pod that does with its sockets what it is told, see sockets.py; a call that waits holds up no other. */
  hand(pod: WorldPod, run: RunOptions = {}): SocketHand {
    const child = this.#spawn(pod, 'sockets.py', {}, run);
    const waiting = new Map<number, (answer: HandAnswer) => void>();
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, ...answer } = JSON.parse(line);
      waiting.get(id)?.(answer);
      waiting.delete(id);
    });
    let serial = 0;
    return {
      pid: child.pid ?? 0,
      do: (what, order = {}) =>
        new Promise((resolve) => {
          waiting.set(++serial, resolve);
          child.stdin.write(`${JSON.stringify({ id: serial, do: what, ...order })}\n`);
        }),
      stop: () => this.#end(child),
    };
  }

  onDispose(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  async dispose(): Promise<void> {
    const problems: unknown[] = [];
    await Promise.all([...this.#children].map((child) => this.#end(child)));
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        await undo();
      } catch (problem) {
        problems.push(problem);
      }
    }
    if (problems.length > 0) throw new AggregateError(problems, `cleaning up ${this.name}`);
  }

  async #serve(pod: WorldPod, options: object, run: RunOptions) {
    const child = this.#spawn(pod, 'serve.py', options, run);
    const line = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
    if (line.done === true)
      throw new Error(`serve.py in ${pod.name} ended at once: ${JSON.stringify(options)}`);
    return { ...JSON.parse(line.value), stop: () => this.#end(child) };
  }

  #spawn(
    pod: WorldPod,
    program: string,
    options: object,
    { asRoot = false, cgroup = pod.cgroup }: RunOptions,
  ): Child {
    const join_ = 'echo $$ > "$1/cgroup.procs"; ns=$2; shift 2; exec nsenter --net="/run/netns/$ns" "$@"';
    const nobody =
      'setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all'.split(' ');
    const command = [
      ...(asRoot ? [] : nobody),
      python,
      // Without its site packages, which the programs do not need, it starts in half the time.
      '-BES',
      join(programs, program),
      JSON.stringify(options),
    ];
    const child = spawn('/bin/sh', ['-c', join_, 'sh', cgroup, pod.netns, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  #end(child: Child): Promise<void> {
    return new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  }

  #makeNetns(name: string): string {
    const netns = `${this.name}-${name}`;
    ip('netns', 'add', netns);
    this.#undo.push(() => {
      if (!this.#gone.has(netns)) ip('netns', 'del', netns);
    });
    // Duplicate address detection would hold back each first packet for a second.
    setSysctls(netns, { 'net/ipv6/conf/default/accept_dad': '0', 'net/ipv6/conf/all/accept_dad': '0' });
    return netns;
  }

  #openNetns(netns: string): { netnsFd: number; netnsCookie: bigint } {
    const netnsFd = openSync(`/run/netns/${netns}`, 'r');
    this.#undo.push(() => {
      if (!this.#gone.has(netns)) closeSync(netnsFd);
    });
    return { netnsFd, netnsCookie: nativeAddon().netnsIdentity(netnsFd).cookie };
  }

  #makeCgroup(path: string): string {
    mkdirSync(path);
    this.#undo.push(async () => {
      for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
        process.kill(Number(pid), 'SIGKILL');
      }
      for (
        let attempt = 0;
        readFileSync(join(path, 'cgroup.procs'), 'utf8') !== '' && attempt < 100;
        attempt++
      ) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      for (const below of readdirSync(path, { withFileTypes: true }))
        if (below.isDirectory()) rmdirSync(join(path, below.name));
      rmdirSync(path);
    });
    return path;
  }
}

/** Namespaces and cgroups of test processes that are gone. */
function sweepDeadWorlds(): void {
  const isDead = (name: string) => {
    const pid = /^hadaltest-(\d+)-/.exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  };
  for (const name of existsSync('/run/netns') ? readdirSync('/run/netns') : [])
    if (isDead(name)) ip('netns', 'del', name);
  const root = findCgroupRoot();
  for (const name of root === undefined ? [] : readdirSync(root)) {
    if (!isDead(name)) continue;
    for (const below of readdirSync(join(root ?? '', name), { withFileTypes: true })) {
      if (below.isDirectory()) removeCgroup(join(root ?? '', name, below.name));
    }
    removeCgroup(join(root ?? '', name));
  }
}

/** One that still has processes stays. */
function removeCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    console.warn(`${path} is left behind: it has processes`);
  }
}

export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Many commands by one process: starting one costs most where the machine is emulated. */
function ipBatch(netns: string, commands: readonly string[], ...options: string[]): void {
  execFileSync('ip', [...options, '-n', netns, '-batch', '-'], { input: commands.join('\n') });
}

export function setSysctl(netns: string, name: string, value: string): void {
  setSysctls(netns, { [name]: value });
}

function setSysctls(netns: string, values: Readonly<Record<string, string>>): void {
  const lines = Object.entries(values).map(([name, value]) => `echo ${value} > /proc/sys/${name}`);
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, 'sh', '-ec', lines.join('\n')]);
}
