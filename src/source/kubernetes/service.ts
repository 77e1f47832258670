import { z } from 'zod';
import { labelName, metadata, portNumber } from './metadata.ts';
import { portReference } from './pod.ts';

const servicePort = z.object({
  name: z.string().optional(),
  port: portNumber,
  targetPort: portReference.optional(),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
  appProtocol: z.string().optional(),
});

export const serviceObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('Service'),
  metadata: metadata.extend({ name: labelName }),
  spec: z.object({
    type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']).default('ClusterIP'),
    selector: z.record(z.string(), z.string({ error: 'must be text; quote it' })).default({}),
    externalName: z.string().max(253).optional(),
    clusterIP: z.string().optional(),
    clusterIPs: z.array(z.string()).default([]),
    ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])).default([]),
    ipFamilyPolicy: z.enum(['SingleStack', 'PreferDualStack', 'RequireDualStack']).optional(),
    ports: z.array(servicePort).default([]),
    publishNotReadyAddresses: z.boolean().default(false),
    internalTrafficPolicy: z.enum(['Cluster', 'Local']).default('Cluster'),
    trafficDistribution: z.string().optional(),
    sessionAffinity: z.enum(['None', 'ClientIP']).default('None'),
  }),
});

export type ServiceObject = z.infer<typeof serviceObject>;
export type ServicePort = ServiceObject['spec']['ports'][number];

/** Virtual addresses; none for a headless service. */
export function clusterAddresses(service: ServiceObject): string[] {
  const { clusterIP, clusterIPs } = service.spec;
  const all = clusterIPs.length > 0 ? clusterIPs : clusterIP === undefined ? [] : [clusterIP];
  return all.filter((address) => address !== '' && address !== 'None');
}

export function isHeadless(service: ServiceObject): boolean {
  return service.spec.clusterIP === 'None' || service.spec.clusterIPs.includes('None');
}
