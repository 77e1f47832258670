import { z } from 'zod';
import { labelName, metadata } from './metadata.ts';

/** Cluster-scoped: a namespace written in its metadata is ignored, as the API server does. */
export const namespaceObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('Namespace'),
  metadata: metadata.extend({
    name: labelName,
    namespace: z
      .string()
      .transform(() => '')
      .default(''),
  }),
});

export type NamespaceObject = z.infer<typeof namespaceObject>;
