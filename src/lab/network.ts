/**
 * The links of a lab, as shell scripts for `ip`: fabric, nodes, pods, hosts beyond the cluster. Every address is /32 or
 * /128 and routed, as common pod networks do; neighbours are written down, so no ARP is lost and the neighbour table,
 * which all namespaces of a machine share, does not fill with 250 pods.
 *
 * Nothing here touches the machine's own network namespace: both ends of every link are inside the lab.
 */
import type { DualAddress } from './address-plan.ts';
import { podGateway } from './address-plan.ts';
import { runScript } from './command.ts';
import { netnsPath } from './layout.ts';

/** How the nodes are joined. `bridge`: a fabric namespace between them. `direct`: one veth pair, for two nodes (bench). */
export type FabricKind = 'bridge' | 'direct';

export interface NodeLink {
  readonly netns: string;
  readonly number: number;
  readonly address: DualAddress;
  readonly mac: string;
  readonly podRange: DualAddress;
}

export interface PodLink {
  readonly netns: string;
  readonly nodeNetns: string;
  /** The node's end of the link. */
  readonly nodeInterface: string;
  readonly nodeAddress: DualAddress;
  readonly address: DualAddress;
  readonly mac: string;
  readonly gatewayMac: string;
  /** The node's bridge that joins its pods, and what of their range is on it; absent where the node routes between them. */
  readonly bridge?: { readonly interface: string; readonly range: DualAddress };
}

/** The interface of a node, or of a host beyond the cluster, towards the fabric. */
export const fabricInterface = 'fabric0';
export const podInterface = 'eth0';

const bothFamilies = [
  'ipv6/conf/all/disable_ipv6=0',
  'ipv6/conf/default/disable_ipv6=0',
  // Without this an address is tentative for a second and cannot be bound.
  'ipv6/conf/all/accept_dad=0',
  'ipv6/conf/default/accept_dad=0',
  'ipv4/conf/all/rp_filter=0',
  'ipv4/conf/default/rp_filter=0',
];

const router = [
  'ipv4/ip_forward=1',
  'ipv6/conf/all/forwarding=1',
  'ipv6/conf/default/forwarding=1',
  'ipv4/conf/all/send_redirects=0',
  'ipv4/conf/default/send_redirects=0',
];

/** As containerd sets a pod: low ports for everybody, ping without privileges. */
const podSettings = ['ipv4/ip_unprivileged_port_start=0', 'ipv4/ping_group_range=0 2147483647'];

export async function createFabric(netns: string): Promise<void> {
  await runScript(
    `create the fabric ${netns}`,
    [
      `ip netns add ${netns}`,
      // A switch has no addresses of its own; it must not take part in IPv6.
      inNetns(netns, sysctls(['ipv6/conf/all/disable_ipv6=1', 'ipv6/conf/default/disable_ipv6=1'])),
      batch(netns, ['link set lo up', 'link add br0 type bridge mcast_snooping 0', 'link set br0 up']),
    ].join('\n'),
  );
}

/** A host that forwards nothing and runs programs as a pod does. */
export async function createHostNetns(netns: string): Promise<void> {
  await runScript(
    `create the namespace ${netns}`,
    [
      `ip netns add ${netns}`,
      inNetns(netns, sysctls([...bothFamilies, ...podSettings])),
      batch(netns, ['link set lo up']),
    ].join('\n'),
  );
}

export async function createRouterNetns(netns: string): Promise<void> {
  await runScript(
    `create the namespace ${netns}`,
    [
      `ip netns add ${netns}`,
      inNetns(netns, sysctls([...bothFamilies, ...router])),
      batch(netns, ['link set lo up']),
    ].join('\n'),
  );
}

/** Connects a node, or a host beyond the cluster, to the fabric's switch. */
export async function joinFabric(
  fabric: string,
  link: Omit<NodeLink, 'podRange'>,
  port: string,
): Promise<void> {
  await runScript(
    `connect ${link.netns} to the fabric`,
    [
      `ip link add ${fabricInterface} netns ${link.netns} address ${link.mac} type veth peer name ${port} netns ${fabric}`,
      batch(fabric, [`link set ${port} master br0 up`]),
      batch(link.netns, fabricAddress(link)),
    ].join('\n'),
  );
}

/** One veth pair between two nodes, with no switch between. */
export async function joinDirectly(one: NodeLink, other: NodeLink): Promise<void> {
  await runScript(
    `connect ${one.netns} and ${other.netns}`,
    [
      `ip link add ${fabricInterface} netns ${one.netns} address ${one.mac} type veth peer name ${fabricInterface} netns ${other.netns} address ${other.mac}`,
      batch(one.netns, fabricAddress(one)),
      batch(other.netns, fabricAddress(other)),
    ].join('\n'),
  );
}

/** Routes of `from` to the node itself and to its pods. */
export function routesTo(node: NodeLink): string[] {
  return [
    ...routesToHost(node),
    `route add ${node.podRange.v4} via ${node.address.v4} dev ${fabricInterface}`,
    `route add ${node.podRange.v6} via ${node.address.v6} dev ${fabricInterface}`,
  ];
}

