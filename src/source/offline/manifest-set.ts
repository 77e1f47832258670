/** All manifests of a directory, read once, each with the place where it is written. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../../base/errors.ts';
import { type FileDocuments, readDocuments } from '../directory/documents.ts';
import {
  describeOrigin,
  type KnownObject,
  type Origin,
  objectId,
  parseDocument,
  type RawDocument,
  type Rejection,
} from '../kubernetes/objects.ts';
import type { ObjectId } from '../object-source.ts';
import { placeholderForecast, placeholderOf } from '../placeholder.ts';
import { podsOfTemplate } from './pod-templates.ts';

export interface WrittenObject {
  readonly id: ObjectId;
  readonly object: KnownObject;
  readonly origin: Origin;
  /** As people find it in the file: `Deployment shop/front` for the pod of its template. */
  readonly title: string;
}

export interface ManifestSet {
  /** What the mesh reads; pods of templates (Deployments and their like) among them, one each. */
  readonly objects: readonly WrittenObject[];
  readonly rejections: readonly Rejection[];
  /** Of the objects, those that stand for a policy that is rejected: they refuse. */
  readonly placeholders: ReadonlySet<ObjectId>;
  /** Documents of kinds that the mesh does not read. */
  readonly others: number;
  readonly files: readonly string[];
}

/** Files as `kubectl apply -f DIR` takes them: not recursive. */
const manifestFile = /\.(ya?ml|json)$/;

export function readManifestSet(directory: string): ManifestSet {
  const files = manifestFiles(directory);
  const objects = new Map<ObjectId, WrittenObject>();
  const rejections: Rejection[] = [];
  const placeholders = new Set<ObjectId>();
  let others = 0;
  const add = (object: KnownObject, kind: string, { origin }: RawDocument) => {
    const id = objectId(object);
    const { name, namespace } = object.metadata;
    const title = `${kind} ${namespace === '' ? name : `${namespace}/${name}`}`;
    const first = objects.get(id)?.origin;
    if (first === undefined) {
      objects.set(id, { id, object, origin, title });
      return;
    }
    const reason = `is already written in ${describeOrigin(first)}, which counts`;
    rejections.push({ origin, object: title, field: 'metadata.name', reason });
  };
  for (const file of files) {
    const read = readFile(directory, file);
    rejections.push(...read.rejections);
    for (const document of read.documents) {
      const parsed = parseDocument(document);
      if (parsed.kind === 'rejected') {
        const instead = parsed.key === undefined ? undefined : placeholderOf(parsed.key, document.value);
        rejections.push(
          ...parsed.rejections.map((each) => (instead === undefined ? each : refusing(each, instead))),
        );
        if (instead === undefined || objects.has(objectId(instead))) continue;
        placeholders.add(objectId(instead));
        add(instead, instead.kind, document);
      } else if (parsed.kind === 'object') add(parsed.object, parsed.object.kind, document);
      else {
        const pods = podsOfTemplate(document);
        if (pods === undefined) others += 1;
        for (const pod of pods?.objects ?? []) add(pod, kindOf(document), document);
        rejections.push(...(pods?.rejections ?? []));
      }
    }
  }
  return { objects: [...objects.values()], rejections, placeholders, others, files };
}

function refusing(rejection: Rejection, instead: KnownObject): Rejection {
  return { ...rejection, reason: `${rejection.reason}; ${placeholderForecast(objectId(instead))}` };
}

/** One that cannot be read holds a control plane up; here it is one more thing that is wrong. */
function readFile(directory: string, file: string): FileDocuments {
  try {
    return readDocuments(file, readFileSync(join(directory, file), 'utf8'));
  } catch (caught) {
    const { message: reason } = HadalError.from(caught, 'ERR_SOURCE_DIRECTORY');
    const origin = { file, document: 1, line: 1 };
    return { documents: [], rejections: [{ origin, object: 'file', field: '', reason }] };
  }
}

function kindOf({ value }: RawDocument): string {
  return String((value as Record<string, unknown>).kind);
}

function manifestFiles(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((file) => manifestFile.test(file))
      .sort();
  } catch (cause) {
    throw new HadalError(
      'ERR_SOURCE_DIRECTORY',
      `cannot read the directory ${directory}; name one with manifests (*.yaml, *.json)`,
      { cause },
    );
  }
}
