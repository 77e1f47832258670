/** Brings a lab up, step by step; whatever fails on the way takes down what the steps before made. */
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { type ManifestDirectory, openManifestDirectory } from '../source/directory/manifest-directory.ts';
import { describeRejection } from '../source/kubernetes/objects.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { defaultMeshNames } from '../source/translate/context.ts';
import {
  addressPlan,
  macAddress,
  maxPodsPerNode,
  nodeAddress,
  nodePodRange,
  podAddress,
} from './address-plan.ts';
import { type LabAgents, startAgents } from './agents.ts';
import { createCgroup } from './cgroup.ts';
import { Cluster } from './cluster.ts';
import { runScript } from './command.ts';
import { Fabric } from './fabric.ts';
import { KubeProxy } from './kube-proxy.ts';
import { Kubelet } from './kubelet.ts';
import { Lab } from './lab.ts';
import { type LabLog, silentLog } from './lab-log.ts';
import { type LabLayout, nodeLayout, podLayout } from './layout.ts';
import { createPodNetns, type FabricKind } from './network.ts';
import { LabNode } from './node.ts';
import { outsideHosts } from './outside-host.ts';
import { createOutsideHost } from './outside-pod.ts';
import { packageRoot } from './package-root.ts';
import type { LabPod, PodPlan } from './pod.ts';
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
  /** More environment for the agents, such as `HADAL_LOG_LEVEL`. */
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Default: `bridge`. */
  readonly fabric?: FabricKind;
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
  const undo: Undo[] = [() => removeLab(layout.name)];
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    return await build(options, record.slot, layout, log, undo, close);
  } catch (error) {
    await close();
    throw error;
  }
}

type Undo = () => void | Promise<void>;

async function build(
  options: LabOptions,
  slot: number,
  layout: LabLayout,
  log: LabLog,
  undo: Undo[],
  close: () => Promise<void>,
): Promise<Lab> {
  await prepareDirectories(layout);
  const cluster = new Cluster(slot);
  let lab: Lab | undefined;
  let source: ManifestDirectory | undefined;
  const follow = (known: ManifestDirectory['current']) => {
    for (const rejection of known.rejections) log.warn(describeRejection(rejection));
    cluster.setManifests(known);
    lab
      ?.reconcile()
      .catch((error: unknown) => log.warn(error instanceof Error ? error.message : String(error)));
  };
  if (options.directory !== undefined) {
    source = openManifestDirectory(resolve(options.directory), follow);
    undo.push(source.close);
    follow(source.current);
  }
  if (options.manifests !== undefined) cluster.apply(options.manifests);

  const nodes = labNodes(options, cluster, slot, layout);
  const fabric = new Fabric(options.fabric ?? 'bridge', layout.fabricNetns);
  log.info(`lab ${layout.name}: nodes ${[...nodes.keys()].join(', ')}`);
  for (const node of nodes.values()) await node.create();
  await fabric.joinNodes([...nodes.values()].map((node) => node.link));

  const stateFile = join(layout.directory, 'state', 'mesh.yaml');
  const kubeProxy = new KubeProxy(log);
  const publisher = new Publisher({
    cluster,
    names: defaultMeshNames,
    stateFile,
    tokens: new TokenSigner(layout.name),
    nodes,
    kubeProxy,
  });
  const mounts = podMounts(options);
  const outside = new Map<string, LabPod>();
  for (const [index, host] of outsideHosts(source?.current.others ?? []).entries()) {
    const pod = await createOutsideHost(host, { index, layout, fabric, mounts });
    outside.set(host.name, pod);
    pod.startPrograms();
    publisher.outside.push({ name: host.name, addresses: pod.addresses });
  }

  const kubelet: Kubelet = new Kubelet({
    cluster,
    nodes,
    plan: (object, node) => podPlan(object, node, slot, layout, mounts),
    publisher,
    others: () => outside.values(),
    changed: () => save(lab !== undefined),
    log,
  });
  undo.push(() => kubelet.close());
  undo.push(() => publisher.close());
  publisher.publish([]);
  const plan = addressPlan(slot);
  const names = defaultMeshNames;
  let agents: LabAgents | undefined;
  if (options.agents !== false) {
    log.info('starting the agents');
    const env = options.agentEnv ?? {};
    const pods = () => kubelet.pods.values();
    agents = await startAgents({ layout, plan, names, nodes: [...nodes.values()], stateFile, env, pods });
    undo.push(agents.close);
  }
  const save = (ready: boolean) =>
    writeLab(labRecord(layout, slot, ready, nodes.values(), kubelet.pods.values()));
  save(false);
  lab = new Lab({
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
    rejections: () => source?.current.rejections ?? [],
    save: () => save(true),
    close,
  });
  await lab.reconcile();
  return lab;
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

function labNodes(
  options: LabOptions,
  cluster: Cluster,
  slot: number,
  layout: LabLayout,
): Map<string, LabNode> {
  const mentioned = cluster
    .objects()
    .pods.map((pod) => pod.spec.nodeName)
    .filter((name) => name !== '');
  const names = options.nodes ?? [...new Set(mentioned)].sort();
  if (names.length === 0) {
    throw new HadalError(
      'ERR_LAB_NODES',
      'the lab has no node: no pod names one in spec.nodeName; take --nodes a,b',
    );
  }
  return new Map(
    names.map((name, index) => {
      const number = index + 1;
      const node = nodeLayout(layout, name);
      const link = {
        netns: node.netns,
        number,
        address: nodeAddress(slot, number),
        mac: macAddress('node', number, 0),
        podRange: nodePodRange(slot, number),
      };
      return [name, new LabNode(name, number, node, link)];
    }),
  );
}

function podPlan(
  object: PodObject,
  node: LabNode,
  slot: number,
  lab: LabLayout,
  mounts: readonly PodMount[],
): PodPlan {
  const { name, namespace } = object.metadata;
  const index = takeIndex(node, `${namespace}/${name}`);
  const layout = podLayout(lab, node.name, namespace, name);
  const address = podAddress(slot, node.number, index);
  return {
    object,
    node: node.name,
    nodeAddress: node.address,
    layout,
    address,
    createNetwork: () =>
      createPodNetns({
        netns: layout.netns,
        nodeNetns: node.netns,
        nodeInterface: `pod${index}`,
        nodeAddress: node.address,
        address,
        mac: macAddress('pod', node.number, index),
        gatewayMac: macAddress('pod-gateway', node.number, index),
      }),
    // Different pods are different users, so none can signal another or share its ports by SO_REUSEPORT.
    uid:
      object.spec.securityContext?.runAsUser ?? 20_000 + slot * 50_000 + node.number * maxPodsPerNode + index,
    mounts,
  };
}

function takeIndex(node: LabNode, key: string): number {
  const taken = new Set(node.podIndexes.values());
  const index = Array.from({ length: maxPodsPerNode }, (_, number) => number).find(
    (number) => !taken.has(number),
  );
  if (index === undefined)
    throw new HadalError('ERR_LAB_PODS', `node ${node.name} has ${maxPodsPerNode} pods; it takes no more`);
  node.podIndexes.set(key, index);
  return index;
}

function podMounts(options: LabOptions): PodMount[] {
  const own = options.directory === undefined ? [] : [{ source: resolve(options.directory), target: '/app' }];
  return [...own, { source: packageRoot(), target: '/opt/hadal/package' }, ...(options.mounts ?? [])].filter(
    ({ source }) => existsSync(source),
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
