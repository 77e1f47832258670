/** Agents on the nodes of a lab whose control plane is istiod: as a DaemonSet would start them, with a token of their own each. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { AgentProcess } from '../../src/lab/agent-process.ts';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabNode } from '../../src/lab/node.ts';
import { commandLine } from '../../src/lab/package-root.ts';
import { requestToken } from '../kubernetes/accounts.ts';
import { kubeConfigFor } from '../kubernetes/machines.ts';
import { create, pod, type Stored, uniqueName } from '../kubernetes/world.ts';
import { agentAccount } from './istiod.ts';
import type { IstioWorld } from './world.ts';

export interface AgentsUnderIstiod {
  close(): Promise<void>;
}

/** Resolves when the agents of all nodes are ready; they are `lab.node(name).agent` then. */
export async function startAgents(
  world: IstioWorld,
  lab: Lab,
  nodes: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<AgentsUnderIstiod> {
  const servers: Server[] = [];
  const close = async () => {
    for (const name of nodes) await lab.node(name).agent?.kill('SIGKILL');
    for (const server of servers) server.close();
  };
  const apiPort = Number(new URL(world.machines.server).port);
  for (const name of nodes) {
    const node = lab.node(name);
    for (const port of [world.istiod.port, apiPort]) servers.push(await relay(node, port));
    node.agent = await agentOn(world, node, env);
    node.agent.start();
  }
  await Promise.all(nodes.map((name) => lab.node(name).agent?.waitReady()));
  return { close };
}

async function agentOn(
  world: IstioWorld,
  node: LabNode,
  env: Readonly<Record<string, string>>,
): Promise<AgentProcess> {
  const { istiod, machines, admin } = world;
  const { namespace, name: account } = agentAccount;
  const { metadata } = await create<Stored>(
    admin,
    pod(namespace, uniqueName(`agent-${node.name}`), { node: node.name, serviceAccount: account }),
  );
  const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: metadata.name, uid: metadata.uid } as const;
  const tokenFor = (audiences: readonly string[]) =>
    requestToken(admin, namespace, account, { audiences, boundObjectRef });
  const directory = node.layout.directory;
  const place = (name: string) => join(directory, name);
  for (const name of ['run', 'data']) mkdirSync(place(name), { recursive: true, mode: 0o700 });
  writeFileSync(place('istio-token'), await tokenFor(['istio-ca']), { mode: 0o600 });
  writeFileSync(place('kubeconfig'), kubeConfigFor(machines, await tokenFor([])).exportConfig(), {
    mode: 0o600,
  });
  return new AgentProcess(node, {
    argv: [...commandLine(), 'agent'],
    socket: place('run/cni.sock'),
    log: place('agent.log'),
    onChange: () => {},
    env: {
      HADAL_NODE_NAME: node.name,
      HADAL_INSTANCE: node.name,
      HADAL_XDS_ADDRESS: istiod.address,
      HADAL_XDS_ROOT_FILE: istiod.rootFile,
      HADAL_XDS_SERVER_NAME: istiod.serverName,
      HADAL_CA_ADDRESS: istiod.address,
      HADAL_CA_ROOT_FILE: istiod.rootFile,
      HADAL_CA_SERVER_NAME: istiod.serverName,
      HADAL_TOKEN_FILE: place('istio-token'),
      HADAL_KUBECONFIG: place('kubeconfig'),
      HADAL_ANNOTATE_PODS: 'true',
      HADAL_POD_NAME: metadata.name,
      HADAL_POD_NAMESPACE: namespace,
      HADAL_SERVICE_RANGES: '10.96.0.0/16',
      HADAL_CGROUP_ROOT: node.layout.cgroup,
      HADAL_KUBELET_CGROUP: node.layout.kubeletCgroup,
      HADAL_BPFFS: join(directory, '../../bpf'),
      HADAL_DATA_DIR: place('data'),
      HADAL_RUNTIME_DIR: place('run'),
      HADAL_CNI_SOCKET: place('run/cni.sock'),
      ...env,
    },
  });
}

/** The node's loopback gets a port of the machine's, through a unix socket: a lab has no other way out. */
async function relay(node: LabNode, port: number): Promise<Server> {
  const path = join(node.layout.directory, `relay-${port}.sock`);
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const program = new URL('programs/relay.ts', import.meta.url).pathname;
  node.spawn([process.execPath, program, String(port), path]);
  return server;
}
