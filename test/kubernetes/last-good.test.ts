/** What is in force of policies that are bad when a control plane starts beside an API server: replicas tell each other. */
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.ts';
import { ApiClient, type ApiRequest } from '../../src/source/api-server/api-client.ts';
import { createApiServerSource } from '../../src/source/api-server/api-server-source.ts';
import { LastGoodConfigMap } from '../../src/source/api-server/last-good-config-map.ts';
import type { ObjectChange } from '../../src/source/object-source.ts';
import { accountWith, requestToken } from './accounts.ts';
import { installCustomResources } from './custom-resources.ts';
import { follow } from './follower.ts';
import { adminToken, clientFor, kubeConfigFor } from './machines.ts';
import { applyManifests, installRights, readManifests } from './manifests.ts';
import {
  collectionPath,
  create,
  describeWithApiServer,
  eventually,
  type Manifest,
  newNamespace,
  remove,
  type Stored,
} from './world.ts';

const rights = 'daemonset/control-plane-rbac.yaml';
const record = '/api/v1/namespaces/hadal-system/configmaps/hadal-last-good';
const good = { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['evil'] } }] }] };
const bad = { action: 'DENY', rules: [{ from: [{ source: { ipBlocks: ['nowhere'] } }] }] };
const allDenied = { action: 'DENY', rules: [{ when: [] }] };
const quick = { initialMs: 50, maxMs: 300 };

