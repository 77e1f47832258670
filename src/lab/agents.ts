/** The agents of a lab, and where they get the mesh and their certificates: a control plane, or a file and this process. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Logger, LogRoot } from '../base/logger.ts';
import { openSelfSignedAuthority } from '../identity/authority-directory.ts';
import { type IssueVerdict, type SigningServer, startSigningServer } from '../identity/signing-server.ts';
import { spiffeText } from '../model/spiffe-id.ts';
import type { MeshNames } from '../source/translate/context.ts';
import type { AddressPlan } from './address-plan.ts';
import { AgentProcess } from './agent-process.ts';
import type { LabControlPlane } from './control-plane.ts';
import type { LabLayout } from './layout.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';
import { openLog } from './pod-root.ts';

export interface LabAgents {
  /** Answers nothing more: agents go on with the certificates they have. */
  stopAuthority(): Promise<void>;
  startAuthority(): Promise<void>;
  close(): Promise<void>;
}

export interface AgentsOptions {
  readonly layout: LabLayout;
  readonly plan: AddressPlan;
  readonly names: MeshNames;
  readonly nodes: readonly LabNode[];
  readonly stateFile: string;
  /** Absent: agents read the state file, and this process is their authority. */
  readonly controlPlane: LabControlPlane | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Node and the entry of the command line. */
  readonly program: readonly string[];
  /** The authority signs for no longer. */
  readonly certificateLifetimeMs: number | undefined;
  /** How long an agent may take to get ready. */
  readonly readyTimeoutMs?: number | undefined;
  /** Pods that run now: the authority signs for no other. */
  readonly pods: () => Iterable<LabPod>;
  /** An agent began or ended. */
  readonly onChange: () => void;
}

/** Starts one agent per node and resolves when all are ready. */
export async function startAgents(options: AgentsOptions): Promise<LabAgents> {
  const { nodes, controlPlane } = options;
  for (const node of nodes) {
    const env =
      controlPlane === undefined
        ? stateEnvironment(options, node)
        : await controlPlaneEnvironment(controlPlane, node);
    node.agent = new AgentProcess(node, agentProcess(options, node, env));
  }
  const authority = controlPlane === undefined ? await openLabAuthority(options) : authorityOf(controlPlane);
  await authority.startAuthority();
  for (const node of nodes) node.agent?.start();
  await Promise.all(nodes.map((node) => node.agent?.waitReady(options.readyTimeoutMs)));
  return authority;
}

function authorityOf(controlPlane: LabControlPlane): LabAgents {
  return {
    startAuthority: async () => {
      controlPlane.start();
      await controlPlane.waitReady();
    },
    stopAuthority: async () => void (await controlPlane.kill()),
    close: async () => void (await controlPlane.kill()),
  };
}

/** Signs in this process; each node reaches it by a socket of its own. */
async function openLabAuthority(options: AgentsOptions): Promise<LabAgents> {
  const { layout, nodes, names, certificateLifetimeMs } = options;
  const log = openLog(join(layout.directory, 'authority.log'));
  const logger = new LogRoot({ destination: log, format: 'json' }).scope('authority');
  const authority = await openSelfSignedAuthority(
    join(layout.directory, 'authority'),
    {
      trustDomains: [names.trustDomain],
      ...(certificateLifetimeMs === undefined ? {} : { maxLifetimeMs: certificateLifetimeMs }),
    },
    logger,
  );
  let servers: SigningServer[] = [];
  const stopAuthority = async () => {
    await Promise.all(servers.map((server) => server.close()));
    servers = [];
  };
  return {
    startAuthority: async () => {
      servers = await Promise.all(
        nodes.map((node) =>
          startSigningServer({
            authority,
            socketPath: authoritySocket(node),
            caller: node.name,
            mayIssue: (identity, caller) => mayIssue(options, identity, caller),
            logger: logger as Logger,
          }),
        ),
      );
    },
    stopAuthority,
    close: async () => {
      await stopAuthority();
      log.end();
    },
  };
}

const runtimeDirectory = (node: LabNode) => join(node.layout.directory, 'run');
const authoritySocket = (node: LabNode) => join(runtimeDirectory(node), 'authority.sock');

function stateEnvironment({ stateFile }: AgentsOptions, node: LabNode): NodeJS.ProcessEnv {
  return { HADAL_STATE_FILE: stateFile, HADAL_AUTHORITY_SOCKET: authoritySocket(node) };
}

async function controlPlaneEnvironment(
  controlPlane: LabControlPlane,
  node: LabNode,
): Promise<NodeJS.ProcessEnv> {
  return {
    HADAL_XDS_ADDRESS: controlPlane.address,
    HADAL_XDS_ROOT_FILE: controlPlane.rootFile,
    HADAL_XDS_SERVER_NAME: controlPlane.serverName,
    HADAL_CA_ADDRESS: controlPlane.address,
    HADAL_CA_SERVER_NAME: controlPlane.serverName,
    HADAL_CA_ROOT_FILE: controlPlane.rootFile,
    HADAL_TOKEN_FILE: await controlPlane.giveToken(node),
  };
}

function agentProcess(options: AgentsOptions, node: LabNode, source: NodeJS.ProcessEnv) {
  const { layout, plan, names, env, program, onChange } = options;
  const dataDirectory = join(node.layout.directory, 'data');
  for (const directory of [runtimeDirectory(node), dataDirectory])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  const socket = join(runtimeDirectory(node), 'cni.sock');
  return {
    argv: [...program, 'agent'],
    socket,
    onChange,
    log: join(node.layout.directory, 'agent.log'),
    env: {
      HADAL_NODE_NAME: node.name,
      HADAL_CLUSTER_ID: names.clusterId,
      HADAL_NETWORK: names.network,
      HADAL_CLUSTER_DOMAIN: names.clusterDomain,
      HADAL_TRUST_DOMAIN: names.trustDomain,
      HADAL_ROOT_NAMESPACE: names.rootNamespace,
      HADAL_POD_RANGES: plan.podRanges.join(','),
      HADAL_SERVICE_RANGES: plan.serviceRanges.join(','),
      HADAL_INSTANCE: node.name,
      HADAL_CGROUP_ROOT: node.layout.cgroup,
      HADAL_KUBELET_CGROUP: node.layout.kubeletCgroup,
      HADAL_BPFFS: layout.bpffs,
      HADAL_DATA_DIR: dataDirectory,
      HADAL_RUNTIME_DIR: runtimeDirectory(node),
      HADAL_CNI_SOCKET: socket,
      ...source,
      ...env,
    },
  };
}

/** As a control plane would: only for a service account that has a pod on the caller's node. */
function mayIssue({ names, pods }: AgentsOptions, identity: string, caller: string): IssueVerdict {
  for (const pod of pods()) {
    const account = pod.plan.object.spec.serviceAccountName;
    if (pod.node === caller && spiffeText(names.trustDomain, pod.namespace, account) === identity)
      return true;
  }
  return { why: `no pod of this service account runs on node ${caller}`, retry: true };
}
