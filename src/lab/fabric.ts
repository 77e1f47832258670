/** What joins the nodes: a switch in a namespace of its own, or for two nodes one veth pair. No way leads out of it. */
import { HadalError } from '../base/errors.ts';
import {
  addRoutes,
  createFabric,
  type FabricKind,
  fabricInterface,
  joinDirectly,
  joinFabric,
  type NodeLink,
  routesTo,
  routesToHost,
} from './network.ts';

/** A host on the fabric that is no node. */
export type HostLink = Omit<NodeLink, 'podRange'>;

export class Fabric {
  readonly kind: FabricKind;
  /** Of the switch; made only for the bridge. */
  readonly netns: string;
  readonly #nodes: NodeLink[] = [];
  #hosts = 0;

  constructor(kind: FabricKind, netns: string) {
    this.kind = kind;
    this.netns = netns;
  }

  get nodes(): readonly NodeLink[] {
    return this.#nodes;
  }

  /** Namespace and interface on which every packet between nodes is seen once. */
  get tap(): { readonly netns: string; readonly interface: string } {
    if (this.kind === 'bridge') return { netns: this.netns, interface: 'br0' };
    return { netns: this.#nodes[0]?.netns ?? this.netns, interface: fabricInterface };
  }

  async joinNodes(nodes: readonly NodeLink[]): Promise<void> {
    this.#nodes.push(...nodes);
    if (this.kind === 'bridge') {
      await createFabric(this.netns);
      for (const node of nodes) await joinFabric(this.netns, node, `node${node.number}`);
    } else {
      const [one, other, ...more] = nodes;
      if (one === undefined || other === undefined || more.length > 0) {
        throw new HadalError(
          'ERR_LAB_FABRIC',
          `a direct fabric joins exactly two nodes, not ${nodes.length}; take the bridge`,
        );
      }
      await joinDirectly(one, other);
    }
    for (const node of nodes) {
      await addRoutes(node.netns, nodes.filter((other) => other !== node).flatMap(routesTo));
    }
  }

  /** Connects a host beyond the cluster: nodes know the way to it, it knows the way to their pods. */
  async joinHost(link: HostLink): Promise<void> {
    if (this.kind === 'direct')
      throw new HadalError('ERR_LAB_FABRIC', 'a direct fabric has no room for hosts beyond the cluster');
    await joinFabric(this.netns, link, `host${++this.#hosts}`);
    await addRoutes(link.netns, this.#nodes.flatMap(routesTo));
    for (const node of this.#nodes) await addRoutes(node.netns, routesToHost(link));
  }
}
