import { z } from 'zod';
import { metadata } from './metadata.ts';

export const serviceAccountObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('ServiceAccount'),
  metadata,
});

export type ServiceAccountObject = z.infer<typeof serviceAccountObject>;
