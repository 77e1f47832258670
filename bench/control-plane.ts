/** Rows about a control plane with a large mesh: real processes, from a manifest's file to a connection that goes another way. */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../src/lab/lab.ts';
import { startLab } from '../src/lab/start.ts';
import { agentProgram, cpuNs, memoryOf } from './lab-side.ts';
import { type Manifest, type MeshSize, meshManifests } from './mesh-manifests.ts';
import type { ResultRow } from './report.ts';
import { median, percentile } from './statistics.ts';

export const controlPlaneRows = [
  'control-plane.push.cpu',
  'control-plane.push.bytes',
  'control-plane.memory',
  'control-plane.change.p50',
  'control-plane.change.p99',
  'control-plane.change.scale',
] as const;

const small: MeshSize = { pods: 1_000, services: 100 };
const large: MeshSize = { pods: 10_000, services: 1_000 };
const pushes = 5;
const changes = 200;
/** Two rounds in which the control plane looks at the stat of all files. */
const idleMs = 30_000;
const servedPort = 7000;

const echo = `require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(${servedPort}, '::')`;
const manifests = [
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'bench', labels: { 'istio.io/dataplane-mode': 'ambient' } },
  },
  pod('client', 'a', []),
  pod('server', 'b', ['node', '-e', echo]),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'server', namespace: 'bench' },
    spec: { selector: { app: 'server' }, ports: [{ name: 'tcp', port: servedPort }] },
  },
];

function pod(name: string, nodeName: string, command: readonly string[]): object {
  const metadata = { name, namespace: 'bench', labels: { app: name } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: { nodeName, containers: [{ name: 'main', command }] },
  };
}

export async function measureControlPlane(
  wanted: (row: string) => boolean,
  say: (line: string) => void,
): Promise<ResultRow[]> {
  const lab = await startLab({
    name: 'benchcontrol',
    manifests: manifests.map((each) => JSON.stringify(each)).join('\n---\n'),
    nodes: ['a', 'b'],
    controlPlane: true,
    agentProgram,
    log: { info: () => {}, warn: (message) => console.error(message) },
  });
  try {
    await lab.waitReady();
    const mesh = new LargeMesh(lab);
    say(`a mesh of ${small.pods} pods`);
    await mesh.become(small);
    const few = await mesh.change(changes);
    say(`a mesh of ${large.pods} pods`);
    await mesh.become(large);
    const many = await mesh.change(changes);
    const pushed = await mesh.push();
    const { pid = 0 } = lab.controlPlane ?? {};
    const row = (name: string, unit: string, hadal: number): ResultRow => {
      return { row: `control-plane.${name}`, unit, baseline: null, hadal, ratio: null };
    };
    return [
      row('push.cpu', 's', pushed.cpuSeconds),
      row('push.bytes', 'bytes', pushed.bytes),
      row('memory', 'MB', memoryOf(pid).rss / 1e6),
      row('change.p50', 'ms', percentile(many.latenciesMs, 50)),
      row('change.p99', 'ms', percentile(many.latenciesMs, 99)),
      {
        row: 'control-plane.change.scale',
        unit: 'ms of CPU',
        baseline: few.cpuMs,
        hadal: many.cpuMs,
        ratio: many.cpuMs / few.cpuMs,
      },
    ].filter((each) => wanted(each.row));
  } finally {
    await lab.stop();
  }
}

