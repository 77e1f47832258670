/** Custom resources as Gateway API and Istio ship them. */
import { globSync, readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { isApiError } from '../../src/source/api-server/api-error.ts';
import { eventually, type Manifest, type World } from './world.ts';

const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

interface Definition extends Manifest {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** Installs some by their names (`peerauthentications.security.istio.io`), and waits until they are served. */
export async function installCustomResources({ machines, admin }: World, ...names: string[]): Promise<void> {
  const all = new Map(
    globSync(`${machines.assets}/crds/*.yaml`)
      .flatMap((file) => parseAllDocuments(readFileSync(file, 'utf8')))
      .map((document) => document.toJS() as Definition | null)
      .filter((definition) => definition !== null)
      .map((definition) => [definition.metadata.name, definition]),
  );
  for (const name of names) {
    const definition = all.get(name);
    if (definition === undefined)
      throw new Error(`there is no custom resource ${name} in ${machines.assets}/crds`);
    await admin.request({ method: 'POST', path, body: definition }).catch((error: unknown) => {
      if (!isApiError(error, 409)) throw error;
    });
  }
  for (const name of names) await eventually(() => isEstablished(admin, name), `${name} is served`);
}

/** Also when it is not installed: the tests of one run share a server, in any order. */
export async function uninstallCustomResource({ admin }: World, name: string): Promise<void> {
  await admin.request({ method: 'DELETE', path: `${path}/${name}` }).catch((error: unknown) => {
    if (!isApiError(error, 404)) throw error;
  });
  await eventually(
    () =>
      admin.request({ path: `${path}/${name}` }).then(
        () => false,
        (error: unknown) => isApiError(error, 404),
      ),
    `${name} is gone`,
  );
}

async function isEstablished(admin: World['admin'], name: string): Promise<boolean> {
  const { status } = await admin.request<Definition>({ path: `${path}/${name}` });
  return status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True') === true;
}
