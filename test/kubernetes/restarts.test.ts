/** What a source does when its API server goes away and comes back, with or without the history that it asks for. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { ApiClient, type ApiRequest } from '../../src/source/api-server/api-client.ts';
import { listPages } from '../../src/source/api-server/list-pages.ts';
import { type Follower, followServices } from './follower.ts';
import {
  adminToken,
  compact,
  kubeConfigFor,
  type RunningApiServer,
  startSecondApiServer,
} from './machines.ts';
import {
  create,
  describeWithApiServer,
  eventually,
  newNamespace,
  remove,
  type Stored,
  service,
} from './world.ts';

describeWithApiServer('a source whose API server goes away', (world) => {
  let second: (RunningApiServer & { stop(): Promise<void> }) | undefined;
  const open: Follower[] = [];

  beforeAll(async () => {
    // Without its snapshots, so that pages come from etcd, as they do where a list is older than what a server keeps.
    second = await startSecondApiServer(world.machines, '--feature-gates=ListFromCacheSnapshot=false');
  });
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });
  afterAll(() => second?.stop());

  function server(): RunningApiServer {
    if (second === undefined) throw new Error('the second API server is not up');
    return second;
  }

  async function followSecond(namespace: string): Promise<Follower> {
    const follower = await followServices({ ...world.machines, server: server().url }, namespace);
    open.push(follower);
    return follower;
  }

  it('says so, keeps what it knows, and after a restart and a compaction tells only what is different', async () => {
    const namespace = await newNamespace(world.admin);
    for (const name of ['changed', 'deleted', 'same']) await create(world.admin, service(namespace, name));
    const { source, changes, names, known } = await followSecond(namespace);
    expect(names()).toEqual(['changed', 'deleted', 'same']);

    await server().kill();
    await eventually(() => source.status.error !== undefined, 'the loss is told');
    expect(source.status.error).toContain(`Service: no answer from ${server().url}`);
    expect(source.status.error).toContain('is the API server running');
    expect(source.status.isSynced).toBe(true);
    expect(names()).toHaveLength(3);

    await create(world.admin, service(namespace, 'made'));
    await remove(world.admin, service(namespace, 'deleted'));
    await relabel(namespace, 'changed', 'now');
    await compact(world.machines.etcd);
    await server().start();
    await eventually(() => names().includes('made'), 'the difference is told');

    expect(changes).toHaveLength(2);
    expect(changes[1]?.upserts.map(({ object }) => object.metadata.name).sort()).toEqual(['changed', 'made']);
    expect(changes[1]?.removals).toEqual([`v1/Service/${namespace}/deleted`]);
    expect(known.get(`v1/Service/${namespace}/changed`)?.metadata.labels).toEqual({ at: 'now' });
    expect(source.kinds.get('Service')).toMatchObject({ lists: 2 });
    expect(source.status.error).toBeUndefined();
  });

  it('tells nothing after a restart in which nothing happened, and goes on', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    const { source, changes, names } = await followSecond(namespace);
    await server().kill();
    await eventually(() => source.status.error !== undefined, 'the loss is told');
    await server().start();
    await eventually(() => source.kinds.get('Service')?.state.name === 'watching', 'the watch is back');
    await create(world.admin, service(namespace, 'two'));
    await eventually(() => names().includes('two'), 'it goes on');
    expect(changes.map(({ upserts }) => upserts.map(({ object }) => object.metadata.name))).toEqual([
      ['one'],
      ['two'],
    ]);
  });

  it('starts while the API server is away, and is ready when that is', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    await server().kill();
    const following = followSecond(namespace);
    await server().start();
    expect((await following).names()).toEqual(['one']);
  });

  it('begins a list anew whose later pages etcd has forgotten', async () => {
    const namespace = await newNamespace(world.admin);
    for (const name of ['a', 'b', 'c']) await create(world.admin, service(namespace, name));
    const api = new ForgetfulClient(kubeConfigFor({ ...world.machines, server: server().url }, adminToken));
    api.beforeSecondPage = async () => {
      await remove(world.admin, service(namespace, 'a'));
      await compact(world.machines.etcd);
    };
    let names: (string | undefined)[] = [];
    let restarts = 0;
    await listPages(api, {
      path: `/api/v1/namespaces/${namespace}/services`,
      pageSize: 2,
      onPage: (items) => names.push(...items.map(({ metadata }) => metadata?.name)),
      onRestart: () => {
        names = [];
        restarts += 1;
      },
    });
    api.close();
    expect({ names, restarts }).toEqual({ names: ['b', 'c'], restarts: 1 });
  });

  async function relabel(namespace: string, name: string, at: string): Promise<void> {
    await world.admin.request<Stored>({
      method: 'PATCH',
      path: `/api/v1/namespaces/${namespace}/services/${name}`,
      body: { metadata: { labels: { at } } },
    });
  }
});

/** Between the first page and the second, something happens. */
class ForgetfulClient extends ApiClient {
  beforeSecondPage: (() => Promise<void>) | undefined;

  override async request<T>(request: ApiRequest): Promise<T> {
    if (request.query?.continue !== undefined) {
      await this.beforeSecondPage?.();
      this.beforeSecondPage = undefined;
    }
    return super.request<T>(request);
  }
}
