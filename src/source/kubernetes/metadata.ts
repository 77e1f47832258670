import { z } from 'zod';

/** RFC 1123 as Kubernetes takes it for names. */
const dnsLabel = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const dnsSubdomain = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

/** Names that become part of host names and SPIFFE ids: namespaces and services. */
export const labelName = z
  .string()
  .max(63, 'is longer than 63 characters')
  .regex(dnsLabel, 'must be lower-case letters, digits and "-", as in "my-shop"');

export const objectName = z
  .string()
  .max(253, 'is longer than 253 characters')
  .regex(dnsSubdomain, 'must be lower-case letters, digits, "-" and ".", as in "my-shop"');

const texts = z.record(z.string(), z.string({ error: 'must be text; quote it, as in "true"' }));

export const ownerReference = z.object({
  kind: z.string(),
  name: z.string(),
  controller: z.boolean().optional(),
});

/** What the mesh reads of an object's metadata; the rest is left alone. */
export const metadata = z.object({
  name: objectName,
  namespace: labelName.default('default'),
  uid: z.string().default(''),
  /** How often what is wished for was written, where the API server counts that; manifests have none. */
  generation: z
    .number()
    .nullish()
    .transform((count) => count ?? undefined),
  labels: texts.default({}),
  annotations: texts.default({}),
  ownerReferences: z.array(ownerReference).default([]),
  deletionTimestamp: z.string().optional(),
  /** When the API server first stored it; manifests have none, or null as `kubectl create --dry-run` writes it. */
  creationTimestamp: z
    .string()
    .nullish()
    .transform((time) => time ?? undefined),
});

/** Of kinds without a namespace: one that is written all the same is ignored, as the API server does. */
export const clusterScopedMetadata = metadata.extend({
  namespace: z
    .unknown()
    .optional()
    .transform(() => ''),
});

export type Metadata = z.infer<typeof metadata>;

/** `namespace/name`. */
export function objectKey(object: { readonly metadata: Pick<Metadata, 'namespace' | 'name'> }): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

/** A Kubernetes port number. */
export const portNumber = z.int().min(1).max(65_535);
