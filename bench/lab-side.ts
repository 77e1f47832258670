import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../src/lab/lab.ts';
import { startLab } from '../src/lab/start.ts';
import type { GeneratorProcess } from './generator.ts';
import type { PodRole, Side } from './side.ts';

/** As an operator starts it; from its TypeScript source an agent would carry the compiler's memory as well. */
export const agentProgram = [
  process.execPath,
  fileURLToPath(new URL('../dist/cli/main.js', import.meta.url)),
];

/** The package is there in every pod of a lab. */
const generatorPath = '/opt/hadal/package/build/Release/hadal-bench';

const pod = (namespace: string, name: string, node: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}}
spec: {nodeName: ${node}, containers: [{name: sleep}]}
`;

/** Two meshed pods on each node, and one outside the mesh beside the client. */
const manifests = [
  '\napiVersion: v1\nkind: Namespace\nmetadata: {name: bench, labels: {istio.io/dataplane-mode: ambient}}\n',
  '\napiVersion: v1\nkind: Namespace\nmetadata: {name: outside}\n',
  pod('bench', 'client', 'a'),
  pod('bench', 'spare', 'a'),
  pod('bench', 'server', 'b'),
  pod('bench', 'local-client', 'b'),
  pod('outside', 'outside-client', 'a'),
].join('---');

/** A user has policies; these are looked at for every connection and match none of the benchmark's. */
const policies = [
  {
    name: 'strangers',
    namespace: 'bench',
    scope: 'NAMESPACE',
    action: 'DENY',
    rules: [{ clauses: [{ matches: [{ namespaces: [{ exact: 'strangers' }] }] }] }],
  },
];

/** One world of the comparison, in a lab of its own whose nodes are joined by one veth pair. */
export class LabSide implements Side {
  readonly name: 'baseline' | 'hadal';
  readonly lab: Lab;

  private constructor(name: 'baseline' | 'hadal', lab: Lab) {
    this.name = name;
    this.lab = lab;
  }

  static async start(name: 'baseline' | 'hadal'): Promise<LabSide> {
    const agents = name === 'hadal';
    const lab = await startLab({
      name: `bench${name}`,
      manifests,
      nodes: ['a', 'b'],
      agents,
      agentProgram,
      fabric: 'direct',
      log: { info: () => {}, warn: (message) => console.error(`${name}: ${message}`) },
    });
    await lab.waitReady();
    if (agents) lab.setPolicies(policies);
    return new LabSide(name, lab);
  }

  spawnGenerator(role: PodRole, args: readonly string[]): GeneratorProcess {
    return this.lab.pod(role).spawn([generatorPath, ...args]) as GeneratorProcess;
  }

  serverAddress(): string {
    return this.lab.pod('server').v4;
  }

  agentPids(): number[] {
    return this.lab.nodes.flatMap((node) => (node.agent?.pid === undefined ? [] : [node.agent.pid]));
  }

  agentCpuNs(): number {
    return this.agentPids().reduce((sum, pid) => sum + cpuNs(pid), 0);
  }

  async stop(): Promise<void> {
    await this.lab.stop();
  }
}

/** CPU time of all threads of a process, from the scheduler's own count in ns (the tick's 10 ms are too coarse). */
export function cpuNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    const [onCpu = '0'] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    return sum + Number(onCpu);
  }, 0);
}

/** RSS and private memory of a process in bytes. */
export function memoryOf(pid: number): { rss: number; private: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0);
  return {
    rss: kilobytes('Rss') * 1024,
    private: (kilobytes('Private_Clean') + kilobytes('Private_Dirty')) * 1024,
  };
}
