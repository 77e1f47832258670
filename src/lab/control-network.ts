import { runScript } from './command.ts';
import type { NodeLink } from './network.ts';

/** The interface of a node towards the control plane. */
const nodeInterface = 'control0';

/**
 * One veth pair between the control plane's namespace and each node: what agents and control plane say to each other is not on
 * the fabric, whose capture shows what pods say.
 */
export async function connectControl(
  netns: string,
  address: string,
  nodes: readonly NodeLink[],
): Promise<void> {
  const links = nodes.flatMap((node) => {
    const end = `node${node.number}`;
    return [
      `ip link add ${nodeInterface} netns ${node.netns} type veth peer name ${end} netns ${netns}`,
      `ip -n ${netns} link set ${end} addrgenmode none up`,
      `ip -n ${node.netns} link set ${nodeInterface} addrgenmode none up`,
      `ip -n ${node.netns} route add ${address}/32 dev ${nodeInterface} src ${node.address.v4}`,
      `ip -n ${netns} route add ${node.address.v4}/32 dev ${end} src ${address}`,
    ];
  });
  await runScript(
    `connect the nodes to ${netns}`,
    [`ip -n ${netns} addr add ${address}/32 dev lo`, ...links].join('\n'),
  );
}
