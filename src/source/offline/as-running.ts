/**
 * Manifests as if they ran: what a cluster would add (addresses, readiness, the word of an agent that holds the pod) is filled
 * in where it is missing, so that questions about the mesh have an answer before there is one.
 */
import type { KnownObject } from '../kubernetes/objects.ts';
import { type PodObject, podAddresses } from '../kubernetes/pod.ts';
import { clusterAddresses, type ServiceObject } from '../kubernetes/service.ts';
import { enrolmentWish, redirectionAnnotation } from '../translate/enrolment.ts';

/** Ranges for tests of networks (RFC 2544): nothing real is there. */
const podRange = '198.18';
const serviceRange = '198.19';

export function asRunning(objects: readonly KnownObject[]): KnownObject[] {
  const namespaces = new Map(
    objects.flatMap((object) =>
      object.kind === 'Namespace' ? [[object.metadata.name, object] as const] : [],
    ),
  );
  const [podAddress, serviceAddress] = [addressesIn(podRange), addressesIn(serviceRange)];
  return objects.map((object) => {
    if (object.kind === 'Pod') {
      const wish = enrolmentWish(object, namespaces.get(object.metadata.namespace));
      return runningPod(object, wish.wanted, podAddress);
    }
    return object.kind === 'Service' ? placedService(object, serviceAddress) : object;
  });
}

/** Whether an address was made up here. */
export function isMadeUp(address: string): boolean {
  return address.startsWith(`${podRange}.`) || address.startsWith(`${serviceRange}.`);
}

function runningPod(pod: PodObject, isWanted: boolean, address: () => string): PodObject {
  if (podAddresses(pod).length > 0) return pod;
  const { annotations } = pod.metadata;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      annotations: isWanted ? { ...annotations, [redirectionAnnotation]: 'enabled' } : annotations,
    },
    status: {
      ...pod.status,
      phase: 'Running',
      podIPs: [{ ip: address() }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

function placedService(service: ServiceObject, address: () => string): ServiceObject {
  const { clusterIP, type } = service.spec;
  const isWithout = clusterIP === 'None' || type === 'ExternalName';
  if (isWithout || clusterAddresses(service).length > 0) return service;
  return { ...service, spec: { ...service.spec, clusterIPs: [address()] } };
}

/** One after the other. */
function addressesIn(range: string): () => string {
  let last = 0;
  return () => {
    last += 1;
    return `${range}.${(last >> 8) & 255}.${last & 255}`;
  };
}
