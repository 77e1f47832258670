/** What the tests of this folder share: the API server, a namespace of one's own, and short ways to make objects. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { isApiError } from '../../src/source/api-server/api-error.ts';
import { adminClient, type Machines } from './machines.ts';
import './setup.ts';

export interface World {
  readonly machines: Machines;
  /** May do everything. */
  readonly admin: ApiClient;
}

let count = 0;

/** Unique in the cluster that the tests share. */
export function uniqueName(what: string): string {
  return `${what}-${process.pid}-${++count}`;
}

export function describeWithApiServer(title: string, tests: (world: World) => void): void {
  const kubernetes = inject('kubernetes');
  const missing = 'missing' in kubernetes ? kubernetes.missing : undefined;
  describe.skipIf(missing !== undefined)(
    missing === undefined ? title : `${title} (skipped: ${missing})`,
    () => {
      let admin: ApiClient | undefined;
      beforeAll(() => {
        admin = adminClient(kubernetes as Machines);
      });
      afterAll(() => admin?.close());
      tests({
        get machines() {
          return kubernetes as Machines;
        },
        get admin() {
          if (admin === undefined) throw new Error('the API server is not up: use it inside a test');
          return admin;
        },
      });
    },
  );
}

/** Makes an object of any kind whose plural is the usual one. */
export async function create<T = Stored>(api: ApiClient, object: Manifest): Promise<T> {
  return api.request<T>({ method: 'POST', path: collectionPath(object), body: object });
}

export async function remove(api: ApiClient, object: Manifest): Promise<void> {
  const path = `${collectionPath(object)}/${object.metadata.name}`;
  await api.request({ method: 'DELETE', path, query: { gracePeriodSeconds: 0 } });
}

export async function newNamespace(api: ApiClient, labels: Record<string, string> = {}): Promise<string> {
  const name = uniqueName('t');
  await create(api, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
  await create(api, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'default', namespace: name },
  }).catch((error: unknown) => {
    // The controller was quicker.
    if (!isApiError(error, 409)) throw error;
  });
  return name;
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

export type Stored = Manifest & {
  readonly metadata: { readonly uid: string; readonly resourceVersion: string };
};

/** A service without selector: the cheapest object that the mesh reads, and that the server does not change by itself. */
export function service(namespace: string, name: string, labels: Record<string, string> = {}): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels },
    spec: { clusterIP: 'None', ports: [{ port: 80 }] },
  };
}

export function pod(
  namespace: string,
  name: string,
  options: { node?: string; serviceAccount?: string } = {},
): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      ...(options.node === undefined ? {} : { nodeName: options.node }),
      serviceAccountName: options.serviceAccount ?? 'default',
      automountServiceAccountToken: false,
      containers: [{ name: 'main', image: 'none.invalid/none' }],
    },
  };
}

/** Waits for something that becomes true by itself. */
export async function eventually(
  test: () => boolean | Promise<boolean>,
  what: string,
  ms = 15_000,
): Promise<void> {
  const end = Date.now() + ms;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await delay(20);
  }
}

export function collectionPath({ apiVersion, kind, metadata }: Manifest): string {
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = kind
    .toLowerCase()
    .replace(/(?<![aeiou])y$/, 'ie')
    .replace(/(s|x|ch)$/, '$1e');
  const within = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  return `${base}${within}/${plural}s`;
}
