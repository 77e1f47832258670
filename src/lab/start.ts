/** Brings a lab up, step by step; whatever fails on the way takes down what the steps before made. */
import { mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { forgetAddresses, type PinnedAddressesOptions } from '../kernel/pinned-addresses.ts';
import { nativeAddon } from '../native/addon.ts';
import {
  type ManifestDirectory,
  type OtherObject,
  openManifestDirectory,
} from '../source/directory/manifest-directory.ts';
import { describeRejection } from '../source/kubernetes/objects.ts';
import { defaultMeshNames, type MeshNames } from '../source/translate/context.ts';
import { type AddressPlan, addressPlan } from './address-plan.ts';
import { type LabAgents, startAgents } from './agents.ts';
import { createCgroup } from './cgroup.ts';
import { Cluster } from './cluster.ts';
import { runScript } from './command.ts';
import { type LabControlPlane, prepareControlPlane } from './control-plane.ts';
import { Ending } from './ending.ts';
import { Fabric } from './fabric.ts';
import { KubeProxy } from './kube-proxy.ts';
import { Kubelet } from './kubelet.ts';
import { Lab } from './lab.ts';
import { type LabLog, silentLog } from './lab-log.ts';
import { labNodes } from './lab-nodes.ts';
import type { LabLayout } from './layout.ts';
import { LabNameserver } from './nameserver.ts';
import type { FabricKind } from './network.ts';
import type { LabNode } from './node.ts';
import { outsideHosts } from './outside-host.ts';
import { createOutsideHost } from './outside-pod.ts';
import { commandLine } from './package-root.ts';
import type { LabPod } from './pod.ts';
import { type PodNetwork, preparePodNetwork } from './pod-network.ts';
import { podMounts, podPlan } from './pod-plan.ts';
import type { PodMount } from './pod-root.ts';
import { Publisher } from './publisher.ts';
import { labRecord } from './record.ts';
import { claimLab, removeLab, writeLab } from './registry.ts';
import { TokenSigner } from './service-account-token.ts';

export interface LabOptions {
  /** Up to 20 lower-case letters and digits. Default: of the directory, or of the process. */
  readonly name?: string;
  /** Manifests; watched as long as the lab runs. Pods see it as /app. */
  readonly directory?: string;
  /** Objects as text, beside or instead of a directory. */
  readonly manifests?: string;
  /** Default: those that the pods name. */
  readonly nodes?: readonly string[];
  /** An agent on each node. Default: true. */
  readonly agents?: boolean;
  /**
   * Agents get the mesh and their certificates from `hadal control-plane`; without, from a state file and this process.
   * Default: false.
   */
  readonly controlPlane?: boolean;
  /** More environment for the control plane. */
  readonly controlPlaneEnv?: Readonly<Record<string, string>>;
  /** More environment for the agents, such as `HADAL_LOG_LEVEL`. */
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Node and the entry that agents are started with; as this program itself by default. */
  readonly agentProgram?: readonly string[];
  /** The authority signs for no longer; default: what the agents ask for. */
  readonly certificateLifetimeMs?: number;
  /** How long an agent may take to get ready. Default: 60,000. */
  readonly agentReadyMs?: number;
  /** Default: `bridge`. */
  readonly fabric?: FabricKind;
  /** How pods of one node reach one another; `hairpin` needs the bridge. Default: `routed`. */
  readonly podNetwork?: PodNetwork;
  /** More of the machine's files that pods see. */
  readonly mounts?: readonly PodMount[];
  readonly log?: LabLog;
}

/** Brings up fabric, nodes, agents and pods, and resolves when the programs were started. */
export async function startLab(options: LabOptions): Promise<Lab> {
  if (process.getuid?.() !== 0) {
    throw new HadalError(
      'ERR_LAB_ROOT',
      'a lab makes network namespaces and cgroups, which only root may; run it with sudo',
    );
  }
  const log = options.log ?? silentLog;
  const { record, layout } = await claimLab(options.name ?? defaultName(options.directory));
  const ending = new Ending();
  ending.undo(() => removeLab(layout.name));
  try {
    return await build(options, record.slot, layout, log, ending);
  } catch (error) {
    // Why it did not start says more than what could not be taken down after it.
    await ending
      .run()
      .catch((left: unknown) => log.warn(left instanceof Error ? left.message : String(left)));
    throw error;
  }
}

/** Owns the steps; each hands back what the next one needs, and notes how it is undone. */
async function build(
  options: LabOptions,
  slot: number,
  layout: LabLayout,
  log: LabLog,
  ending: Ending,
): Promise<Lab> {
  await prepareDirectories(layout);
  const names = defaultMeshNames;
  const cluster = new Cluster(slot);
  const following: { lab?: Lab } = {};
  const source = followManifests(options, cluster, following, log, ending);
  const nodes = labNodes(options.nodes, cluster, slot, layout);
  log.info(`lab ${layout.name}: nodes ${[...nodes.keys()].join(', ')}`);
  const fabric = new Fabric(options.fabric ?? 'bridge', layout.fabricNetns);
  for (const node of nodes.values()) await node.create();
  await fabric.joinNodes([...nodes.values()].map((node) => node.link));
  const { podNetwork = 'routed' } = options;
  await preparePodNetwork(podNetwork, fabric, slot);

  const plan = addressPlan(slot);
  const controlPlane = await startLabControlPlane(options, { layout, plan, names, nodes }, ending);
  const stateFile = join(layout.directory, 'state', 'mesh.yaml');
  const kubeProxy = new KubeProxy(log);
  const tokens = new TokenSigner(layout.name);
  const publisher = new Publisher({
    cluster,
    names,
    stateFile,
    tokens,
    nodes,
    kubeProxy,
    files: controlPlane?.files,
    serviceRanges: plan.serviceRanges,
  });
  ending.undo(() => publisher.close());
  const nameserver = new LabNameserver((asker) => publisher.namesFor(asker));
  ending.undo(() => nameserver.close());
  for (const node of nodes.values()) nameserver.serve(node);
  const mounts = podMounts(options.directory, options.mounts ?? []);
  const outside = await startOutsideHosts(
    source?.current.others ?? [],
    { layout, fabric, mounts },
    publisher,
  );
  const kubelet: Kubelet = new Kubelet({
    cluster,
    nodes,
    plan: (object, node) => podPlan(object, node, slot, layout, mounts, podNetwork),
    publisher,
    others: () => outside.values(),
    forgetAddresses: (pod) => void forgetAddresses(pinsOf(layout, pod.node), pod.addresses),
    changed: () => save(),
    retry: () => following.lab?.reconcileSoon(),
    log,
  });
  ending.undo(() => kubelet.close());
  publisher.publish([]);
  controlPlane?.start();
  let isUp = false;
  // A process that ends with the lab must not bring the lab's record back.
  const save = () => {
    if (!ending.begun) writeLab(labRecord(layout, slot, isUp, nodes.values(), kubelet.pods.values()));
  };
  save();
  const agents = await startLabAgents(
    options,
    { layout, plan, names, nodes, stateFile, controlPlane, kubelet, save },
    log,
    ending,
  );
  const rejections = () => source?.current.rejections ?? [];
  const close = () => ending.run();
  const lab = new Lab({
    layout,
    plan,
    cluster,
    fabric,
    nodes,
    outside,
    kubelet,
    publisher,
    kubeProxy,
    agents,
    stateFile,
    controlPlane,
    rejections,
    warn: (message) => log.warn(message),
    save,
    close,
  });
  following.lab = lab;
  ending.undo(() => lab.cancelRetry());
  await lab.reconcile();
  isUp = true;
  save();
  return lab;
}

/** The manifests of a directory, now and as they change, and those given as text. */
function followManifests(
  options: LabOptions,
  cluster: Cluster,
  following: { readonly lab?: Lab },
  log: LabLog,
  ending: Ending,
): ManifestDirectory | undefined {
  const follow = (known: ManifestDirectory['current']) => {
    for (const rejection of known.rejections) log.warn(describeRejection(rejection));
    cluster.setManifests(known);
    const told = (error: unknown) => log.warn(error instanceof Error ? error.message : String(error));
    following.lab?.reconcile().catch(told);
  };
  let source: ManifestDirectory | undefined;
  if (options.directory !== undefined) {
    source = openManifestDirectory(resolve(options.directory), follow);
    ending.undo(source.close);
    follow(source.current);
  }
  if (options.manifests !== undefined) cluster.apply(options.manifests);
  return source;
}

async function startOutsideHosts(
  others: readonly OtherObject[],
  place: { layout: LabLayout; fabric: Fabric; mounts: readonly PodMount[] },
  publisher: Publisher,
): Promise<Map<string, LabPod>> {
  const started = new Map<string, LabPod>();
  for (const [index, host] of outsideHosts(others).entries()) {
    const pod = await createOutsideHost(host, { index, ...place });
    pod.startPrograms();
    started.set(host.name, pod);
    publisher.outside.push({ name: host.name, addresses: pod.addresses });
  }
  return started;
}

/** The program starts when there is something to read. */
async function startLabControlPlane(
  options: LabOptions,
  { nodes, ...around }: Pick<AgentSurroundings, 'layout' | 'plan' | 'names' | 'nodes'>,
  ending: Ending,
): Promise<LabControlPlane | undefined> {
  if (options.agents === false || options.controlPlane !== true) return undefined;
  const controlPlane = await prepareControlPlane({
    ...around,
    nodes: [...nodes.values()],
    env: options.controlPlaneEnv ?? {},
    program: options.agentProgram ?? commandLine(),
    certificateLifetimeMs: options.certificateLifetimeMs,
    onChange: () => {},
  });
  ending.undo(async () => void (await controlPlane.kill('SIGKILL')));
  return controlPlane;
}

interface AgentSurroundings {
  readonly layout: LabLayout;
  readonly plan: AddressPlan;
  readonly names: MeshNames;
  readonly nodes: ReadonlyMap<string, LabNode>;
  readonly stateFile: string;
  readonly controlPlane: LabControlPlane | undefined;
  readonly kubelet: Kubelet;
  readonly save: () => void;
}

async function startLabAgents(
  options: LabOptions,
  { nodes, kubelet, save, ...around }: AgentSurroundings,
  log: LabLog,
  ending: Ending,
): Promise<LabAgents | undefined> {
  if (options.agents === false) return undefined;
  log.info('starting the agents');
  const agents = await startAgents({
    ...around,
    nodes: [...nodes.values()],
    env: options.agentEnv ?? {},
    program: options.agentProgram ?? commandLine(),
    certificateLifetimeMs: options.certificateLifetimeMs,
    readyTimeoutMs: options.agentReadyMs,
    pods: () => kubelet.pods.values(),
    onChange: save,
  });
  ending.undo(agents.close);
  return agents;
}

/** Where the agent of a node pins what outlives it. */
function pinsOf(layout: LabLayout, node: string): PinnedAddressesOptions {
  return { native: nativeAddon(), bpffs: layout.bpffs, instance: node };
}

async function prepareDirectories(layout: LabLayout): Promise<void> {
  createCgroup(join(layout.cgroup, 'tools'));
  mkdirSync(layout.directory, { recursive: true });
  await runScript(
    `prepare ${layout.directory}`,
    [
      `mount -t tmpfs -o mode=711 hadal-lab ${layout.directory}`,
      `mkdir -p ${layout.bpffs}`,
      `mount -t bpf -o mode=700 hadal-lab ${layout.bpffs}`,
    ].join('\n'),
  );
}

/** `examples/bookshop` is the lab `bookshop`. */
function defaultName(directory: string | undefined): string {
  if (directory === undefined) return `lab${process.pid}`;
  const letters = basename(resolve(directory))
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');
  return /^[a-z]/.test(letters) ? letters.slice(0, 20) : `lab${letters.slice(0, 17)}`;
}
