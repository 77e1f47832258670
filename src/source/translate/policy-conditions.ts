/** What became of a policy, for its status: whether agents and waypoints enforce it, and what they enforce differently. */
import type { AuthorizationPolicyObject } from '../kubernetes/authorization-policy.ts';
import { httpAttributes } from './http-attributes.ts';
import { type TargetVerdict, targetVerdict } from './policy-targets.ts';
import type { ClusterView } from './view.ts';

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
  if (targetRefs.length > 0) {
    return targetRefs.map((target, index) => bound(targetVerdict(policy, target, view), index));
  }
  if (action === 'CUSTOM') return [unsupportedAction(action)];
  const weighed = policy.spec.rules.flatMap((rule, index) => {
    const found = httpAttributes(rule);
    return found.length === 0 ? [] : [withoutHttp(action, index, found)];
  });
  if (weighed.length > 0) return weighed;
  const how =
    action === 'AUDIT'
      ? 'refuses nothing; logs of agents and hadal explain tell what it matches'
      : 'enforced by agents';
  return [accepted('ZtunnelAccepted', how, '')];
}

function unsupportedAction(action: string): PolicyCondition {
  return {
    type: 'ZtunnelAccepted',
    isTrue: false,
    reason: 'UnsupportedValue',
    message: `action ${action} is not supported by agents, so the policy is not enforced; give it targetRefs of a waypoint, or make it ALLOW, DENY or AUDIT`,
    field: 'spec.action',
  };
}

const effects = {
  ALLOW: 'the rule allows nothing, which is stricter than written',
  DENY: 'the rule denies every connection that the rest of it matches, which is stricter than written',
  AUDIT: 'the rule tells of every connection that the rest of it matches, which is more than written',
} as const;

/** Accepted, but stricter than it is written. */
function withoutHttp(action: keyof typeof effects, index: number, found: readonly string[]): PolicyCondition {
  return {
    type: 'ZtunnelAccepted',
    isTrue: true,
    reason: 'UnsupportedValue',
    message: `agents cannot check ${found.join(', ')}, so ${effects[action]}; only a waypoint can check HTTP`,
    field: `spec.rules[${index}]`,
  };
}

/** What is bound is the waypoint's to enforce. */
function bound({ reason, message }: TargetVerdict, index: number): PolicyCondition {
  const isTrue = reason === 'Accepted';
  const full = isTrue ? message : `${message}, so the policy is not enforced there`;
  return { type: 'WaypointAccepted', isTrue, reason, message: full, field: `spec.targetRefs[${index}]` };
}

function accepted(type: PolicyCondition['type'], message: string, field: string): PolicyCondition {
  return { type, isTrue: true, reason: 'Accepted', message, field };
}
