/**
 * How the pods of one node reach one another. Most networks keep such packets in the node; some carry them out to a router and
 * back, or translate addresses, and an agent has to notice.
 */
import { controlAddress, type DualAddress, macAddress, podGateway } from './address-plan.ts';
import { runScript } from './command.ts';
import type { Fabric } from './fabric.ts';
import { batch, fabricInterface, inNetns, type NodeLink, sysctls } from './network.ts';

/**
 * `routed`: by the node. `bridge`: by a bridge of the node. `hairpin`: by a router on the fabric, so out of the node and in again.
 * `masquerade`: by the node, which puts its own address in the source's place.
 */
export const podNetworks = ['routed', 'bridge', 'hairpin', 'masquerade'] as const;
export type PodNetwork = (typeof podNetworks)[number];

export const podBridge = 'pods0';
const hairpinTable = 77;
const bridgeIndex = 1;
const routerIndex = 2;

/** After the nodes were joined, before there are pods. */
export async function preparePodNetwork(kind: PodNetwork, fabric: Fabric, slot: number): Promise<void> {
  switch (kind) {
    case 'routed':
      return;
    case 'bridge':
      for (const node of fabric.nodes) await addBridge(node);
      return;
    case 'masquerade':
      for (const node of fabric.nodes) await masquerade(node);
      return;
    case 'hairpin':
      await hairpin(fabric, slot);
  }
}

/** Turns the way between pods out of a node, or back, while everything runs. */
export async function turnHairpin(node: NodeLink, on: boolean): Promise<void> {
  const verb = on ? 'add' : 'del';
  await runScript(
    `${verb} the way out of ${node.netns}`,
    inNetns(
      node.netns,
      hairpinRules(node).map((rule) => `ip ${rule.replace('VERB', verb)}`),
    ),
  );
}

async function addBridge({ netns, number }: NodeLink): Promise<void> {
  await runScript(
    `join the pods of ${netns} by a bridge`,
    batch(netns, [
      `link add ${podBridge} address ${macAddress('node', number, bridgeIndex)} type bridge mcast_snooping 0`,
      `link set ${podBridge} addrgenmode none up`,
      `addr add ${podGateway.v4}/32 dev ${podBridge} scope link`,
      `addr add ${podGateway.v6}/128 dev ${podBridge} nodad`,
    ]),
  );
}

/** From now on, for connections that begin later. */
export async function masquerade({ netns, address, podRange }: NodeLink): Promise<void> {
  const rules = `table inet hadal-masquerade {
  chain between-pods {
    type nat hook postrouting priority srcnat;
    ip saddr ${podRange.v4} ip daddr ${podRange.v4} snat ip to ${address.v4}
    ip6 saddr ${podRange.v6} ip6 daddr ${podRange.v6} snat ip6 to ${address.v6}
  }
}`;
  await runScript(
    `translate addresses between the pods of ${netns}`,
    inNetns(netns, [`nft -f - <<'RULES'\n${rules}\nRULES`]),
  );
}

async function hairpin(fabric: Fabric, slot: number): Promise<void> {
  const router = await createRouter(fabric, slot);
  for (const node of fabric.nodes) {
    await runScript(
      `lead what the pods of ${node.netns} say to one another out of the node`,
      [
        batch(node.netns, [
          ...(['v4', 'v6'] as const).flatMap((family) => [
            `neigh replace ${router.address[family]} lladdr ${router.mac} dev ${fabricInterface} nud permanent`,
            `route add ${router.address[family]} dev ${fabricInterface}`,
            `route add ${node.podRange[family]} via ${router.address[family]} dev ${fabricInterface} table ${hairpinTable}`,
          ]),
        ]),
      ].join('\n'),
    );
    await turnHairpin(node, true);
  }
}

/** What comes back from the fabric, and what the node itself says, goes to the pod. */
function hairpinRules({ podRange }: NodeLink): string[] {
  return (['v4', 'v6'] as const).flatMap((family) => {
    const version = family === 'v4' ? '-4' : '-6';
    return [
      `${version} rule VERB pref 50 iif ${fabricInterface} lookup main`,
      `${version} rule VERB pref 51 iif lo lookup main`,
      `${version} rule VERB pref 52 to ${podRange[family]} lookup ${hairpinTable}`,
    ];
  });
}

/** The fabric's switch gets an address, and routes. */
async function createRouter(fabric: Fabric, slot: number): Promise<{ address: DualAddress; mac: string }> {
  const { v4, v6 } = controlAddress(slot);
  const address = { v4: v4.replace(/250$/, '249'), v6: v6.replace(/250$/, '249') };
  const mac = macAddress('node', 0, routerIndex);
  const { netns, interface: bridge } = fabric.tap;
  await runScript(
    'put a router on the fabric',
    [
      inNetns(
        netns,
        sysctls([
          'ipv4/ip_forward=1',
          'ipv4/conf/all/send_redirects=0',
          `ipv4/conf/${bridge}/send_redirects=0`,
          'ipv4/conf/all/rp_filter=0',
          `ipv4/conf/${bridge}/rp_filter=0`,
          `ipv6/conf/${bridge}/disable_ipv6=0`,
          `ipv6/conf/${bridge}/accept_dad=0`,
          'ipv6/conf/all/forwarding=1',
        ]),
      ),
      batch(netns, [
        `link set ${bridge} address ${mac}`,
        `addr add ${address.v4}/32 dev ${bridge}`,
        `addr add ${address.v6}/128 dev ${bridge} nodad`,
        ...fabric.nodes.flatMap((node) =>
          (['v4', 'v6'] as const).flatMap((family) => [
            `neigh replace ${node.address[family]} lladdr ${node.mac} dev ${bridge} nud permanent`,
            `route add ${node.address[family]} dev ${bridge}`,
            `route add ${node.podRange[family]} via ${node.address[family]} dev ${bridge}`,
          ]),
        ),
      ]),
    ].join('\n'),
  );
  return { address, mac };
}
