/** What became of each object, as its status should say: pure, from the objects alone. Names and reasons are those that tools know. */
import type { ConditionKind, StatusCondition, StatusTarget } from '../source/api-server/condition-writer.ts';
import { type ObjectKinds, securityKinds } from '../source/kubernetes/objects.ts';
import type { InForce, RejectedObject } from '../source/object-source.ts';
import { policyConditions } from '../source/translate/policy-conditions.ts';
import { peerAuthenticationWarnings } from '../source/translate/policy-warnings.ts';
import type { ClusterView } from '../source/translate/view.ts';
import { type BindingOutcome, bindWaypoint } from '../source/translate/waypoint.ts';

export interface StatusWish {
  readonly target: StatusTarget & { readonly kind: WrittenKind };
  readonly conditions: readonly StatusCondition[];
  /** Of the version that was weighed. */
  readonly generation?: number;
}

/** Kinds whose status is written today; a waypoint's Gateway is the business of who runs it. */
export const writtenKinds = [
  'AuthorizationPolicy',
  'PeerAuthentication',
  'Service',
  'ServiceEntry',
] as const satisfies readonly ConditionKind[];

export type WrittenKind = (typeof writtenKinds)[number];

/** Pure, from the objects alone; without conditions where nothing is to be said. */
export function statusOf(
  target: StatusWish['target'],
  view: ClusterView,
  rejected: readonly RejectedObject[],
): StatusWish {
  const { kind, namespace, name } = target;
  if (rejected.length > 0 && securityKinds.has(kind))
    return { target, conditions: [ofRejected(rejected)], ...counted(rejected[0]?.generation) };
  const object = view.get(kind, namespace, name);
  if (object === undefined) return { target, conditions: [] };
  return { target, conditions: conditionsOf(object, view), ...counted(object.metadata.generation) };
}

function conditionsOf(object: ObjectKinds[WrittenKind], view: ClusterView): readonly StatusCondition[] {
  switch (object.kind) {
    case 'AuthorizationPolicy':
      return ofPolicy(object, view);
    case 'PeerAuthentication':
      return [ofPeerAuthentication(object, view)];
    default:
      return ofBinding(object, view);
  }
}

const counted = (generation: number | undefined) => (generation === undefined ? {} : { generation });

/** A status has one condition of a type: with several of them, what is amiss is what is told. */
function ofPolicy(policy: ObjectKinds['AuthorizationPolicy'], view: ClusterView): StatusCondition[] {
  const byType = Map.groupBy(policyConditions(policy, view), ({ type }) => type);
  return [...byType].map(([type, all]) => {
    const worst =
      all.find(({ isTrue }) => !isTrue) ?? all.find(({ reason }) => reason !== 'Accepted') ?? all[0];
    const told = all.filter(({ reason }) => reason === worst?.reason).map(({ message }) => message);
    return {
      type,
      isTrue: worst?.isTrue ?? true,
      reason: worst?.reason ?? 'Accepted',
      message: [...new Set(told)].join('; '),
    };
  });
}

function ofPeerAuthentication(object: ObjectKinds['PeerAuthentication'], view: ClusterView): StatusCondition {
  const warnings = peerAuthenticationWarnings(object, view);
  return {
    type: 'ZtunnelAccepted',
    isTrue: true,
    reason: warnings.length === 0 ? 'Accepted' : 'UnsupportedValue',
    message:
      warnings.length === 0
        ? 'enforced by agents'
        : warnings.map(({ field, reason }) => `${field}: ${reason}`).join('; '),
  };
}

/** Nothing where no waypoint is named. */
function ofBinding(object: ObjectKinds['Service' | 'ServiceEntry'], view: ClusterView): StatusCondition[] {
  const { named, outcome, warnings } = bindWaypoint(view, { object, traffic: 'service', ...object.metadata });
  if (outcome === undefined) return [];
  const isTrue = outcome === 'WaypointAccepted';
  const told = warnings.map(({ reason }) => reason);
  if (isTrue) told.unshift(`bound to waypoint ${named}`);
  const message = told.join('; ') || withoutWarning[outcome].replace('%', named);
  return [{ type: 'istio.io/WaypointBound', isTrue, reason: outcome, message }];
}

/** Where a translation has nothing to warn of. */
const withoutWarning: Readonly<Record<BindingOutcome, string>> = {
  WaypointAccepted: 'bound to waypoint %',
  WaypointIsNotReady: 'waypoint % has no address yet',
  AttachmentDenied: 'waypoint % does not allow this namespace',
  UnsupportedTrafficType: 'waypoint % does not take the traffic of services',
};

function ofRejected(all: readonly RejectedObject[]): StatusCondition {
  const what = all.map(({ field, reason }) => (field === '' ? reason : `${field} ${reason}`)).join('; ');
  const effect = effects[all[0]?.inForce ?? 'last good version'];
  return { type: 'ZtunnelAccepted', isTrue: false, reason: 'Invalid', message: `${what}${effect}` };
}

const effects: Readonly<Record<InForce, string>> = {
  'last good version': '; the last good version stays in force',
  nothing: '; it was never good, so nothing of it is in force',
  // The reason says it.
  placeholder: '',
};
