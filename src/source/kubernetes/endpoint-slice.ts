import { z } from 'zod';
import { metadata } from './metadata.ts';

const endpoint = z.object({
  addresses: z.array(z.string()),
  conditions: z
    .object({
      ready: z.boolean().nullish(),
      serving: z.boolean().nullish(),
      terminating: z.boolean().nullish(),
    })
    .default({}),
  hostname: z.string().nullish(),
  nodeName: z.string().nullish(),
  zone: z.string().nullish(),
  targetRef: z
    .object({ kind: z.string().default(''), namespace: z.string().default(''), name: z.string().default('') })
    .nullish(),
});

const port = z.object({
  name: z.string().nullish(),
  port: z.int().min(0).max(65_535).nullish(),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).nullish(),
  appProtocol: z.string().nullish(),
});

/** Lists without entries are null on the API server's wire. */
const listOf = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((list) => list ?? []);

export const endpointSliceObject = z.object({
  apiVersion: z.literal('discovery.k8s.io/v1'),
  kind: z.literal('EndpointSlice'),
  metadata,
  addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
  endpoints: listOf(endpoint),
  ports: listOf(port),
});

export type EndpointSliceObject = z.infer<typeof endpointSliceObject>;
export type SliceEndpoint = z.infer<typeof endpoint>;

/** The service that a slice is for; undefined for one of nobody. */
export function sliceService({ metadata: { labels } }: EndpointSliceObject): string | undefined {
  return labels['kubernetes.io/service-name'];
}

/** Written by Kubernetes from a selector and pods, which say more: nothing is read from it. */
export function isDerivedSlice({ metadata: { labels } }: EndpointSliceObject): boolean {
  return labels['endpointslice.kubernetes.io/managed-by'] === 'endpointslice-controller.k8s.io';
}
