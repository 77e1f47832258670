import type { IpAddress } from '../model/address.ts';
import { parseAddress } from '../model/address.ts';
import type { Authority } from '../model/authority.ts';
import { formatAuthority } from '../model/authority.ts';
import { dependency } from '../model/diff.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import { reasons } from '../model/reasons.gen.ts';
import { type Service, serviceKey } from '../model/service.ts';
import { endpointPortsOf, serviceAt, serviceNamed, targetPortOf } from './find-service.ts';
import { findWaypoint } from './find-waypoint.ts';
import type { InboundContext } from './inbound-context.ts';

/** Where a connection is delivered inside the pod. */
export interface InboundTarget {
  readonly address: IpAddress;
  readonly port: number;
  /** The service that a host name in the authority meant. */
  readonly namedService: Service | undefined;
  readonly proxyProtocol:
    | { readonly destinationAddress: string; readonly destinationPort: number }
    | undefined;
  readonly loopback: boolean;
}

export interface TargetRefusal {
  readonly reason: number;
  readonly status: 400 | 503;
}

type AddressAuthority = Extract<Authority, { kind: 'address' }>;
type HostnameAuthority = Extract<Authority, { kind: 'hostname' }>;

/** Always the pod itself; the authority gives the port, and must be something that this pod may answer for. */
export function resolveInboundTarget(
  context: InboundContext,
  authority: Authority,
): InboundTarget | TargetRefusal {
  const target =
    authority.kind === 'address' ? targetOfAddress(context, authority) : targetOfName(context, authority);
  if ('status' in target) {
    return target;
  }
  if (context.settings.illegalPorts.includes(target.port)) {
    context.trace.step(`port ${target.port} belongs to the agent in the pod: the call would come back to it`);
    return { reason: reasons.SELF_CALL, status: 503 };
  }
  return context.question.channel === 'hbone' ? throughApplicationTunnel(context, authority, target) : target;
}

function targetOfAddress(
  context: InboundContext,
  authority: AddressAuthority,
): InboundTarget | TargetRefusal {
  const { trace, destination, ownAddresses, question } = context;
  const { address, port } = authority;
  if (ownAddresses.some(({ text }) => text === address.text)) {
    return plainTarget(address, port);
  }
  const mayDiffer =
    question.channel === 'hbone' &&
    (destination.applicationTunnel !== undefined || isWaypointOf(context, address));
  const own = mayDiffer ? mainAddress(context) : undefined;
  if (own === undefined) {
    trace.step(`${address.text} is not an address of ${destination.uid}, and the pod is not its waypoint`);
    return { reason: reasons.IP_MISMATCH, status: 400 };
  }
  trace.step(`${address.text} is not the pod's own, which answers for it: delivered to ${own.text}`);
  return plainTarget(own, port);
}

function targetOfName(context: InboundContext, authority: HostnameAuthority): InboundTarget | TargetRefusal {
  const { snapshot, trace, destination } = context;
  const { hostname, port } = authority;
  const service = serviceNamed(snapshot, trace, hostname, destination.namespace);
  if (service === undefined) {
    trace.step(`no service has the host name ${hostname}`);
    return { reason: reasons.UNKNOWN_DESTINATION, status: 503 };
  }
  const targetPort = targetPortOf(service, endpointPortsOf(destination, service), port);
  const address = mainAddress(context);
  if (targetPort === undefined || address === undefined) {
    trace.step(`service ${serviceKey(service)} has no target port for ${port}`);
    return { reason: reasons.NO_SUCH_PORT, status: 503 };
  }
  trace.step(
    `${formatAuthority(hostname, port)} is port ${targetPort} of the pod by service ${serviceKey(service)}`,
  );
  return { ...plainTarget(address, targetPort), namedService: service };
}

/** The pod's own tunnel end may listen on a port of its own and wants to hear what was asked for. */
function throughApplicationTunnel(
  context: InboundContext,
  authority: Authority,
  target: InboundTarget,
): InboundTarget | TargetRefusal {
  const tunnel = context.destination.applicationTunnel;
  if (tunnel === undefined) {
    return target;
  }
  const port = tunnel.port || target.port;
  if (tunnel.protocol === 'NONE') {
    return { ...target, port };
  }
  const announced =
    authority.kind === 'address' ? authority.address.text : virtualAddress(context, target.namedService);
  if (announced === undefined) {
    context.trace.step('the service has no virtual address that the PROXY header could name');
    return { reason: reasons.UNKNOWN_DESTINATION, status: 503 };
  }
  context.trace.step(
    `PROXY header for ${formatAuthority(announced, authority.port)}, to port ${port} over loopback`,
  );
  const proxyProtocol = { destinationAddress: announced, destinationPort: authority.port };
  return { ...target, port, proxyProtocol, loopback: true };
}

/** Of the service's addresses: on our network before others, IPv4 before IPv6, in the order given. */
function virtualAddress(context: InboundContext, service: Service | undefined): string | undefined {
  const rank = (network: string, address: string) =>
    network === context.settings.network ? (parseAddress(address)?.family === 4 ? 2 : 1) : 0;
  return service?.addresses.toSorted(
    (left, right) => rank(right.network, right.address) - rank(left.network, left.address),
  )[0]?.address;
}

/** Whether traffic to `address` is to go through this pod: a waypoint without tunnel of its own gets it as it is. */
function isWaypointOf(context: InboundContext, address: IpAddress): boolean {
  const { snapshot, settings, trace, destination } = context;
  trace.depend(dependency.address(settings.network, address.text));
  const workload = snapshot.workloadsAt(settings.network, address.text)[0];
  const where = { network: settings.network, address: address.text, namespace: destination.namespace };
  const owner = workload ?? serviceAt(snapshot, trace, where);
  const waypoints = owner === undefined ? [] : waypointsOf(owner);
  return waypoints.some((waypoint) =>
    findWaypoint(snapshot, trace, waypoint)?.workloads.some(({ uid }) => uid === destination.uid),
  );
}

function waypointsOf(owner: {
  readonly waypoint: GatewayAddress | undefined;
  readonly weightedWaypoints?: Service['weightedWaypoints'];
}): readonly GatewayAddress[] {
  const weighted = owner.weightedWaypoints?.map(({ destination }) => destination) ?? [];
  return owner.waypoint === undefined ? weighted : [owner.waypoint, ...weighted];
}

/** The pod's address of the family by which the peer came, which is the one it dialled. */
function mainAddress(context: InboundContext): IpAddress | undefined {
  const { ownAddresses, peerAddress } = context;
  return ownAddresses.find(({ family }) => family === peerAddress.family) ?? ownAddresses[0];
}

function plainTarget(address: IpAddress, port: number): InboundTarget {
  return { address, port, namedService: undefined, proxyProtocol: undefined, loopback: false };
}
