/** `security.istio.io` PeerAuthentication: whether connections without an identity are let in. */
import { z } from 'zod';
import { metadata } from './metadata.ts';
import { securityVersion, workloadSelector } from './policy-parts.ts';

const mutualTls = z
  .strictObject({ mode: z.enum(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']).default('UNSET') })
  .nullish()
  .transform((mtls) => mtls ?? { mode: 'UNSET' as const });

const spec = z
  .strictObject({
    selector: workloadSelector,
    mtls: mutualTls,
    portLevelMtls: z
      .record(
        z
          .string()
          .regex(/^[1-9]\d{0,4}$/, 'is no port number')
          .refine((port) => Number(port) <= 65_535, 'is no port number'),
        mutualTls,
      )
      .nullish()
      .transform((ports) => ports ?? {}),
  })
  .refine(({ selector, portLevelMtls }) => isEmpty(portLevelMtls) || !isEmpty(selector.matchLabels), {
    path: ['portLevelMtls'],
    message: 'needs a selector with labels: ports belong to workloads',
  });

export const peerAuthenticationObject = z.object({
  apiVersion: securityVersion,
  kind: z.literal('PeerAuthentication'),
  metadata,
  spec: spec.nullish().transform((given) => given ?? spec.parse({})),
});

export type PeerAuthenticationObject = z.infer<typeof peerAuthenticationObject>;

const isEmpty = (fields: object) => Object.keys(fields).length === 0;
