/** A lab of two nodes whose agents follow istiod: a client on `a`, a server on `b`, in the lab and at the API server alike. */
import { expect } from 'vitest';
import { callSocket } from '../../src/lab/admin-call.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { netnsPath } from '../../src/lab/layout.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { applyManifests } from '../kubernetes/manifests.ts';
import { eventually, type Manifest, type Stored } from '../kubernetes/world.ts';
import { sectionOf } from '../mesh/observe.ts';
import { echoPod, namespace, pod, startTestLab } from '../mesh/world.ts';
import { type AgentsUnderIstiod, startAgents } from './agents.ts';
import { type IstioWorld, runPod } from './world.ts';

/** On which the server echoes; its service has port 80. */
export const port = 8080;

const pods = [
  ['caller', 'a'],
  ['server', 'b'],
] as const;
type PodName = (typeof pods)[number][0];

export class LabUnderIstiod {
  readonly lab: Lab;
  readonly namespace: string;
  /** Of the service before the server. */
  readonly clusterIp: string;
  readonly #admin: IstioWorld['admin'];
  readonly #agents: AgentsUnderIstiod;
  readonly #stored: ReadonlyMap<string, Stored>;

  private constructor(
    lab: Lab,
    within: string,
    clusterIp: string,
    admin: IstioWorld['admin'],
    agents: AgentsUnderIstiod,
    stored: ReadonlyMap<string, Stored>,
  ) {
    this.lab = lab;
    this.namespace = within;
    this.clusterIp = clusterIp;
    this.#admin = admin;
    this.#agents = agents;
    this.#stored = stored;
  }

  static async start(
    world: IstioWorld,
    within: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<LabUnderIstiod> {
    // For the lab's kubelet they are outside the mesh: the tests are their CNI plugin.
    const lab = await startTestLab({
      agents: false,
      manifests: [namespace(within), pod(`${within}/caller`, 'a'), echoPod(`${within}/server`, 'b', port)],
    });
    try {
      await lab.waitReady();
      await applyManifests(world.admin, clusterObjects(within));
      const { spec } = await world.admin.request<{ spec: { clusterIP: string } }>({
        path: `/api/v1/namespaces/${within}/services/server`,
      });
      const stored = new Map<string, Stored>();
      for (const [name, node] of pods) {
        const { v4, v6 } = lab.pod(`${within}/${name}`);
        const status = { podIPs: [{ ip: v4 }, { ip: v6 }] };
        const how = { node, ip: v4, labels: { app: name }, serviceAccount: name, status };
        stored.set(name, await runPod(world.admin, within, name, how));
      }
      const agents = await startAgents(world, lab, ['a', 'b'], env);
      return new LabUnderIstiod(lab, within, spec.clusterIP, world.admin, agents, stored);
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    // The next lab has the same addresses.
    await this.#admin.request({
      method: 'DELETE',
      path: `/api/v1/namespaces/${this.namespace}/pods`,
      query: { gracePeriodSeconds: 0 },
    });
    await this.#agents.close();
    await this.lab.stop();
  }

  pod(name: PodName): LabPod {
    return this.lab.pod(`${this.namespace}/${name}`);
  }

  /** As the CNI plugin does it. */
  async enrol(name: PodName): Promise<void> {
    const { netns, cgroup, addresses, node } = this.pod(name);
    const body = {
      Netns: netnsPath(netns),
      PodName: name,
      PodNamespace: this.namespace,
      PodUID: this.#stored.get(name)?.metadata.uid,
      ServiceAccount: name,
      Cgroup: cgroup,
      IPs: addresses.map((address) => ({ Interface: 'eth0', Address: address })),
    };
    const socket = this.lab.node(node).agent?.socket ?? '';
    const answer = await callSocket(socket, '/cmdadd', 'POST', JSON.stringify(body));
    expect(answer).toMatchObject({ status: 200 });
  }

  /** Both are held, and each agent tunnels to the other's. */
  async enrolAll(nodes: readonly string[] = ['a', 'b']): Promise<void> {
    for (const [name] of pods) await this.enrol(name);
    for (const [name] of pods) {
      await eventually(async () => (await this.annotationOf(name)) === 'enabled', `${name} is annotated`);
      for (const node of nodes)
        await eventually(
          async () => (await this.protocolOf(name, node)) === 'HBONE',
          `${node} tunnels to ${name}`,
        );
    }
  }

  async annotationOf(name: PodName): Promise<string | undefined> {
    const { metadata } = await this.#admin.request<{ metadata: { annotations?: Record<string, string> } }>({
      path: `/api/v1/namespaces/${this.namespace}/pods/${name}`,
    });
    return metadata.annotations?.['ambient.istio.io/redirection'];
  }

  /** As the agent of a node knows it; undefined where it does not know the pod. */
  async protocolOf(name: string, node: string): Promise<string | undefined> {
    const workloads = await sectionOf<{ name: string; namespace: string; protocol: string }[]>(
      this.lab,
      node,
      'workloads',
    );
    return workloads.find((one) => one.name === name && one.namespace === this.namespace)?.protocol;
  }
}

function clusterObjects(within: string): Manifest[] {
  return [
    ...['a', 'b'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })),
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: within, labels: { 'istio.io/dataplane-mode': 'ambient' } },
    },
    ...['caller', 'server', 'default'].map((name) => ({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name, namespace: within },
    })),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'server', namespace: within },
      spec: { selector: { app: 'server' }, ports: [{ name: 'tcp', port: 80, targetPort: port }] },
    },
  ];
}
