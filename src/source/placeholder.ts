/**
 * What stands for a policy that is bad now and may once have been good, where nobody knows what it said: it refuses. Left out,
 * it would open what it closed. It is an object like any other, under the same name, so all that follows from it follows by itself.
 */
import { z } from 'zod';
import { type KnownObject, parseDocument } from './kubernetes/objects.ts';
import { list, targetReference, workloadSelector } from './kubernetes/policy-parts.ts';
import type { ObjectId } from './object-source.ts';

const policyId = /^security\.istio\.io\/v1\/(AuthorizationPolicy|PeerAuthentication)\//;
/** Before every other: of several PeerAuthentications for the same workloads the oldest counts. */
const longAgo = '1970-01-01T00:00:00Z';
const dryRun = 'istio.io/dry-run';

/** What can still be read of it, whatever else is wrong. */
const header = z.object({
  metadata: z.object({
    name: z.unknown(),
    namespace: z.unknown().optional(),
    uid: z.string().optional().catch(undefined),
    generation: z.number().optional().catch(undefined),
    creationTimestamp: z.string().optional().catch(undefined),
    annotations: z
      .object({ [dryRun]: z.string().optional() })
      .optional()
      .catch(undefined),
  }),
  spec: z.record(z.string(), z.unknown()).catch({}),
});

/** Undefined for kinds that refuse nothing, and for a policy that a waypoint enforces. */
export function placeholderOf(id: ObjectId, value: unknown): KnownObject | undefined {
  const kind = policyId.exec(id)?.[1];
  const read = header.safeParse(value);
  if (kind === undefined || !read.success) return undefined;
  const { metadata, spec } = read.data;
  const selector = workloadSelector.safeParse(spec.selector);
  const labels = selector.success ? selector.data.matchLabels : {};
  if (kind === 'AuthorizationPolicy' && selector.success && isEmpty(labels) && isForWaypoint(spec))
    return undefined;
  const scope = isEmpty(labels) ? {} : { selector: { matchLabels: labels } };
  const refusal =
    kind === 'AuthorizationPolicy' ? { action: 'DENY', rules: [{}] } : { mtls: { mode: 'STRICT' } };
  const parsed = parseDocument({
    origin: { file: id, document: 1, line: 1 },
    value: {
      apiVersion: 'security.istio.io/v1',
      kind,
      metadata: { ...metadata, ...(selector.success ? {} : { creationTimestamp: longAgo }) },
      spec: { ...scope, ...refusal },
    },
  });
  return parsed.kind === 'object' && parsed.key === id ? parsed.object : undefined;
}

/** What is in force, and what to do; the end of a sentence about what is wrong. */
export function placeholderSentence(id: ObjectId): string {
  return `no good version of it is known, so ${effectOf(id)}; correct it, or delete it`;
}

/** The same of manifests that nobody has read yet. */
export function placeholderForecast(id: ObjectId): string {
  return `while a control plane that starts with it knows no good version of it, ${effectOf(id)}; correct it, or delete it`;
}

function effectOf(id: ObjectId): string {
  return id.includes('/PeerAuthentication/')
    ? 'only connections with an identity are let in where it applies (STRICT)'
    : 'every connection to the workloads it is for is denied';
}

/** Policies as `/config_dump` has them, with a word on those that stand for one that is rejected. */
export function withPlaceholders(
  policies: readonly unknown[],
  placeholders: ReadonlySet<ObjectId>,
): unknown[] {
  return policies.map((each) => {
    const { namespace, name } = Object(each) as { readonly namespace?: string; readonly name?: string };
    const isPlaceholder = placeholders.has(`security.istio.io/v1/AuthorizationPolicy/${namespace}/${name}`);
    return isPlaceholder ? { ...(each as object), isPlaceholder } : each;
  });
}

function isForWaypoint({ targetRef, targetRefs }: Record<string, unknown>): boolean {
  const one = targetReference.nullish().safeParse(targetRef);
  const more = list(targetReference).safeParse(targetRefs);
  if (!one.success || !more.success) return false;
  return (one.data ?? undefined) !== undefined || more.data.length > 0;
}

const isEmpty = (fields: object) => Object.keys(fields).length === 0;
