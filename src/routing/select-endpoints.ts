import { formatAuthority } from '../model/authority.ts';
import { reasons } from '../model/reasons.gen.ts';
import { type Service, serviceKey, type WeightedWaypoint } from '../model/service.ts';
import { hasClientAffinity } from '../model/session-affinity.ts';
import type { Endpoint } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { inOrderOfAffinity } from './client-affinity.ts';
import { targetPortOf } from './find-service.ts';
import { findWaypoint, isWaypoint, waypointName } from './find-waypoint.ts';
import type { JudgedEndpoint } from './judgement.ts';
import { preferredEndpoints, shareWeights } from './load-balancing.ts';
import type { OutboundContext } from './outbound-context.ts';
import { obstacleToShare, placeEndpoint, plaintextEndpoint, type Unusable } from './place-endpoint.ts';
import { waypointEndpoints } from './waypoint.ts';

/** Endpoints, or none and the reason. */
export interface Selection {
  readonly endpoints: readonly JudgedEndpoint[];
  readonly reason: number;
}

interface Candidate extends Endpoint {
  readonly targetPort: number;
}

/** Why endpoints were left out; the first of these that happened is what the operator should hear. */
const telling: readonly number[] = [
  reasons.SELF_CALL,
  reasons.REMOTE_NETWORK,
  reasons.UNSUPPORTED_PROTOCOL,
  reasons.WAYPOINT_NOT_READY,
];

/** The endpoints of the service's waypoints; undefined when it has none, or when the source is that waypoint. */
export function endpointsOfWaypoints(context: OutboundContext, service: Service): Selection | undefined {
  const waypoints = waypointsOf(service);
  const asked = { authority: formatAuthority(context.address.text, context.port), service };
  const results: { share: number; selection: Selection }[] = [];
  for (const { destination, weight } of waypoints) {
    const target = findWaypoint(context.snapshot, context.trace, destination);
    if (isWaypoint(target, context.source)) {
      context.trace.step(`the source is waypoint ${waypointName(destination)} itself: on to the endpoints`);
      return undefined;
    }
    results.push({ share: weight, selection: waypointEndpoints(context, destination, target, asked) });
  }
  return results.length === 0 ? undefined : joinSelections(results);
}

/** The endpoints of a service for the port; `isServiceAddressed` keeps waypoints of single workloads out. */
export function serviceEndpoints(
  context: OutboundContext,
  service: Service,
  isServiceAddressed: boolean,
): Selection {
  const { snapshot, trace, source, address, port } = context;
  const { mode, routingPreference } = service.loadBalancing;
  if (mode === 'PASSTHROUGH') {
    trace.step('its load balancing is PASSTHROUGH: the original destination is dialled');
    const endpoint = plaintextEndpoint(context, undefined, service, { address: address.text, port });
    return { endpoints: [endpoint], reason: reasons.NONE };
  }
  const known = snapshot.allEndpointsOf(serviceKey(service));
  if (![service, ...known].some(({ ports }) => ports.some(({ servicePort }) => servicePort === port))) {
    if (!known.some(({ workload }) => workload.applicationTunnel !== undefined)) {
      trace.step(`service ${serviceKey(service)} has no port ${port}; its ports: ${portList(service)}`);
      return { endpoints: [], reason: reasons.NO_SUCH_PORT };
    }
  }
  const left = new Set<number>();
  const candidates = reachableCandidates(context, service, left);
  const preferred = preferredEndpoints(candidates, source, service.loadBalancing);
  if (mode === 'STRICT' || mode === 'FAILOVER') {
    const wanted = routingPreference.join(', ');
    trace.step(`${mode} over ${wanted}: ${preferred.length} of ${candidates.length} endpoints are preferred`);
  }
  const selectOne = ({ workload, targetPort }: Candidate): SharedSelection => ({
    share: workload.capacity,
    selection: isServiceAddressed
      ? place(context, workload, targetPort, service)
      : workloadEndpoints(context, workload, targetPort, service),
  });
  const results = hasClientAffinity(service)
    ? oneOf(context, preferred, selectOne)
    : preferred.map(selectOne);
  const selection = isServiceAddressed ? gather(results) : joinSelections(results);
  return selection.endpoints.length > 0 ? selection : { endpoints: [], reason: whyNone(left, results) };
}

/** The first that can be used, in the client's own order; where none can all say why. */
function oneOf(
  context: OutboundContext,
  candidates: readonly Candidate[],
  select: (candidate: Candidate) => SharedSelection,
): SharedSelection[] {
  const { trace, address, ownAddresses } = context;
  const own = [...ownAddresses];
  const client = own.find((each) => each.includes(':') === (address.family === 6)) ?? own[0] ?? '';
  const tried: SharedSelection[] = [];
  for (const candidate of inOrderOfAffinity(candidates, client)) {
    const selected = select(candidate);
    if (selected.selection.endpoints.length > 0) {
      trace.step(`session affinity by client address: of ${client} all go to ${candidate.workload.uid}`);
      return [selected];
    }
    tried.push(selected);
  }
  return tried;
}

