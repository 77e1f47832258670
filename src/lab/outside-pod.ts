import { join } from 'node:path';
import { podObject } from '../source/kubernetes/pod.ts';
import { macAddress, outsideAddress } from './address-plan.ts';
import type { Fabric } from './fabric.ts';
import { type LabLayout, netnsName } from './layout.ts';
import { createHostNetns, deleteNetns } from './network.ts';
import type { OutsideHost } from './outside-host.ts';
import { LabPod } from './pod.ts';
import { type PodMount, writePodFiles } from './pod-root.ts';

/** uid of programs on hosts beyond the cluster. */
const outsideUid = 19_000;

/** A host beyond the cluster is a pod in all but its network: it stands on the fabric, and no node carries it. */
export async function createOutsideHost(
  host: OutsideHost,
  place: { index: number; layout: LabLayout; fabric: Fabric; mounts: readonly PodMount[] },
): Promise<LabPod> {
  const { index, layout, fabric } = place;
  const netns = netnsName(layout.name, 'outside', host.name);
  const address = outsideAddress(index);
  const directory = join(layout.directory, 'pods', `${host.name}.outside`);
  const pod = new LabPod({
    object: podObject.parse({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: host.name, namespace: 'outside' },
      spec: { containers: [{ name: host.name, command: host.command, env: host.env }] },
    }),
    node: '',
    nodeAddress: address,
    layout: { netns, cgroup: join(layout.cgroup, 'outside', host.name), directory },
    address,
    createNetwork: async () => {
      await createHostNetns(netns);
      await fabric.joinHost({ netns, number: index, address, mac: macAddress('outside', 0, index) });
    },
    removeNetwork: () => deleteNetns(netns),
    uid: outsideUid + index,
    mounts: place.mounts,
  });
  writePodFiles(directory, {
    hosts: '127.0.0.1 localhost\n',
    resolvConf: '',
    token: '',
    namespace: 'outside',
  });
  await pod.create();
  return pod;
}
