/** The Kubernetes source against a real API server: what it reads, what it tells, what it remembers. */
import { afterEach, expect, it } from 'vitest';
import { isBehind } from '../../src/xds/generation.ts';
import { installCustomResources, uninstallCustomResource } from './custom-resources.ts';
import { type Follower, follow, followServices } from './follower.ts';
import {
  create,
  describeWithApiServer,
  eventually,
  newNamespace,
  remove,
  type Stored,
  service,
} from './world.ts';

describeWithApiServer('the Kubernetes source', (world) => {
  const open: Follower[] = [];

  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  async function services(namespace: string, options: Parameters<typeof followServices>[2] = {}) {
    const follower = await followServices(world.machines, namespace, options);
    open.push(follower);
    return follower;
  }

  it('tells what is there as one change, then each difference', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    await create(world.admin, service(namespace, 'two'));
    const { changes, names } = await services(namespace);
    expect(changes).toHaveLength(1);
    expect(names()).toEqual(['one', 'two']);

    await create(world.admin, service(namespace, 'three'));
    await remove(world.admin, service(namespace, 'one'));
    await eventually(() => names().join() === 'three,two', 'the difference is told');
    const later = changes.slice(1);
    expect(later.flatMap(({ upserts }) => upserts.map(({ id }) => id))).toEqual([
      `v1/Service/${namespace}/three`,
    ]);
    expect(later.flatMap(({ removals }) => removals)).toEqual([`v1/Service/${namespace}/one`]);
  });

  it('says how much it has seen in numbers that another one shares', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    const [earlier, later] = [await services(namespace), await services(namespace)];
    const seen = ({ source }: Follower) => source.status.generation;
    expect(seen(earlier)).toMatchObject({ lineage: 'kubernetes' });
    await create(world.admin, service(namespace, 'two'));
    await eventually(() => later.names().length === 2 && earlier.names().length === 2, 'both are told');
    const both = seen(earlier);
    expect(isBehind(seen(later), both) || isBehind(both, seen(later))).toBe(false);
    await earlier.close();
    await create(world.admin, service(namespace, 'three'));
    await eventually(() => later.names().length === 3, 'one is told');
    expect(isBehind(both, seen(later))).toBe(true);
    expect(isBehind(seen(later), both)).toBe(false);
  });

  it('waits with its first change until every kind was read', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    const follower = follow(world.machines, {
      kinds: ['Namespace', 'Service', 'ServiceAccount'],
      selectors: { Service: { namespace }, ServiceAccount: { namespace } },
    });
    open.push(follower);
    expect(follower.source.status).toMatchObject({ isSynced: false });
    await follower.started;
    expect(follower.source.status).toMatchObject({ isSynced: true, error: undefined });
    expect(follower.changes).toHaveLength(1);
    expect([...follower.known.keys()]).toEqual(
      expect.arrayContaining([
        `v1/Namespace/${namespace}`,
        `v1/Service/${namespace}/one`,
        `v1/ServiceAccount/${namespace}/default`,
      ]),
    );
  });

  it('reads a list in pages', async () => {
    const namespace = await newNamespace(world.admin);
    const all = Array.from({ length: 7 }, (_, index) => `s${index}`);
    for (const name of all) await create(world.admin, service(namespace, name));
    const { changes, names, source } = await services(namespace, { pageSize: 3 });
    expect(names()).toEqual(all);
    expect(changes).toHaveLength(1);
    expect(source.kinds.get('Service')).toMatchObject({ lists: 1, objects: 7 });
  });

  it('goes on where it was when a watch ends, without a new list', async () => {
    const namespace = await newNamespace(world.admin);
    // The server takes whole seconds: each watch ends after one.
    const { names, source } = await services(namespace, { watchMs: 1 });
    for (const name of ['one', 'two', 'three']) {
      await create(world.admin, service(namespace, name));
      await eventually(() => names().includes(name), `${name} is told`);
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
    expect(source.kinds.get('Service')).toMatchObject({ lists: 1, state: { name: 'watching' } });
  });

  it('is moved on by bookmarks where nothing happens to its own objects', async () => {
    const namespace = await newNamespace(world.admin);
    const { source, names } = await services(namespace, { watchMs: 4_000 });
    const before = Number(source.kinds.get('Service')?.resourceVersion);
    const elsewhere = await create<Stored>(
      world.admin,
      service(await newNamespace(world.admin), 'elsewhere'),
    );
    const place = () => Number(source.kinds.get('Service')?.resourceVersion);
    await eventually(
      () => place() >= Number(elsewhere.metadata.resourceVersion),
      'a bookmark moves the place on',
    );
    expect(place()).toBeGreaterThan(before);
    expect(source.kinds.get('Service')).toMatchObject({ lists: 1 });
    // It brought nothing: a replica that has not heard of it lacks nothing.
    const { generation } = source.status;
    expect(generation?.positions.get('Service')).toBe(BigInt(place()));
    expect(generation?.told?.get('Service')).toBe(BigInt(before));
    const own = await create<Stored>(world.admin, service(namespace, 'own'));
    await eventually(() => names().length === 1, 'it is told');
    expect(source.status.generation?.told?.get('Service')).toBe(BigInt(own.metadata.resourceVersion));
  });

  it('hands over objects without what kubectl and the server wrote for themselves', async () => {
    const namespace = await newNamespace(world.admin);
    const manifest = service(namespace, 'one');
    const applied = {
      'kubectl.kubernetes.io/last-applied-configuration': '{"a":"b"}',
      'own.example/kept': 'yes',
    };
    await create(world.admin, { ...manifest, metadata: { ...manifest.metadata, annotations: applied } });
    const { known } = await services(namespace);
    const [object] = known.values();
    expect(object?.metadata.annotations).toEqual({ 'own.example/kept': 'yes' });
    expect(object?.metadata).not.toHaveProperty('managedFields');
  });

  it('finds a custom resource that is installed later, and loses its objects with it', async () => {
    const name = 'peerauthentications.security.istio.io';
    await uninstallCustomResource(world, name);
    const namespace = await newNamespace(world.admin);
    const follower = follow(world.machines, {
      kinds: ['PeerAuthentication', 'Service'],
      selectors: { Service: { namespace } },
    });
    open.push(follower);
    await follower.started;
    expect(follower.source.kinds.get('PeerAuthentication')?.state).toEqual({ name: 'absent' });
    expect(follower.source.status.error).toBeUndefined();
    expect(follower.source.status.unread).toEqual([
      { kind: 'PeerAuthentication', reason: expect.stringContaining('is not served by the cluster') },
    ]);

    await installCustomResources(world, name);
    await create(world.admin, {
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'strict', namespace },
      spec: { mtls: { mode: 'STRICT' } },
    });
    await eventually(() => follower.names().includes('strict'), 'the new kind is read');
    expect(follower.source.status.unread).toEqual([]);
    await uninstallCustomResource(world, name);
    await eventually(() => !follower.names().includes('strict'), 'its objects are gone with it');
    await eventually(
      () => follower.source.kinds.get('PeerAuthentication')?.state.name === 'absent',
      'the kind is absent again',
    );
  });

  it('keeps the last good version of an object that becomes bad, and names what is wrong', async () => {
    await installCustomResources(world, 'authorizationpolicies.security.istio.io');
    const namespace = await newNamespace(world.admin);
    const policy = (name: string, address: string) => ({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace },
      spec: { rules: [{ from: [{ source: { ipBlocks: [address] } }] }] },
    });
    const stored = await create<Stored>(world.admin, policy('turns-bad', '10.0.0.0/8'));
    await create(world.admin, policy('was-bad', 'nowhere'));
    const follower = follow(world.machines, {
      kinds: ['AuthorizationPolicy'],
      selectors: { AuthorizationPolicy: { namespace } },
    });
    open.push(follower);
    await follower.started;
    expect(follower.names()).toEqual(['turns-bad']);
    const id = (name: string) => `security.istio.io/v1/AuthorizationPolicy/${namespace}/${name}`;
    const good = follower.known.get(id('turns-bad'));

    await world.admin.request({
      method: 'PUT',
      path: `/apis/security.istio.io/v1/namespaces/${namespace}/authorizationpolicies/turns-bad`,
      body: { ...policy('turns-bad', 'elsewhere'), metadata: stored.metadata },
    });
    const rejected = () => follower.source.status.rejected.map((one) => one.id).sort();
    await eventually(() => rejected().length === 2, 'the bad version is rejected');
    expect(rejected()).toEqual([id('turns-bad'), id('was-bad')]);
    expect(follower.source.status.rejected[0]).toMatchObject({
      field: expect.stringContaining('ipBlocks'),
      reason: expect.stringContaining('is no address or range'),
      origin: expect.stringMatching(/^resource version \d+$/),
    });
    expect(follower.known.get(id('turns-bad'))).toBe(good);

    // One that was never good was never told, so neither is its end.
    await remove(world.admin, policy('was-bad', 'nowhere'));
    await remove(world.admin, policy('turns-bad', 'nowhere'));
    await eventually(() => follower.known.size === 0, 'the end of the good one is told');
    expect(follower.changes.flatMap(({ removals }) => removals)).toEqual([id('turns-bad')]);
    expect(follower.source.status.rejected).toEqual([]);
  });
});
