/** What became of each object, as its status should say: pure, from the objects alone. Names and reasons are those that tools know. */
import type { ConditionKind, StatusCondition, StatusTarget } from '../source/api-server/condition-writer.ts';
import type { ObjectKinds } from '../source/kubernetes/objects.ts';
import type { RejectedObject } from '../source/object-source.ts';
import { policyConditions } from '../source/translate/policy-conditions.ts';
import { peerAuthenticationWarnings } from '../source/translate/policy-warnings.ts';
import type { ClusterView } from '../source/translate/view.ts';
import { type BindingOutcome, bindWaypoint } from '../source/translate/waypoint.ts';

export interface StatusWish {
  readonly target: StatusTarget;
  readonly conditions: readonly StatusCondition[];
}

/** Kinds whose status is written today; a waypoint's Gateway is the business of who runs it. */
export const writtenKinds = [
  'AuthorizationPolicy',
  'PeerAuthentication',
  'Service',
  'ServiceEntry',
] as const satisfies readonly ConditionKind[];

/** Of every object that there is something to say about. */
export function statusWishes(view: ClusterView, rejected: readonly RejectedObject[]): StatusWish[] {
  const wishes = new Map<string, StatusWish>();
  const wish = (
    kind: ConditionKind,
    namespace: string,
    name: string,
    conditions: readonly StatusCondition[],
  ) => {
    if (conditions.length > 0)
      wishes.set(`${kind}/${namespace}/${name}`, { target: { kind, namespace, name }, conditions });
  };
  for (const { metadata } of view.list('Namespace', '')) {
    const namespace = metadata.name;
    for (const object of view.list('AuthorizationPolicy', namespace))
      wish(object.kind, namespace, object.metadata.name, ofPolicy(object, view));
    for (const object of view.list('PeerAuthentication', namespace))
      wish(object.kind, namespace, object.metadata.name, [ofPeerAuthentication(object, view)]);
    for (const object of view.list('Service', namespace))
      wish(object.kind, namespace, object.metadata.name, ofBinding(object, view));
    for (const object of view.list('ServiceEntry', namespace))
      wish(object.kind, namespace, object.metadata.name, ofBinding(object, view));
  }
  for (const one of rejected) {
    const [, kind, namespace, name] = policyId.exec(one.id ?? '') ?? [];
    if (kind === undefined || namespace === undefined || name === undefined) continue;
    wish(kind as ConditionKind, namespace, name, [ofRejected(one)]);
  }
  return [...wishes.values()];
}

const policyId = /\/(AuthorizationPolicy|PeerAuthentication)\/([^/]+)\/([^/]+)$/;

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

function ofRejected({ field, reason }: RejectedObject): StatusCondition {
  const what = field === '' ? reason : `${field} ${reason}`;
  return {
    type: 'ZtunnelAccepted',
    isTrue: false,
    reason: 'Invalid',
    message: `${what}; the last good version, if there was one, stays in force`,
  };
}
