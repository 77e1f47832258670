import { z } from 'zod';
import { clusterScopedMetadata } from './metadata.ts';

export const nodeObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('Node'),
  metadata: clusterScopedMetadata,
  spec: z
    .object({ podCIDR: z.string().optional(), podCIDRs: z.array(z.string()).default([]) })
    .default({ podCIDRs: [] }),
});

export type NodeObject = z.infer<typeof nodeObject>;

/** Ranges that the node gives its pods addresses from; none where another component than Kubernetes chooses them. */
export function nodePodRanges({ spec }: NodeObject): readonly string[] {
  if (spec.podCIDRs.length > 0) return spec.podCIDRs;
  return spec.podCIDR === undefined || spec.podCIDR === '' ? [] : [spec.podCIDR];
}