describeWithApiServer('a policy that is spoilt by an edit', (world) => {
  let token = '';
  let namespace = '';
  const open: (() => void | Promise<void>)[] = [];

  beforeAll(async () => {
    await installCustomResources(
      world,
      'authorizationpolicies.security.istio.io',
      'peerauthentications.security.istio.io',
    );
    await installRights(world.admin, rights);
    token = await requestToken(world.admin, 'hadal-system', 'hadal-control-plane');
  });
  beforeEach(async () => {
    namespace = await newNamespace(world.admin);
    await writeRecord('');
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  const policy = (spec: object, kind = 'AuthorizationPolicy'): Manifest => ({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name: 'p', namespace },
    spec,
  });
  const id = (kind = 'AuthorizationPolicy') => `security.istio.io/v1/${kind}/${namespace}/p`;

  async function edit(spec: object): Promise<Stored> {
    const path = `${collectionPath(policy(spec))}/p`;
    return world.admin.request<Stored>({ method: 'PATCH', path, body: { spec: { rules: null, ...spec } } });
  }

  async function writeRecord(text: string): Promise<void> {
    await world.admin.request({ method: 'PATCH', path: record, body: { data: { 'last-good.json': text } } });
  }
  async function readRecord(): Promise<string> {
    const { data } = await world.admin.request<{ data?: Record<string, string> }>({ path: record });
    return data?.['last-good.json'] ?? '';
  }

  /** A replica under the rights of its manifest. Once it leads it writes. */
  async function replica(api: ApiClient = client()) {
    const lastGood = new LastGoodConfigMap(api, {
      namespace: 'hadal-system',
      logger: silentLogger,
      backoff: quick,
    });
    const { source, known, started, close } = follow(world.machines, {
      kinds: ['AuthorizationPolicy', 'PeerAuthentication'],
      selectors: { AuthorizationPolicy: { namespace }, PeerAuthentication: { namespace } },
      token,
      lastGood,
    });
    open.push(close);
    await started;
    const lead = () => {
      const ending = new AbortController();
      const writing = lastGood.run(ending.signal);
      open.push(async () => {
        ending.abort();
        await writing;
      });
    };
    const spec = (kind?: string) => {
      const object = known.get(id(kind));
      return object !== undefined && 'spec' in object ? object.spec : undefined;
    };
    return { source, known, spec, lead };
  }

  function client(): ApiClient {
    const api = clientFor(world.machines, token);
    open.push(() => api.close());
    return api;
  }

  it('keeps its last good version for replicas that start after the edit, until it is good again', async () => {
    await create(world.admin, policy(good));
    const one = await replica();
    one.lead();
    await edit(bad);
    await eventually(async () => (await readRecord()).includes('evil'), 'it is written down');
    const two = await replica();
    expect(two.spec()).toMatchObject(good);
    expect(two.source.status.rejected).toMatchObject([{ inForce: 'last good version', generation: 2 }]);
    await edit({ ...good, action: 'ALLOW' });
    await eventually(async () => (await readRecord()) === '', 'it is forgotten');
    await eventually(() => JSON.stringify(two.spec()).includes('ALLOW'), 'the next good version is in force');
    await edit(bad);
    await eventually(async () => (await readRecord()).includes('ALLOW'), 'it is written down again');
    await remove(world.admin, policy(bad));
    await eventually(async () => (await readRecord()) === '', 'it is forgotten with the object');
    expect([one.known.size, two.known.size]).toEqual([0, 0]);
  });

  it('is refused by one that nobody told, until somebody does', async () => {
    await create(world.admin, policy(good));
    const one = await replica();
    await edit(bad);
    await eventually(() => one.source.status.rejected.length === 1, 'the edit is seen');
    const two = await replica();
    expect(two.spec()).toMatchObject(allDenied);
    expect(two.source.status.rejected).toMatchObject([
      {
        inForce: 'placeholder',
        reason: expect.stringMatching(/no good version of it is known.*correct it, or delete it/),
      },
    ]);
    // The one that saw it good comes to lead.
    one.lead();
    await eventually(() => JSON.stringify(two.spec()).includes('evil'), 'the last good version is in force');
    expect(two.source.status.rejected).toMatchObject([{ inForce: 'last good version' }]);
  });

  it('is not in force if it is new, wherever one reads it', async () => {
    const one = await replica();
    one.lead();
    await create(world.admin, policy(bad));
    await eventually(() => one.source.status.rejected.length === 1, 'it is seen');
    await edit({ ...bad, action: 'ALLOW' });
    await eventually(async () => (await readRecord()).includes(id()), 'it is written down');
    const two = await replica();
    for (const each of [one, two]) {
      expect(each.known.size).toBe(0);
      expect(each.source.status.rejected).toMatchObject([{ inForce: 'nothing' }]);
    }
  });

  it('is strict, if it is a PeerAuthentication that nobody knows', async () => {
    await create(world.admin, policy({ mtls: { mode: 'STRICT' } }, 'PeerAuthentication'));
    const path = `${collectionPath(policy({}, 'PeerAuthentication'))}/p`;
    // The server takes this for port 80; here it is no port.
    const selector = { matchLabels: { app: 'front' } };
    const spec = { selector, portLevelMtls: { '080': { mode: 'DISABLE' } } };
    await world.admin.request({ method: 'PATCH', path, body: { spec } });
    const { spec: inForce, source } = await replica();
    expect(inForce('PeerAuthentication')).toEqual({ selector, mtls: { mode: 'STRICT' }, portLevelMtls: {} });
    expect(source.status.rejected).toMatchObject([{ inForce: 'placeholder' }]);
  });

  it('is written down also when somebody else writes in between (409)', async () => {
    await create(world.admin, policy(good));
    const api = new InterruptedClient(kubeConfigFor(world.machines, token));
    open.push(() => api.close());
    api.beforePut = async () => {
      const annotations = { 'example.test/by': 'somebody' };
      await world.admin.request({ method: 'PATCH', path: record, body: { metadata: { annotations } } });
    };
    const one = await replica(api);
    await edit(bad);
    await eventually(() => one.source.status.rejected.length === 1, 'the edit is seen');
    one.lead();
    await eventually(async () => (await readRecord()).includes('evil'), 'it is written down');
    expect(api.conflicts).toBe(1);
    const stored = await world.admin.request<Stored>({ path: record });
    expect(stored.metadata.annotations).toEqual({ 'example.test/by': 'somebody' });
  });

  it.each([
    ['is broken', '{"version":1,', undefined],
    ['is of another form', '{"version":7}', undefined],
  ])('is refused where the record %s', async (_, text) => {
    await create(world.admin, policy(good));
    await edit(bad);
    await writeRecord(text);
    const one = await replica();
    expect(one.spec()).toMatchObject(allDenied);
    // The next leader mends it.
    one.lead();
    await eventually(async () => (await readRecord()) === '', 'it is whole again');
    await writeRecord(text);
    await eventually(async () => (await readRecord()) === '', 'it is whole also after somebody else');
  });

  it('is refused, and the way out named, where the record is not there or may not be read', async () => {
    await create(world.admin, policy(good));
    await edit(bad);
    await world.admin.request({ method: 'DELETE', path: record });
    const one = await replica();
    expect(one.spec()).toMatchObject(allDenied);
    expect(one.source.status.problems).toEqual([
      expect.stringMatching(
        /no ConfigMap hadal-system\/hadal-last-good.*apply daemonset\/control-plane-rbac.yaml/,
      ),
    ]);
    await applyManifests(world.admin, readManifests(rights));
    await eventually(() => one.source.status.problems?.length === 0, 'it is there again');

    const account = await accountWith(world.admin, namespace, [
      { apiGroups: ['security.istio.io'], resources: ['*'], verbs: ['list', 'watch'] },
    ]);
    const api = clientFor(world.machines, account.token);
    open.push(() => api.close());
    const two = await replica(api);
    expect(two.spec()).toMatchObject(allDenied);
    expect(two.source.status.problems?.[0]).toContain('add the verb "list" for the resource "configmaps"');
  });
});

describeWithApiServer('a kind of policies that a server does not serve at once', (world) => {
  const open: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  it('is waited for: the first word is not that there are none', async () => {
    await installCustomResources(world, 'authorizationpolicies.security.istio.io');
    const namespace = await newNamespace(world.admin);
    await create(world.admin, {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace },
      spec: good,
    });
    const api = new UnreadyClient(kubeConfigFor(world.machines, adminToken));
    open.push(() => api.close());
    const source = createApiServerSource(api, {
      kinds: ['AuthorizationPolicy'],
      selectors: { AuthorizationPolicy: { namespace } },
      backoff: quick,
      absentMs: 60_000,
    });
    open.push(() => source.close());
    const changes: ObjectChange[] = [];
    await source.start((change) => changes.push(change));
    expect(changes[0]?.upserts.map(({ object }) => object.metadata.name)).toEqual(['p']);
    expect(api.refused).toBe(4);
    expect(source.status.unread).toEqual([]);
  });
});

/** Somebody else writes just before its first update. */
class InterruptedClient extends ApiClient {
  beforePut: (() => Promise<void>) | undefined;
  conflicts = 0;

  override async request<T>(request: ApiRequest): Promise<T> {
    if (request.method === 'PUT') {
      await this.beforePut?.();
      this.beforePut = undefined;
    }
    try {
      return await super.request<T>(request);
    } catch (error) {
      if ((error as { status?: number }).status === 409) this.conflicts += 1;
      throw error;
    }
  }
}

/** For the first lists its server does not know the group, as one that has just started; both versions of it, twice. */
class UnreadyClient extends ApiClient {
  refused = 0;

  override async request<T>(request: ApiRequest): Promise<T> {
    if (this.refused === 4) return super.request<T>(request);
    this.refused += 1;
    return super.request<T>({ ...request, path: request.path.replace('security.istio.io', 'not.served') });
  }
}
