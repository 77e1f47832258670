import { z } from 'zod';
import { clusterScopedMetadata, labelName } from './metadata.ts';

export const namespaceObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('Namespace'),
  metadata: clusterScopedMetadata.extend({ name: labelName }),
});

export type NamespaceObject = z.infer<typeof namespaceObject>;
