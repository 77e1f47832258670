/** All manifests of a directory, read once, each with the place where it is written. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../../base/errors.ts';
import { readDocuments } from '../directory/documents.ts';
import {
  type KnownObject,
  type Origin,
  objectId,
  parseDocument,
  type RawDocument,
  type Rejection,
} from '../kubernetes/objects.ts';
import type { ObjectId } from '../object-source.ts';
import { podsOfTemplate } from './pod-templates.ts';

export interface WrittenObject {
  readonly id: ObjectId;
  readonly object: KnownObject;
  readonly origin: Origin;
}

export interface ManifestSet {
  /** What the mesh reads; pods of templates (Deployments and their like) among them, one each. */
  readonly objects: readonly WrittenObject[];
  readonly rejections: readonly Rejection[];
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
  let others = 0;
  for (const file of files) {
    const read = readDocuments(file, readFileSync(join(directory, file), 'utf8'));
    rejections.push(...read.rejections);
    for (const document of read.documents) {
      const parsed = parseDocument(document);
      if (parsed.kind === 'rejected') rejections.push(...parsed.rejections);
      else if (parsed.kind === 'object') add(parsed.object, document, objects, rejections);
      else {
        const pods = podsOfTemplate(document);
        if (pods === undefined) others += 1;
        for (const pod of pods?.objects ?? []) add(pod, document, objects, rejections);
        rejections.push(...(pods?.rejections ?? []));
      }
    }
  }
  return { objects: [...objects.values()], rejections, others, files };
}

function add(
  object: KnownObject,
  { origin }: RawDocument,
  objects: Map<ObjectId, WrittenObject>,
  rejections: Rejection[],
): void {
  const id = objectId(object);
  const first = objects.get(id);
  if (first === undefined) {
    objects.set(id, { id, object, origin });
    return;
  }
  const { file, document } = first.origin;
  rejections.push({
    origin,
    object: `${object.kind} ${object.metadata.name}`,
    field: 'metadata.name',
    reason: `is already written in ${file}, document ${document}, which counts`,
  });
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
