/** `networking.istio.io` Sidecar, of which the mesh reads the outbound traffic policy alone. */
import { z } from 'zod';
import { outboundTrafficPolicies } from '../../model/outbound-policy.ts';
import { metadata } from './metadata.ts';

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((given) => given ?? {});

const workloadSelector = z
  .object({ labels })
  .nullish()
  .transform((given) => given ?? { labels: {} });

const outboundTrafficPolicy = z
  .object({ mode: z.enum(outboundTrafficPolicies).optional(), egressProxy: z.unknown().optional() })
  .nullish();

const spec = z.object({
  workloadSelector,
  outboundTrafficPolicy,
  egress: z.array(z.unknown()).nullish(),
  ingress: z.array(z.unknown()).nullish(),
  inboundConnectionPool: z.unknown().optional(),
});

export const sidecarObject = z.object({
  apiVersion: z
    .enum(['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'])
    .transform(() => 'networking.istio.io/v1' as const),
  kind: z.literal('Sidecar'),
  metadata,
  spec: spec.nullish().transform((given) => given ?? spec.parse({})),
});

export type SidecarObject = z.infer<typeof sidecarObject>;
