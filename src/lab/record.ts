import type { LabLayout } from './layout.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';
import { ownIdentity } from './process.ts';
import type { LabRecord, NodeRecord, PodRecord } from './registry.ts';

const startedAt = new Date().toISOString();

/** The lab as other processes find it. */
export function labRecord(
  layout: LabLayout,
  slot: number,
  ready: boolean,
  nodes: Iterable<LabNode>,
  pods: Iterable<LabPod>,
): LabRecord {
  return {
    name: layout.name,
    owner: ownIdentity(),
    slot,
    startedAt,
    cgroup: layout.cgroup,
    directory: layout.directory,
    ready,
    nodes: [...nodes].map(nodeRecord),
    pods: [...pods].map(podRecord),
  };
}

function nodeRecord(node: LabNode): NodeRecord {
  const { name, netns, layout, address, agent } = node;
  return {
    name,
    netns,
    cgroup: layout.cgroup,
    addresses: [address.v4, address.v6],
    ...(agent === undefined ? {} : { agent: { pid: agent.pid, socket: agent.socket, log: agent.logPath } }),
  };
}

function podRecord(pod: LabPod): PodRecord {
  const { name, namespace, node, netns, cgroup, uid, addresses, pause, enrolled, ready, restarts } = pod;
  return { name, namespace, node, netns, cgroup, uid, addresses, pause, enrolled, ready, restarts };
}
