/** All objects of the lab as an API server would show them: those that are written, and those that controllers make of them. */
import { objectKey } from '../source/kubernetes/metadata.ts';
import { containerPortNumber, isReady, type PodObject, podAddresses } from '../source/kubernetes/pod.ts';
import type { ServiceObject } from '../source/kubernetes/service.ts';
import type { ClusterObjects } from '../source/translate/mesh.ts';
import type { ApiObject } from './cluster-files.ts';
import type { LabNode } from './node.ts';

export function apiObjects(
  objects: ClusterObjects,
  nodes: Iterable<LabNode>,
  serviceRanges: readonly string[],
): ApiObject[] {
  const { namespaces, serviceAccounts, pods, services, rest } = objects;
  return [
    ...[...nodes].map(nodeObject),
    serviceCidr(serviceRanges),
    ...namespaces.values(),
    ...serviceAccounts,
    ...pods,
    ...services,
    ...services.flatMap((service) => endpointSlices(service, pods)),
    ...rest,
  ];
}

function nodeObject({ name, link, address }: LabNode): ApiObject {
  const podCIDRs = [link.podRange.v4, link.podRange.v6];
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name } },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: {
      addresses: [address.v4, address.v6].map((each) => ({ type: 'InternalIP', address: each })),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  } as ApiObject;
}

function serviceCidr(cidrs: readonly string[]): ApiObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: 'kubernetes' },
    spec: { cidrs },
  } as ApiObject;
}

/** As the endpoint slice controller makes them: one for each family, and for each set of target ports. */
function endpointSlices(service: ServiceObject, pods: readonly PodObject[]): ApiObject[] {
  const selector = Object.entries(service.spec.selector);
  if (selector.length === 0 || service.spec.type === 'ExternalName') return [];
  const { name, namespace } = service.metadata;
  const selected = pods.filter(
    (pod) =>
      pod.metadata.namespace === namespace &&
      selector.every(([label, value]) => pod.metadata.labels[label] === value),
  );
  return (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const byPorts = new Map<string, PodObject[]>();
    for (const pod of selected) {
      const ports = JSON.stringify(slicePorts(service, pod));
      byPorts.set(ports, [...(byPorts.get(ports) ?? []), pod]);
    }
    return [...byPorts].map(([ports, those], index) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-${family.toLowerCase()}-${index}`,
        namespace,
        labels: {
          'kubernetes.io/service-name': name,
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
      },
      addressType: family,
      ports: JSON.parse(ports) as unknown,
      endpoints: those.flatMap((pod) => sliceEndpoint(pod, family)),
    }));
  });
}

function slicePorts(service: ServiceObject, pod: PodObject): unknown[] {
  return service.spec.ports.flatMap(({ name = '', port, targetPort, protocol, appProtocol }) => {
    const number = containerPortNumber(pod, targetPort ?? port);
    return number === undefined ? [] : [{ name, port: number, protocol, appProtocol }];
  });
}

function sliceEndpoint(pod: PodObject, family: 'IPv4' | 'IPv6'): unknown[] {
  const addresses = podAddresses(pod).filter((address) => address.includes(':') === (family === 'IPv6'));
  if (addresses.length === 0) return [];
  const ready = isReady(pod);
  const [namespace, name] = objectKey(pod).split('/');
  return [
    {
      addresses: addresses.slice(0, 1),
      conditions: { ready, serving: ready, terminating: false },
      nodeName: pod.spec.nodeName,
      targetRef: { kind: 'Pod', namespace, name },
    },
  ];
}
