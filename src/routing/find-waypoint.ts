import { canonicalAddress } from '../model/address.ts';
import { dependency } from '../model/diff.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { type Workload, workloadIdentity } from '../model/workload.ts';
import type { Trace } from './trace.ts';

/** What stands behind a waypoint's name: a service with endpoints, or one workload. */
export interface WaypointTarget {
  readonly service: Service | undefined;
  /** Whatever their health. */
  readonly workloads: readonly Workload[];
}

/** The waypoint that a reference names; undefined when nobody has that name or address. */
export function findWaypoint(
  snapshot: MeshSnapshot,
  trace: Trace,
  waypoint: GatewayAddress,
): WaypointTarget | undefined {
  const { destination } = waypoint;
  if (destination.kind === 'hostname') {
    const key = serviceKey(destination);
    trace.depend(dependency.service(key));
    return serviceTarget(snapshot, snapshot.services.get(key));
  }
  const address = canonicalAddress(destination.address) ?? destination.address;
  trace.depend(dependency.address(destination.network, address));
  const workloads = snapshot.workloadsAt(destination.network, address);
  if (workloads.length > 0) {
    return { service: undefined, workloads };
  }
  const service = snapshot.servicesAt(destination.network, address)[0];
  if (service !== undefined) {
    trace.depend(dependency.service(serviceKey(service)));
  }
  return serviceTarget(snapshot, service);
}

/** Whether `workload` is the waypoint itself, or runs under its identity: its own traffic must not be sent to it. */
export function isWaypoint(target: WaypointTarget | undefined, workload: Workload): boolean {
  const identity = workloadIdentity(workload);
  return (target?.workloads ?? []).some(
    (each) => each.uid === workload.uid || workloadIdentity(each) === identity,
  );
}

/** `namespace/hostname` or `network/address`, for messages. */
export function waypointName(waypoint: GatewayAddress): string {
  const { destination } = waypoint;
  return destination.kind === 'hostname'
    ? serviceKey(destination)
    : `${destination.network}/${destination.address}`;
}

function serviceTarget(snapshot: MeshSnapshot, service: Service | undefined): WaypointTarget | undefined {
  return service === undefined
    ? undefined
    : { service, workloads: snapshot.allEndpointsOf(serviceKey(service)).map(({ workload }) => workload) };
}