/** The lab's mesh, made larger by manifests of pods that exist nowhere. */
class LargeMesh {
  readonly #lab: Lab;
  #files: readonly string[] = [];

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  get #directory(): string {
    return this.#plane.files.directory;
  }
  get #plane() {
    const { controlPlane } = this.#lab;
    if (controlPlane === undefined) throw new Error('the lab has no control plane');
    return controlPlane;
  }

  async become(size: MeshSize): Promise<void> {
    for (const file of this.#files) rmSync(join(this.#directory, file));
    this.#files = meshManifests(size).map((manifest) => this.#write(manifest));
    const expected = size.pods + this.#lab.pods.length;
    for (const { name } of this.#lab.nodes) await this.#untilKnown(name, expected);
    await sleep(3_000);
  }

  #write(manifest: Manifest): string {
    const { namespace = '', name } = manifest.metadata;
    const file = `load_${manifest.kind}_${namespace}_${name}.json`;
    this.#replace(file, JSON.stringify(manifest));
    return file;
  }

  #replace(file: string, text: string): void {
    const draft = join(this.#directory, `.${file}.new`);
    writeFileSync(draft, text);
    renameSync(draft, join(this.#directory, file));
  }

  async #untilKnown(node: string, workloads: number): Promise<void> {
    const deadline = performance.now() + 120_000;
    let known = 0;
    while (performance.now() < deadline) {
      const metrics =
        (await this.#lab
          .node(node)
          .agent?.metrics()
          .catch(() => '')) ?? '';
      known = Number(/^hadal_mesh_resources\{kind="workloads"\} (\d+)/m.exec(metrics)?.[1] ?? 0);
      if (known === workloads) return;
      await sleep(50);
    }
    throw new Error(`the agent of ${node} knows ${known} workloads, not ${workloads}`);
  }

  /** A pod becomes ready and not ready; each time, how long until a connection in the other node's pod goes the new way. */
  async change(count: number): Promise<{ readonly latenciesMs: readonly number[]; readonly cpuMs: number }> {
    const file = 'Pod_bench_server.json';

    const ready = readFileSync(join(this.#directory, file), 'utf8');
    const unready = ready.replace('"type":"Ready","status":"True"', '"type":"Ready","status":"False"');
    if (unready === ready) throw new Error(`${file} is not ready`);
    const [address = ''] = this.#lab.serviceAddresses('bench/server');
    const watch = new EdgeWatch(this.#lab, address);
    await watch.turns('up');
    const idle = await this.#cpuMsOf(() => sleep(idleMs));
    const latenciesMs: number[] = [];
    const begun = performance.now();
    const used = await this.#cpuMsOf(async () => {
      for (let n = 0; n < count; n += 1) {
        await sleep(50 + Math.random() * 100);
        const at = performance.timeOrigin + performance.now();
        this.#replace(file, n % 2 === 0 ? unready : ready);
        latenciesMs.push((await watch.turns(n % 2 === 0 ? 'down' : 'up')) - at);
      }
    });
    const idleShare = (idle / idleMs) * (performance.now() - begun);
    watch.stop();
    return { latenciesMs, cpuMs: (used - idleShare) / count };
  }

  /** An agent that has nothing, and is told everything. */
  async push(): Promise<{ readonly cpuSeconds: number; readonly bytes: number }> {
    const node = this.#lab.node('a');
    const expected = large.pods + this.#lab.pods.length;
    const cpu: number[] = [];
    const bytes: number[] = [];
    for (let n = 0; n < pushes; n += 1) {
      await node.agent?.kill('SIGKILL');
      const data = join(node.layout.directory, 'data');
      for (const kept of readdirSync(data).filter((each) => each.startsWith('mesh')))
        rmSync(join(data, kept), { recursive: true });
      await sleep(2_000);
      const sentBefore = await this.#sentBytes();
      const used = await this.#cpuMsOf(async () => {
        node.agent?.start();
        await node.agent?.waitReady(60_000);
        await this.#untilKnown('a', expected);
        await sleep(1_000);
      });
      // With whatever else it did meanwhile: the start of an agent is too short to tell the two apart.
      cpu.push(used / 1000);
      // Two agents are connected; what the killed one was sent is counted still.
      bytes.push((await this.#sentBytes()) - sentBefore);
    }
    return { cpuSeconds: median(cpu), bytes: median(bytes) };
  }

  async #sentBytes(): Promise<number> {
    return Number(/^hadal_sent_bytes_total (\d+)/m.exec(await this.#plane.metrics())?.[1] ?? Number.NaN);
  }

  async #cpuMsOf(work: () => Promise<void>): Promise<number> {
    const { pid } = this.#plane;
    if (pid === undefined) throw new Error('the control plane does not run');
    const before = cpuNs(pid);
    await work();
    return (cpuNs(pid) - before) / 1e6;
  }
}

/** A pod that dials all the time, and tells when the outcome turned. */
class EdgeWatch {
  readonly #child;
  #last: { readonly at: number; readonly state: string } = { at: 0, state: '' };
  #waiting: (() => void) | undefined;

  constructor(lab: Lab, address: string) {
    const program = '/opt/hadal/package/bench/programs/edge-watch.ts';
    this.#child = lab.pod('client').spawn(['node', program, address, String(servedPort)]);
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [at = '', state = ''] = line.split(' ');
        this.#last = { at: Number(at), state };
      }
      this.#waiting?.();
    });
  }

  /** When the outcome turned to `state`, in milliseconds since 1970. */
  async turns(state: 'up' | 'down'): Promise<number> {
    const deadline = performance.now() + 10_000;
    while (this.#last.state !== state) {
      if (performance.now() > deadline) throw new Error(`connections are not ${state} after 10 s`);
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#waiting = resolve;
        }),
        sleep(100),
      ]);
    }
    return this.#last.at;
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
