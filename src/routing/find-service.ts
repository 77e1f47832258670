import { dependency } from '../model/diff.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { CidrService, MeshSnapshot } from '../model/snapshot.ts';
import type { Port, Workload } from '../model/workload.ts';
import type { Trace } from './trace.ts';

/** The service that an address means to a client in `namespace`: an exact virtual address counts before a range. */
export function serviceAt(
  snapshot: MeshSnapshot,
  trace: Trace,
  where: { readonly network: string; readonly address: string; readonly namespace: string },
): Service | undefined {
  const { network, address, namespace } = where;
  trace.depend(dependency.address(network, address));
  const exact = bestService(snapshot.servicesAt(network, address), namespace);
  if (exact !== undefined) {
    return exact;
  }
  trace.depend(dependency.ranges(network));
  const around = snapshot
    .servicesAround(network, address)
    .filter(({ service }) => isVisible(service, namespace));
  return around.toSorted((left, right) => compareRanges(left, right, namespace))[0]?.service;
}

/** The service that a host name means to a client in `namespace`; the same name may stand in several namespaces. */
export function serviceNamed(
  snapshot: MeshSnapshot,
  trace: Trace,
  hostname: string,
  namespace: string,
): Service | undefined {
  trace.depend(dependency.hostname(hostname));
  return bestService(snapshot.servicesNamed(hostname), namespace);
}

/** The client's namespace first, then canonical ones, then by name, so that every agent chooses the same. */
export function bestService(services: readonly Service[], namespace: string): Service | undefined {
  return services
    .filter((service) => isVisible(service, namespace))
    .toSorted((left, right) => compareServices(left, right, namespace))[0];
}

/** The container port behind a service port: the endpoint's own word first; undefined when neither knows the port. */
export function targetPortOf(
  service: Service,
  endpointPorts: readonly Port[],
  port: number,
): number | undefined {
  const wanted = (each: Port) => each.servicePort === port && each.targetPort !== 0;
  return (endpointPorts.find(wanted) ?? service.ports.find(wanted))?.targetPort;
}

/** The ports that a workload says it serves for a service. */
export function endpointPortsOf(workload: Workload, service: Service): readonly Port[] {
  const key = serviceKey(service);
  return workload.services.find((membership) => membership.service === key)?.ports ?? [];
}

function isVisible(service: Service, namespace: string): boolean {
  return service.visibility === 'PUBLIC' || service.namespace === namespace;
}

function compareServices(left: Service, right: Service, namespace: string): number {
  return (
    Number(right.namespace === namespace) - Number(left.namespace === namespace) ||
    Number(right.canonical) - Number(left.canonical) ||
    compareText(serviceKey(left), serviceKey(right))
  );
}

function compareRanges(left: CidrService, right: CidrService, namespace: string): number {
  return (
    Number(right.service.namespace === namespace) - Number(left.service.namespace === namespace) ||
    right.cidr.length - left.cidr.length ||
    compareServices(left.service, right.service, namespace)
  );
}

function compareText(left: string, right: string): number {
  return left < right ? -1 : Number(left > right);
}
