/** Whether what a policy's targetRefs name is there, and has a waypoint that can enforce the policy. */
import type { AuthorizationPolicyObject } from '../kubernetes/authorization-policy.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import type { TargetReference } from '../kubernetes/policy-parts.ts';
import type { ClusterView } from './view.ts';
import { bindWaypoint } from './waypoint.ts';

export interface TargetVerdict {
  readonly reason: 'Accepted' | 'TargetNotFound' | 'AncestorNotBound';
  readonly message: string;
}

export function targetVerdict(
  policy: AuthorizationPolicyObject,
  target: TargetReference,
  view: ClusterView,
): TargetVerdict {
  const { namespace } = policy.metadata;
  const { kind, name } = target;
  if (kind === 'GatewayClass') return ofClass(namespace, name, view);
  const place = `${kind} ${target.namespace || namespace}/${name}`;
  if (target.namespace !== '' && target.namespace !== namespace)
    return lost(`${place} is in another namespace, which targetRefs cannot name`);
  switch (kind) {
    case 'Gateway':
      return view.get('Gateway', namespace, name) === undefined
        ? lost(`there is no ${place}`)
        : bound(`bound to ${place}`);
    case 'Service':
      return behindWaypoint(place, view.get('Service', namespace, name), view);
    case 'ServiceEntry':
      return behindWaypoint(place, view.get('ServiceEntry', namespace, name), view);
    default:
      return lost(`targets of kind ${kind} are not supported`);
  }
}

/** All waypoints of a class: the mesh's word, so only its own namespace has it. */
function ofClass(namespace: string, name: string, view: ClusterView): TargetVerdict {
  if (namespace !== view.names.rootNamespace)
    return lost(`a GatewayClass can only be named in the root namespace ${view.names.rootNamespace}`);
  return view.get('GatewayClass', '', name) === undefined
    ? lost(`there is no GatewayClass ${name}`)
    : bound(`bound to GatewayClass ${name}`);
}

function behindWaypoint(place: string, object: KnownObject | undefined, view: ClusterView): TargetVerdict {
  if (object === undefined) return lost(`there is no ${place}`);
  const { namespace, labels, annotations } = object.metadata;
  const { waypoint, warnings } = bindWaypoint(view, {
    object,
    traffic: 'service',
    namespace,
    labels,
    annotations,
  });
  const [obstacle] = warnings;
  if (obstacle !== undefined) return { reason: 'AncestorNotBound', message: `${place} ${obstacle.reason}` };
  return waypoint === undefined
    ? { reason: 'AncestorNotBound', message: `${place} has no waypoint (label istio.io/use-waypoint)` }
    : bound(`bound to the waypoint of ${place}`);
}

const bound = (message: string): TargetVerdict => ({ reason: 'Accepted', message });
const lost = (message: string): TargetVerdict => ({ reason: 'TargetNotFound', message });
