/** What became of a policy, for its status: whether agents and waypoints enforce it, and what they enforce differently. */
import type { AuthorizationPolicyObject } from '../kubernetes/authorization-policy.ts';
import type { TargetReference } from '../kubernetes/policy-parts.ts';
import { httpAttributes } from './http-attributes.ts';
import type { ClusterView } from './view.ts';
import { bindWaypoint } from './waypoint.ts';

/** As `status.conditions` has it; the times and the generation are the writer's. */
export interface PolicyCondition {
  /** The names are those that tools for ambient meshes look for. */
  readonly type: 'ZtunnelAccepted' | 'WaypointAccepted';
  readonly isTrue: boolean;
  readonly reason: 'Accepted' | 'UnsupportedValue' | 'TargetNotFound' | 'AncestorNotBound';
  readonly message: string;
  /** What of the policy it is about: `spec.action`, `spec.rules[1]`. */
  readonly field: string;
}

/** Pure; at least one. */
export function policyConditions(
  policy: AuthorizationPolicyObject,
  view: ClusterView,
): readonly PolicyCondition[] {
  const { action, targetRefs } = policy.spec;
  if (targetRefs.length > 0) return targetRefs.map((target, index) => boundTo(policy, target, index, view));
  if (action === 'AUDIT' || action === 'CUSTOM') return [unsupportedAction(action)];
  const weighed = policy.spec.rules.flatMap((rule, index) => {
    const found = httpAttributes(rule);
    return found.length === 0 ? [] : [withoutHttp(action, index, found)];
  });
  return weighed.length > 0 ? weighed : [accepted('ZtunnelAccepted', 'enforced by agents', '')];
}

function unsupportedAction(action: string): PolicyCondition {
  return {
    type: 'ZtunnelAccepted',
    isTrue: false,
    reason: 'UnsupportedValue',
    message: `action ${action} is not supported by agents, so the policy is not enforced; give it targetRefs of a waypoint, or make it ALLOW or DENY`,
    field: 'spec.action',
  };
}

/** Accepted, but stricter than it is written. */
function withoutHttp(action: 'ALLOW' | 'DENY', index: number, found: readonly string[]): PolicyCondition {
  const effect =
    action === 'ALLOW'
      ? 'the rule allows nothing'
      : 'the rule denies every connection that the rest of it matches';
  return {
    type: 'ZtunnelAccepted',
    isTrue: true,
    reason: 'UnsupportedValue',
    message: `agents cannot check ${found.join(', ')}, so ${effect}, which is stricter than written; only a waypoint can check HTTP`,
    field: `spec.rules[${index}]`,
  };
}

function boundTo(
  policy: AuthorizationPolicyObject,
  target: TargetReference,
  index: number,
  view: ClusterView,
): PolicyCondition {
  const namespace = target.namespace === '' ? policy.metadata.namespace : target.namespace;
  const place = `${target.kind} ${namespace}/${target.name}`;
  const field = `spec.targetRefs[${index}]`;
  const unbound = (reason: PolicyCondition['reason'], message: string): PolicyCondition => ({
    type: 'WaypointAccepted',
    isTrue: false,
    reason,
    message: `${message}, so the policy is not enforced there`,
    field,
  });
  if (namespace !== policy.metadata.namespace)
    return unbound('TargetNotFound', `${place} is in another namespace, which targetRefs cannot name`);
  if (target.kind === 'Service') {
    const service = view.get('Service', namespace, target.name);
    if (service === undefined) return unbound('TargetNotFound', `there is no ${place}`);
    const { waypoint, warnings } = bindWaypoint(view, {
      object: service,
      traffic: 'service',
      ...service.metadata,
    });
    const [obstacle] = warnings;
    if (waypoint !== undefined && obstacle !== undefined)
      return unbound('AncestorNotBound', `${place} ${obstacle.reason}`);
    if (waypoint === undefined)
      return unbound('AncestorNotBound', `${place} has no waypoint (label istio.io/use-waypoint)`);
    return accepted('WaypointAccepted', `bound to the waypoint of ${place}`, field);
  }
  return unbound('TargetNotFound', `targets of kind ${target.kind} are not supported`);
}

function accepted(type: PolicyCondition['type'], message: string, field: string): PolicyCondition {
  return { type, isTrue: true, reason: 'Accepted', message, field };
}
