/** Whether the way between pods of one node stays in it, in words. */
import type { Requirement } from '../kernel/requirements.ts';
import type { SameNodePath } from '../routing/same-node-path.ts';

export function describePath({ state, reason, interfaceName }: SameNodePath): string {
  if (state === 'stays') return 'connections between its pods stay in the node';
  if (state === 'unknown')
    return `not known whether connections between its pods stay in the node: ${reason}`;
  return `path_leaves_node${interfaceName === undefined ? '' : ` by ${interfaceName}`}: ${reason}`;
}

/** Among what `hadal check` finds, for a node whose agent runs. */
export function pathRequirement(node: string, path: SameNodePath): Requirement {
  return {
    id: path.state === 'leaves' ? 'path_leaves_node' : 'same-node-path',
    need: `connections between pods of node ${node} stay in it`,
    since: '',
    essential: false,
    ok: path.state === 'stays',
    found: path.state === 'stays' ? '' : describePath(path),
    lost: 'they take the tunnel, encrypted, at its cost',
    remedy:
      path.state === 'leaves'
        ? 'look for routes, rules of masquerading or a bridge with an uplink that catch connections between pods of one node'
        : '',
  };
}
