/** Ports of services, and the numbers behind them at each kind of endpoint. TCP only: nothing else is carried. */
import type { ApplicationProtocol, Port } from '../../model/workload.ts';
import type { EndpointSliceObject } from '../kubernetes/endpoint-slice.ts';
import { containerPortNumber, type PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject, ServicePort } from '../kubernetes/service.ts';
import type { ServiceEntryObject } from '../kubernetes/service-entry.ts';

const byAppProtocol: Readonly<Record<string, ApplicationProtocol>> = {
  http: 'HTTP11',
  http2: 'HTTP2',
  'kubernetes.io/h2c': 'HTTP2',
  grpc: 'GRPC',
  'grpc-web': 'GRPC',
  tcp: 'TCP',
  tls: 'TLS',
  https: 'TLS',
};

/** `appProtocol`, else the first word of the port's name (`http-web`), as Istio reads them. */
export function applicationProtocol(port: Pick<ServicePort, 'name' | 'appProtocol'>): ApplicationProtocol {
  if (port.appProtocol !== undefined) return protocolCalled(port.appProtocol);
  const name = (port.name ?? '').toLowerCase();
  if (name.startsWith('grpc-web')) return 'GRPC';
  return protocolCalled(name.split('-')[0] ?? '');
}

function protocolCalled(name: string): ApplicationProtocol {
  const word = name.toLowerCase();
  return Object.hasOwn(byAppProtocol, word) ? (byAppProtocol[word] ?? 'UNKNOWN') : 'UNKNOWN';
}

/** TCP ports of a service; a target that is a name, which each pod resolves for itself, is 0 here. */
export function servicePorts(service: ServiceObject): readonly Port[] {
  return tcpPorts(service).map((port) =>
    named(portOf(port, typeof port.targetPort === 'string' ? 0 : (port.targetPort ?? port.port)), port.name),
  );
}

/** The same ports as one pod serves them; a port whose name this pod does not have is left out. */
export function endpointPorts(service: ServiceObject, pod: PodObject): readonly Port[] {
  return tcpPorts(service).flatMap((port) => {
    const targetPort = containerPortNumber(pod, port.targetPort ?? port.port);
    return targetPort === undefined ? [] : [portOf(port, targetPort)];
  });
}

type PortNumbers = Readonly<Record<string, number>>;

/** As a machine serves them that gives numbers for names; a name that it does not give is left out. */
export function entryEndpointPorts(service: ServiceObject, numbers: PortNumbers): readonly Port[] {
  return tcpPorts(service).flatMap((port) => {
    const target = port.targetPort ?? port.port;
    const targetPort = typeof target === 'number' ? target : own(numbers, target);
    return targetPort === undefined ? [] : [portOf(port, targetPort)];
  });
}

/** As a slice says: its ports have the names of the service's. */
export function slicePorts(service: ServiceObject, slice: EndpointSliceObject): readonly Port[] {
  return tcpPorts(service).flatMap((port) => {
    const match = slice.ports.find(
      ({ name, protocol }) => (name ?? '') === (port.name ?? '') && (protocol ?? 'TCP') === 'TCP',
    );
    const targetPort = match?.port ?? 0;
    return targetPort === 0 ? [] : [portOf(port, targetPort)];
  });
}

/** TCP ports of a ServiceEntry. */
export function serviceEntryPorts(entry: ServiceEntryObject): readonly Port[] {
  const names = new Map(entry.spec.ports.map(({ number, name }) => [number, name]));
  return serviceEntryEndpointPorts(entry, {}).map((port) => named(port, names.get(port.servicePort)));
}

/** As an endpoint serves them that gives numbers for the names of the entry's ports. */
export function serviceEntryEndpointPorts(entry: ServiceEntryObject, numbers: PortNumbers): readonly Port[] {
  const tcp = entry.spec.ports.filter(({ protocol }) => protocol.toUpperCase() !== 'UDP');
  return once(tcp, ({ number }) => number).map(({ number, name, protocol, targetPort }) =>
    Object.freeze({
      servicePort: number,
      targetPort: own(numbers, name) ?? (targetPort === 0 ? number : targetPort),
      appProtocol: protocolCalled(protocol),
    }),
  );
}

function portOf(port: ServicePort, targetPort: number): Port {
  return Object.freeze({ servicePort: port.port, targetPort, appProtocol: applicationProtocol(port) });
}

/** Names that no DNS label can be are told to nobody. */
function named(port: Port, name: string | undefined): Port {
  if (name === undefined || !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(name)) return port;
  return Object.freeze({ ...port, name: name.toLowerCase() });
}

const tcpPorts = (service: ServiceObject) =>
  once(
    service.spec.ports.filter((port) => port.protocol === 'TCP'),
    ({ port }) => port,
  );

/** The API server lets no number stand twice; a file may. The first counts. */
function once<T>(items: readonly T[], numberOf: (item: T) => number): readonly T[] {
  return [...new Map(items.toReversed().map((item) => [numberOf(item), item])).values()].reverse();
}

const own = (numbers: PortNumbers, name: string) =>
  Object.hasOwn(numbers, name) ? numbers[name] : undefined;
