import { z } from 'zod';
import { clusterScopedMetadata } from './metadata.ts';

export const serviceCidrObject = z.object({
  apiVersion: z
    .enum(['networking.k8s.io/v1', 'networking.k8s.io/v1beta1'])
    .transform(() => 'networking.k8s.io/v1' as const),
  kind: z.literal('ServiceCIDR'),
  metadata: clusterScopedMetadata,
  spec: z.object({ cidrs: z.array(z.string()).default([]) }).default({ cidrs: [] }),
});

export type ServiceCidrObject = z.infer<typeof serviceCidrObject>;
