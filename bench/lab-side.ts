import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../src/lab/lab.ts';
import { startLab } from '../src/lab/start.ts';
import type { GeneratorProcess } from './generator.ts';
import { policyManifests } from './policy-manifests.ts';
import type { PodRole, Side, SideName } from './side.ts';

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
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}}, annotations: {hadal.io/turbo: enabled}}
spec: {nodeName: ${node}, containers: [{name: sleep}]}
`;

/** Two meshed pods on each node, and one outside the mesh beside the client. All ask for turbo, which one side's agents allow. */
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

/** How many policies each side's mesh has that are not above; half of them select the server. */
const policyCounts: Readonly<Partial<Record<SideName, number>>> = { fewpolicies: 10, manypolicies: 10_000 };

/** What an operator sets for this side. */
const agentEnvs: Readonly<Partial<Record<SideName, Readonly<Record<string, string>>>>> = {
  turbo: { HADAL_TURBO: 'true' },
};

/** One world of the comparison, in a lab of its own whose nodes are joined by one veth pair. */
export class LabSide implements Side {
  readonly name: SideName;
  readonly lab: Lab;

  private constructor(name: SideName, lab: Lab) {
    this.name = name;
    this.lab = lab;
  }

  static async start(name: SideName): Promise<LabSide> {
    const agents = name !== 'baseline';
    const count = policyCounts[name] ?? 0;
    const lab = await startLab({
      name: `bench${name}`,
      manifests: [manifests, ...policyManifests(count, 'bench', 'server')].join('\n---\n'),
      nodes: ['a', 'b'],
      agents,
      agentProgram,
      agentEnv: agentEnvs[name] ?? {},
      fabric: 'direct',
      log: { info: () => {}, warn: (message) => console.error(`${name}: ${message}`) },
    });
    const side = new LabSide(name, lab);
    try {
      await lab.waitReady();
      if (agents) lab.setPolicies(policies);
      await side.#untilKnown(agents ? count + policies.length : 0);
    } catch (error) {
      await lab.stop();
      throw error;
    }
    return side;
  }

  async #untilKnown(wanted: number): Promise<void> {
    const deadline = performance.now() + 60_000;
    for (const { name, agent } of this.lab.nodes) {
      for (let known = -1; agent !== undefined && known !== wanted; await sleep(100)) {
        const line = /^hadal_mesh_resources\{kind="policies"\} (\d+)/m.exec(await agent.metrics());
        known = Number(line?.[1] ?? 0);
        if (performance.now() > deadline)
          throw new Error(`the agent of ${name} (${this.name}) knows ${known} policies, not ${wanted}`);
      }
    }
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
    try {
      const [onCpu = '0'] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      return sum + Number(onCpu);
    } catch (error) {
      // It has ended since it was listed.
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return sum;
      throw error;
    }
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
