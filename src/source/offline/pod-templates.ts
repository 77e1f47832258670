/** Deployments and their like say what their pods will be: for questions without a cluster each gives one pod. */
import { z } from 'zod';
import { type KnownObject, parseDocument, type RawDocument, type Rejection } from '../kubernetes/objects.ts';

export interface TemplatePods {
  readonly objects: readonly KnownObject[];
  readonly rejections: readonly Rejection[];
}

const fields = z.looseObject({});
const template = z.looseObject({ metadata: fields.default({}), spec: fields });
const owner = z.looseObject({ name: z.string(), namespace: z.string().optional() });
const workload = z.looseObject({ metadata: owner, spec: z.looseObject({ template }) });
const cronJob = z.looseObject({
  metadata: owner,
  spec: z.looseObject({ jobTemplate: z.looseObject({ spec: z.looseObject({ template }) }) }),
});

/** Undefined for documents of other kinds. */
export function podsOfTemplate({ origin, value }: RawDocument): TemplatePods | undefined {
  const { apiVersion, kind } = value as Record<string, unknown>;
  const found = templateOf(`${apiVersion}/${kind}`, value);
  if (found === undefined) return undefined;
  const { metadata, spec } = found.template;
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...metadata,
      name: found.name,
      ...(found.namespace === undefined ? {} : { namespace: found.namespace }),
      ownerReferences: [{ kind: String(kind), name: found.name, controller: true }],
    },
    spec,
  };
  const parsed = parseDocument({ origin, value: pod });
  if (parsed.kind === 'object') return { objects: [parsed.object], rejections: [] };
  if (parsed.kind !== 'rejected') return undefined;
  const path = kind === 'CronJob' ? 'spec.jobTemplate.spec.template' : 'spec.template';
  const rejections = parsed.rejections.map((rejection) => ({
    ...rejection,
    object: rejection.object.replace(/^Pod /, `${kind} `),
    field: `${path}.${rejection.field}`,
  }));
  return { objects: [], rejections };
}

interface Found {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly template: z.infer<typeof template>;
}

function templateOf(kind: string, value: unknown): Found | undefined {
  if (kind === 'batch/v1/CronJob') {
    const parsed = cronJob.safeParse(value).data;
    return parsed && { ...named(parsed.metadata), template: parsed.spec.jobTemplate.spec.template };
  }
  if (!/^(apps\/v1\/(Deployment|StatefulSet|DaemonSet|ReplicaSet)|batch\/v1\/Job)$/.test(kind))
    return undefined;
  const parsed = workload.safeParse(value).data;
  return parsed && { ...named(parsed.metadata), template: parsed.spec.template };
}

const named = ({ name, namespace }: z.infer<typeof owner>) => ({ name, namespace });
