/** The Kubernetes source against a real API server: what it reads, what it tells, what it remembers. */
import { afterEach, expect, it } from 'vitest';
import {
  type ApiServerSource,
  type ApiServerSourceOptions,
  createApiServerSource,
} from '../../src/source/api-server/api-server-source.ts';
import type { ObjectChange } from '../../src/source/object-source.ts';
import { clientFor } from './machines.ts';
import {
  create,
  describeWithApiServer,
  eventually,
  newNamespace,
  remove,
  service,
  type World,
} from './world.ts';

describeWithApiServer('the Kubernetes source', (world) => {
  const open: { close(): void | Promise<void> }[] = [];

  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one.close();
  });

  /** A source of the services of one namespace, and all it told. */
  async function follow(namespace: string, options: ApiServerSourceOptions = {}, token = '') {
    return followServices(world, open, namespace, options, token);
  }

  it('tells what is there as one change, then each difference', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    await create(world.admin, service(namespace, 'two'));
    const { changes, names } = await follow(namespace);
    expect(changes).toHaveLength(1);
    expect(names()).toEqual(['one', 'two']);

    await create(world.admin, service(namespace, 'three'));
    await remove(world.admin, service(namespace, 'one'));
    await eventually(() => names().join() === 'three,two', 'the difference is told');
    expect(changes.slice(1).flatMap(({ upserts }) => upserts.map(({ id }) => id))).toEqual([
      `v1/Service/${namespace}/three`,
    ]);
    expect(changes.slice(1).flatMap(({ removals }) => removals)).toEqual([`v1/Service/${namespace}/one`]);
  });

  it('reads a list in pages', async () => {
    const namespace = await newNamespace(world.admin);
    const all = Array.from({ length: 7 }, (_, index) => `s${index}`);
    for (const name of all) await create(world.admin, service(namespace, name));
    const { changes, names, source } = await follow(namespace, { pageSize: 3 });
    expect(names()).toEqual(all);
    expect(changes).toHaveLength(1);
    expect(source.lists('Service')).toBe(1);
  });
});

export async function followServices(
  { machines }: World,
  open: { close(): void | Promise<void> }[],
  namespace: string,
  options: ApiServerSourceOptions,
  token: string,
): Promise<{ source: ApiServerSource; changes: ObjectChange[]; names: () => string[] }> {
  const api = clientFor(machines, token === '' ? 'the-admin-of-the-tests' : token);
  const source = createApiServerSource(api, {
    kinds: ['Service'],
    selectors: { Service: { namespace } },
    ...options,
  });
  open.push(api, source);
  const changes: ObjectChange[] = [];
  const known = new Set<string>();
  await source.start((change) => {
    changes.push(change);
    for (const id of change.removals) known.delete(id);
    for (const { id } of change.upserts) known.add(id);
  });
  return { source, changes, names: () => [...known].map((id) => id.split('/').at(-1) ?? '').sort() };
}