/** One workload by its own address: through its waypoint, unless the source is that waypoint. */
export function workloadEndpoints(
  context: OutboundContext,
  workload: Workload,
  port: number,
  service: Service | undefined,
): Selection {
  const { waypoint } = workload;
  if (waypoint === undefined || workload.uid === context.source.uid) {
    return place(context, workload, port, service);
  }
  const target = findWaypoint(context.snapshot, context.trace, waypoint);
  if (isWaypoint(target, context.source)) {
    context.trace.step(
      `the source is waypoint ${waypointName(waypoint)} of ${workload.uid}: on to the workload`,
    );
    return place(context, workload, port, service);
  }
  const authority = formatAuthority(context.address.text, port);
  return waypointEndpoints(context, waypoint, target, { authority, service });
}

function waypointsOf(service: Service): readonly WeightedWaypoint[] {
  const weighted = service.weightedWaypoints.filter(({ weight }) => weight > 0);
  if (weighted.length > 0) {
    return weighted;
  }
  return service.waypoint === undefined ? [] : [{ destination: service.waypoint, weight: 1 }];
}

/** Endpoints that are healthy, serve the port and can be reached from here; `left` collects why others are not. */
function reachableCandidates(context: OutboundContext, service: Service, left: Set<number>): Candidate[] {
  const { snapshot, trace } = context;
  const key = serviceKey(service);
  const healthy = snapshot.endpointsOf(key);
  trace.step(
    `${key} has ${snapshot.allEndpointsOf(key).length} endpoint(s), ${healthy.length} of them may be used`,
  );
  const checked = healthy.map((endpoint) => candidateOf(context, service, endpoint));
  const leftOut = checked.filter(isUnusable);
  for (const { reason } of leftOut) {
    left.add(reason);
  }
  trace.steps(leftOut.map(({ why }) => `left out: ${why}`));
  return checked.filter((each): each is Candidate => !isUnusable(each));
}

function isUnusable(checked: Candidate | Unusable): checked is Unusable {
  return 'why' in checked;
}

function candidateOf(context: OutboundContext, service: Service, endpoint: Endpoint): Candidate | Unusable {
  const { workload, ports } = endpoint;
  const mapped = targetPortOf(service, ports, context.port);
  const targetPort = mapped ?? (workload.applicationTunnel === undefined ? undefined : context.port);
  const why = `${workload.uid} does not serve port ${context.port}`;
  return (
    obstacleToShare(context, workload) ??
    (targetPort === undefined
      ? { kind: 'unusable', reason: reasons.NO_SUCH_PORT, why }
      : { ...endpoint, targetPort })
  );
}

function place(
  context: OutboundContext,
  workload: Workload,
  port: number,
  service: Service | undefined,
): Selection {
  const placement = placeEndpoint(context, workload, port, service);
  if (placement.kind === 'unusable') {
    context.trace.step(`left out: ${placement.why}`);
    return { endpoints: [], reason: placement.reason };
  }
  return { endpoints: [placement.endpoint], reason: reasons.NONE };
}

interface SharedSelection {
  readonly share: number;
  readonly selection: Selection;
}

/** One endpoint each, whose weights are the shares already. */
function gather(results: readonly SharedSelection[]): Selection {
  const endpoints = results.flatMap(({ selection }) => selection.endpoints);
  return { endpoints, reason: endpoints.length > 0 ? reasons.NONE : firstReason(results) };
}

/** Alternatives that may hold several endpoints each: those that have none leave their share to the others. */
function joinSelections(results: readonly SharedSelection[]): Selection {
  const endpoints = shareWeights(
    results.map(({ share, selection }) => ({ share, endpoints: selection.endpoints })),
  );
  return { endpoints, reason: endpoints.length > 0 ? reasons.NONE : firstReason(results) };
}

function firstReason(results: readonly SharedSelection[]): number {
  return results[0]?.selection.reason ?? reasons.NO_HEALTHY_ENDPOINT;
}

function whyNone(left: ReadonlySet<number>, results: readonly SharedSelection[]): number {
  const all = new Set([...left, ...results.map(({ selection }) => selection.reason)]);
  return telling.find((reason) => all.has(reason)) ?? reasons.NO_HEALTHY_ENDPOINT;
}

function portList(service: Service): string {
  return service.ports.map(({ servicePort }) => servicePort).join(', ') || 'none';
}
