import type { ApplicationProtocol, Port } from '../../model/workload.ts';
import { containerPortNumber, type PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject, ServicePort } from '../kubernetes/service.ts';

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
export function applicationProtocol(port: ServicePort): ApplicationProtocol {
  if (port.appProtocol !== undefined) return byAppProtocol[port.appProtocol.toLowerCase()] ?? 'UNKNOWN';
  const name = (port.name ?? '').toLowerCase();
  if (name.startsWith('grpc-web')) return 'GRPC';
  return byAppProtocol[name.split('-')[0] ?? ''] ?? 'UNKNOWN';
}

/** TCP ports of a service; a target that is a name, which each pod resolves for itself, is 0 here. */
export function servicePorts(service: ServiceObject): Port[] {
  return tcpPorts(service).map((port) =>
    Object.freeze({
      servicePort: port.port,
      targetPort: typeof port.targetPort === 'string' ? 0 : (port.targetPort ?? port.port),
      appProtocol: applicationProtocol(port),
    }),
  );
}

/** The same ports as one pod serves them; a port whose name this pod does not have is left out. */
export function endpointPorts(service: ServiceObject, pod: PodObject): Port[] {
  return tcpPorts(service).flatMap((port) => {
    const targetPort = containerPortNumber(pod, port.targetPort ?? port.port);
    if (targetPort === undefined) return [];
    return [Object.freeze({ servicePort: port.port, targetPort, appProtocol: applicationProtocol(port) })];
  });
}

const tcpPorts = (service: ServiceObject) => service.spec.ports.filter((port) => port.protocol === 'TCP');
