import type { GatewayAddress } from '../model/gateway-address.ts';
import { reasons } from '../model/reasons.gen.ts';
import { type Service, serviceKey } from '../model/service.ts';
import { type Workload, workloadIdentity } from '../model/workload.ts';
import { endpointPortsOf, targetPortOf } from './find-service.ts';
import { type WaypointTarget, waypointName } from './find-waypoint.ts';
import type { JudgedEndpoint } from './judgement.ts';
import { preferredEndpoints } from './load-balancing.ts';
import type { OutboundContext } from './outbound-context.ts';
import { addressFor, obstacleToShare, tunnelEndpoint, type Unusable } from './place-endpoint.ts';

export interface WaypointEndpoints {
  readonly endpoints: readonly JudgedEndpoint[];
  /** Why there are none: WAYPOINT_NOT_READY or REMOTE_NETWORK. */
  readonly reason: number;
}

/** Tunnels to the waypoint's endpoints for traffic to `authority`, which `service` or a workload stands behind. */
export function waypointEndpoints(
  context: OutboundContext,
  waypoint: GatewayAddress,
  target: WaypointTarget | undefined,
  asked: { readonly authority: string; readonly service: Service | undefined },
): WaypointEndpoints {
  const { trace } = context;
  const name = waypointName(waypoint);
  if (target === undefined) {
    trace.step(`waypoint ${name} is not known: refused, since going around it would skip its policy`);
    return { endpoints: [], reason: reasons.WAYPOINT_NOT_READY };
  }
  const leftOut: Unusable[] = [];
  const reachable = healthyWorkloads(context, target).filter((workload) => {
    const obstacle = obstacleToShare(context, workload);
    if (obstacle !== undefined) {
      leftOut.push(obstacle);
    }
    return obstacle === undefined;
  });
  trace.steps(leftOut.map(({ why }) => `waypoint endpoint left out: ${why}`));
  const endpoints = preferWaypoints(context, target, reachable).flatMap((workload) =>
    waypointEndpoint(context, waypoint, target, workload, asked),
  );
  if (endpoints.length === 0) {
    const isRemote = leftOut.some(({ reason }) => reason === reasons.REMOTE_NETWORK);
    trace.step(
      `waypoint ${name} has no endpoint that is ready: refused, since going around it would skip its policy`,
    );
    return { endpoints, reason: isRemote ? reasons.REMOTE_NETWORK : reasons.WAYPOINT_NOT_READY };
  }
  trace.step(`waypoint ${name} carries it: ${endpoints.length} endpoint(s), CONNECT ${asked.authority}`);
  return { endpoints, reason: reasons.NONE };
}

function healthyWorkloads(context: OutboundContext, target: WaypointTarget): readonly Workload[] {
  return target.service === undefined
    ? target.workloads.filter(({ status }) => status === 'HEALTHY')
    : context.snapshot.endpointsOf(serviceKey(target.service)).map(({ workload }) => workload);
}

function preferWaypoints(
  context: OutboundContext,
  target: WaypointTarget,
  workloads: readonly Workload[],
): readonly Workload[] {
  const candidates = workloads.map((workload) => ({ workload }));
  return target.service === undefined
    ? workloads
    : preferredEndpoints(candidates, context.source, target.service.loadBalancing).map(
        ({ workload }) => workload,
      );
}

function waypointEndpoint(
  context: OutboundContext,
  waypoint: GatewayAddress,
  target: WaypointTarget,
  workload: Workload,
  asked: { readonly authority: string; readonly service: Service | undefined },
): JudgedEndpoint[] {
  const named =
    waypoint.destination.kind === 'address' && workload.addresses.includes(waypoint.destination.address);
  const address = named
    ? waypoint.destination.address
    : addressFor(context, workload, target.service?.ipFamilies ?? 'AUTOMATIC');
  if (address === undefined) {
    return [];
  }
  const port = waypoint.hboneMtlsPort || context.settings.hbonePort;
  const mapped =
    target.service === undefined
      ? undefined
      : targetPortOf(target.service, endpointPortsOf(workload, target.service), port);
  const endpoint = tunnelEndpoint(context, workload, asked.service, {
    via: 'waypoint',
    address,
    port: mapped ?? port,
    authority: asked.authority,
    peerIdentities: [workloadIdentity(workload), ...(target.service?.subjectAltNames ?? [])],
  });
  return [endpoint];
}
