import { z } from 'zod';
import { metadata, objectName, portNumber } from './metadata.ts';

/** The versions say the same; the newest name stands for all. */
export const istioNetworking = z
  .enum(['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'])
  .transform(() => 'networking.istio.io/v1' as const);

/** What a WorkloadEntry says, and an endpoint that stands in a ServiceEntry. */
export const workloadEntrySpec = z.object({
  /** An address, a host name to resolve, or `unix://` with a path, which nobody on another machine can reach. */
  address: z.string().default(''),
  /** Port numbers by the name of the service's port. */
  ports: z.record(z.string(), portNumber).default({}),
  labels: z.record(z.string(), z.string({ error: 'must be text; quote it' })).default({}),
  network: z.string().default(''),
  /** `region/zone/subzone`. */
  locality: z.string().default(''),
  weight: z.int().min(0).max(4_294_967_295).default(0),
  serviceAccount: z.union([z.literal(''), objectName]).default(''),
});

const condition = z.object({ type: z.string(), status: z.string() });

export const workloadEntryObject = z.object({
  apiVersion: istioNetworking,
  kind: z.literal('WorkloadEntry'),
  metadata,
  spec: workloadEntrySpec,
  status: z.object({ conditions: z.array(condition).default([]) }).default({ conditions: [] }),
});

export type WorkloadEntryObject = z.infer<typeof workloadEntryObject>;
export type WorkloadEntrySpec = z.infer<typeof workloadEntrySpec>;

/** Labels stand in two places; those of the spec count more. */
export function entryLabels({ metadata: { labels }, spec }: WorkloadEntryObject): Record<string, string> {
  return { ...labels, ...spec.labels };
}
