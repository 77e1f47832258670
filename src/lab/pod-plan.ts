import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { macAddress, maxPodsPerNode, podAddress } from './address-plan.ts';
import { type LabLayout, podLayout } from './layout.ts';
import { createPodNetns, deletePodNetns } from './network.ts';
import type { LabNode } from './node.ts';
import { packageRoot } from './package-root.ts';
import type { PodPlan } from './pod.ts';
import { type PodNetwork, podBridge } from './pod-network.ts';
import type { PodMount } from './pod-root.ts';

/** Where a pod of this object goes on its node: namespace, addresses, user. Takes the node's next free place. */
export function podPlan(
  object: PodObject,
  node: LabNode,
  slot: number,
  lab: LabLayout,
  mounts: readonly PodMount[],
  network: PodNetwork,
): PodPlan {
  const { name, namespace } = object.metadata;
  const index = takeIndex(node, `${namespace}/${name}`);
  const layout = podLayout(lab, node.name, namespace, name);
  const address = podAddress(slot, node.number, index);
  const link = {
    netns: layout.netns,
    nodeNetns: node.netns,
    nodeInterface: `pod${index}`,
    nodeAddress: node.address,
    address,
    mac: macAddress('pod', node.number, index),
    gatewayMac: macAddress('pod-gateway', node.number, index),
    ...(network === 'bridge' && { bridge: { interface: podBridge, range: node.link.podRange } }),
  };
  return {
    object,
    node: node.name,
    nodeAddress: node.address,
    layout,
    address,
    createNetwork: () => createPodNetns(link),
    removeNetwork: () => deletePodNetns(link),
    // Different pods are different users, so none can signal another or share its ports by SO_REUSEPORT.
    uid:
      object.spec.securityContext.runAsUser ?? 20_000 + slot * 50_000 + node.number * maxPodsPerNode + index,
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

/** What every pod of a lab sees of the machine: its manifests, this package, and what the caller adds. */
export function podMounts(directory: string | undefined, more: readonly PodMount[]): PodMount[] {
  const own = directory === undefined ? [] : [{ source: resolve(directory), target: '/app' }];
  return [...own, { source: packageRoot(), target: '/opt/hadal/package' }, ...more].filter(({ source }) =>
    existsSync(source),
  );
}
