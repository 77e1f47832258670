/** What a pod is told about names until DNS capture exists: /etc/hosts and resolv.conf of its own. */
import type { Service } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';

export interface HostsOptions {
  /** Namespace of the pod: services of it have their short name too. */
  readonly namespace: string;
  /**
   * Whether service addresses lead anywhere from this pod. They do in the mesh; outside it only where something plays
   * kube-proxy, so there the names mean the endpoints.
   */
  readonly serviceAddresses: boolean;
  readonly outside: readonly { readonly name: string; readonly addresses: readonly string[] }[];
}

export function hostsFile(mesh: MeshResources, options: HostsOptions): string {
  const lines = ['127.0.0.1 localhost', '::1 localhost ip6-localhost'];
  for (const service of mesh.services) {
    const addresses = options.serviceAddresses ? serviceAddresses(service) : [];
    const targets = addresses.length > 0 ? addresses : endpointAddresses(mesh.workloads, service);
    for (const address of targets)
      lines.push(`${address} ${serviceNames(service, options.namespace).join(' ')}`);
  }
  for (const workload of mesh.workloads) {
    for (const address of workload.addresses)
      lines.push(`${address} ${workload.name}.${workload.namespace}.pod`);
  }
  for (const host of options.outside)
    for (const address of host.addresses) lines.push(`${address} ${host.name}`);
  return `${lines.join('\n')}\n`;
}

/** No nameserver yet: names are all in the hosts file, and a resolver that waits for an answer would only delay errors. */
export function resolvConf(namespace: string, clusterDomain: string): string {
  return `search ${namespace}.svc.${clusterDomain} svc.${clusterDomain} ${clusterDomain}\noptions ndots:5 timeout:1 attempts:1\n`;
}

function serviceNames(service: Service, namespace: string): string[] {
  const { name, hostname } = service;
  const long = [hostname, `${name}.${service.namespace}.svc`, `${name}.${service.namespace}`];
  return service.namespace === namespace ? [...long, name] : long;
}

const serviceAddresses = (service: Service) => service.addresses.map(({ address }) => address);

function endpointAddresses(workloads: readonly Workload[], service: Service): string[] {
  const key = `${service.namespace}/${service.hostname}`;
  return workloads
    .filter((workload) => workload.services.some((membership) => membership.service === key))
    .flatMap((workload) => workload.addresses);
}
