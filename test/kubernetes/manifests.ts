/** Applies manifests of the repository, as an operator would with kubectl. */
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { isApiError } from '../../src/source/api-server/api-error.ts';
import { collectionPath, create, type Manifest } from './world.ts';

const root = new URL('../..', import.meta.url).pathname;

export function readManifests(file: string): Manifest[] {
  return parseAllDocuments(readFileSync(root + file, 'utf8')).map((document) => document.toJS() as Manifest);
}

/** Objects that are there already are replaced. */
export async function applyManifests(api: ApiClient, manifests: readonly Manifest[]): Promise<void> {
  for (const manifest of manifests) {
    await create(api, manifest).catch(async (error: unknown) => {
      if (!isApiError(error, 409)) throw error;
      const path = `${collectionPath(manifest)}/${manifest.metadata.name}`;
      await api.request({ method: 'PATCH', path, body: manifest });
    });
  }
}

/** The namespace of the installation, with the rights of one of its parts. */
export async function installRights(api: ApiClient, file: string): Promise<void> {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'hadal-system' } };
  await applyManifests(api, [namespace, ...readManifests(file)]);
}
