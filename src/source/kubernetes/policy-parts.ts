/**
 * What AuthorizationPolicy and PeerAuthentication have in common. Unknown fields are refused: one may be a condition. What was
 * parsed has the form of what was written, so it can be written and parsed again.
 */
import { z } from 'zod';

/** A list that may be left out or null, as the API server takes it. */
export function list<T extends z.ZodType>(item: T) {
  return z
    .array(item)
    .nullish()
    .transform((items) => items ?? []);
}

/** Which workloads of its namespace a policy is for; no labels mean all of them. */
export const workloadSelector = z
  .strictObject({
    matchLabels: z
      .record(
        z.string().min(1, 'a label needs a name'),
        z
          .string({ error: 'must be text; quote it, as in "true"' })
          .refine((value) => !value.includes('*'), 'wildcards are not supported in label values'),
      )
      .nullish()
      .transform((labels) => labels ?? {}),
  })
  .nullish()
  .transform((selector) => selector ?? { matchLabels: {} });

/** What a policy is attached to instead of workloads. */
export const targetReference = z.strictObject({
  group: z.string().default(''),
  kind: z.string().min(1),
  name: z.string().min(1),
  namespace: z
    .string()
    .nullish()
    .transform((namespace) => namespace ?? ''),
});

export type TargetReference = z.infer<typeof targetReference>;

/** Written in `metadata.apiVersion` of either; the older name means the same. */
export const securityVersion = z
  .enum(['security.istio.io/v1', 'security.istio.io/v1beta1'])
  .transform(() => 'security.istio.io/v1' as const);