export function routesToHost(host: Pick<NodeLink, 'address' | 'mac'>): string[] {
  return [
    `neigh replace ${host.address.v4} lladdr ${host.mac} dev ${fabricInterface} nud permanent`,
    `neigh replace ${host.address.v6} lladdr ${host.mac} dev ${fabricInterface} nud permanent`,
    `route add ${host.address.v4}/32 dev ${fabricInterface}`,
    `route add ${host.address.v6}/128 dev ${fabricInterface}`,
  ];
}

export async function addRoutes(netns: string, routes: readonly string[]): Promise<void> {
  if (routes.length > 0) await runScript(`add routes in ${netns}`, batch(netns, routes));
}

export async function createPodNetns(link: PodLink): Promise<void> {
  await runScript(`create the pod's namespace ${link.netns}`, podNetworkScript(link));
}

export function podNetworkScript(link: PodLink): string {
  const { netns, nodeNetns, nodeInterface, address, mac, gatewayMac, nodeAddress, bridge } = link;
  const towards = bridge?.interface ?? nodeInterface;
  const attached =
    bridge === undefined
      ? [
          `addr add ${podGateway.v4}/32 dev ${nodeInterface} scope link`,
          `addr add ${podGateway.v6}/128 dev ${nodeInterface} nodad`,
        ]
      : [`link set ${nodeInterface} master ${bridge.interface}`];
  const neighbours =
    bridge === undefined
      ? []
      : [
          `route add ${bridge.range.v4} dev ${podInterface} scope link src ${address.v4}`,
          `route add ${bridge.range.v6} dev ${podInterface} src ${address.v6}`,
        ];
  return [
    `ip netns add ${netns}`,
    inNetns(netns, sysctls([...bothFamilies, ...podSettings])),
    `ip link add ${podInterface} netns ${netns} address ${mac} type veth peer name ${nodeInterface} netns ${nodeNetns} address ${gatewayMac}`,
    batch(nodeNetns, [
      `link set ${nodeInterface} addrgenmode none up`,
      ...attached,
      `neigh replace ${address.v4} lladdr ${mac} dev ${towards} nud permanent`,
      `neigh replace ${address.v6} lladdr ${mac} dev ${towards} nud permanent`,
      // `src`: the node's own programs, the kubelet's probes among them, come from the node's address.
      `route add ${address.v4}/32 dev ${towards} src ${nodeAddress.v4}`,
      `route add ${address.v6}/128 dev ${towards} src ${nodeAddress.v6}`,
    ]),
    batch(netns, [
      'link set lo up',
      `link set ${podInterface} up`,
      `addr add ${address.v4}/32 dev ${podInterface}`,
      `addr add ${address.v6}/128 dev ${podInterface} nodad`,
      `route add ${podGateway.v4} dev ${podInterface} scope link`,
      `neigh replace ${podGateway.v4} lladdr ${gatewayMac} dev ${podInterface} nud permanent`,
      `neigh replace ${podGateway.v6} lladdr ${gatewayMac} dev ${podInterface} nud permanent`,
      `route add default via ${podGateway.v4} dev ${podInterface} src ${address.v4}`,
      `route add ::/0 via ${podGateway.v6} dev ${podInterface} src ${address.v6}`,
      ...neighbours,
    ]),
  ].join('\n');
}

/** The link goes first, at once: the kernel empties a namespace later, and the next pod may take the link's name before. */
export async function deletePodNetns(
  link: Pick<PodLink, 'netns' | 'nodeNetns' | 'nodeInterface'>,
): Promise<void> {
  const { netns, nodeNetns, nodeInterface } = link;
  await runScript(
    `delete the pod's namespace ${netns}`,
    [
      `if ip -n ${nodeNetns} link show ${nodeInterface} >/dev/null 2>&1; then ip -n ${nodeNetns} link del ${nodeInterface}; fi`,
      `if [ -e ${netnsPath(netns)} ]; then ip netns del ${netns}; fi`,
    ].join('\n'),
  );
}

export async function deleteNetns(netns: string): Promise<void> {
  await runScript(`delete the namespace ${netns}`, `ip netns del ${netns}`);
}

function fabricAddress(link: Omit<NodeLink, 'podRange'>): string[] {
  return [
    `link set ${fabricInterface} up`,
    `addr add ${link.address.v4}/32 dev ${fabricInterface}`,
    `addr add ${link.address.v6}/128 dev ${fabricInterface} nodad`,
  ];
}

export const sysctls = (settings: readonly string[]) =>
  settings.map((setting) => {
    const [name, value] = setting.split('=');
    return `echo '${value}' > /proc/sys/net/${name}`;
  });

/** Commands of a shell that stands in the namespace (`/proc/sys/net` follows the reader). */
export const inNetns = (netns: string, commands: readonly string[]) =>
  `nsenter --net=${netnsPath(netns)} sh -eu <<'INSIDE'\n${commands.join('\n')}\nINSIDE`;

/** `-force` is not given: the first refused command ends the batch with its line number. */
export const batch = (netns: string, commands: readonly string[]) =>
  `ip -n ${netns} -batch - <<'BATCH'\n${commands.join('\n')}\nBATCH`;
