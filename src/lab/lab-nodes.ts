import { HadalError } from '../base/errors.ts';
import { macAddress, nodeAddress, nodePodRange } from './address-plan.ts';
import type { Cluster } from './cluster.ts';
import { type LabLayout, nodeLayout } from './layout.ts';
import { LabNode } from './node.ts';

/** Names that the lab's own namespaces and cgroups have. */
const reserved = new Set(['fabric', 'outside', 'tools', 'control', 'control-plane']);
const nodeName = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/;

/** The nodes asked for, or those that the pods name, numbered in this order. */
export function labNodes(
  wanted: readonly string[] | undefined,
  cluster: Cluster,
  slot: number,
  layout: LabLayout,
): Map<string, LabNode> {
  const mentioned = cluster
    .objects()
    .pods.map((pod) => pod.spec.nodeName)
    .filter((name) => name !== '');
  const names = wanted ?? [...new Set(mentioned)].sort();
  if (names.length === 0) {
    throw new HadalError(
      'ERR_LAB_NODES',
      'the lab has no node: no pod names one in spec.nodeName; take --nodes a,b',
    );
  }
  for (const name of names) {
    if (!nodeName.test(name) || reserved.has(name)) {
      throw new HadalError(
        'ERR_LAB_NODES',
        `"${name}" cannot name a node of a lab: take lower-case letters, digits and dashes, and not ${[...reserved].join(', ')}`,
      );
    }
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
