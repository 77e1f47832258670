/** The bookshop's manifests, once through a real API server and once through a directory: the same objects, the same mesh. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { silentLogger } from '../../src/base/logger.ts';
import { MeshTranslation } from '../../src/controlplane/mesh-translation.ts';
import { createSnapshot, type MeshSnapshot } from '../../src/model/snapshot.ts';
import { DirectorySource } from '../../src/source/directory/directory-source.ts';
import type { KnownObject } from '../../src/source/kubernetes/objects.ts';
import type { ObjectChange, ObjectId } from '../../src/source/object-source.ts';
import { defaultMeshNames } from '../../src/source/translate/context.ts';
import { installCustomResources } from './custom-resources.ts';
import { follow } from './follower.ts';
import { applyManifests, readManifests } from './manifests.ts';
import { collectionPath, describeWithApiServer, eventually, type Manifest, type World } from './world.ts';

describeWithApiServer('the bookshop', (world) => {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-bookshop-'));
  let fromServer: ObjectChange = { upserts: [], removals: [] };
  let fromDirectory: ObjectChange = { upserts: [], removals: [] };

  beforeAll(async () => {
    const policies = ['authorizationpolicies.security.istio.io', 'peerauthentications.security.istio.io'];
    await installCustomResources(world, ...policies);
    const manifests = [
      ...nodes,
      ...readManifests('examples/bookshop/bookshop.yaml').filter(inCluster).map(asPulled),
      ...rules,
    ];
    await applyManifests(world.admin, manifests);
    const running = await run(world, manifests);
    for (const [index, manifest] of running.entries()) {
      writeFileSync(join(directory, `${index}.yaml`), stringify(manifest));
    }
    fromServer = await readServer(world);
    fromDirectory = await readDirectory(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('gives the same objects, one by one', () => {
    const expected = normalised(fromDirectory);
    const got = normalised(fromServer);
    expect([...expected.keys()].length).toBeGreaterThan(15);
    for (const [id, object] of expected) expect(got.get(id), id).toEqual(object);
    // The rest is what a cluster makes by itself.
    const more = [...got.keys()].filter((id) => !expected.has(id));
    expect(more.filter((id) => !/\/(EndpointSlice|ServiceAccount)\/shop\//.test(id))).toEqual([]);
  });

  it('gives the same mesh, resource by resource', () => {
    const [server, directoryMesh] = [meshOf(fromServer), meshOf(fromDirectory)];
    expect(server.workloads.size).toBe(5);
    expect(server.services.size).toBe(4);
    expect(server.policies.size).toBeGreaterThanOrEqual(2);
    for (const kind of ['workloads', 'services', 'policies'] as const) {
      expect([...server[kind].keys()].sort()).toEqual([...directoryMesh[kind].keys()].sort());
      for (const [name, resource] of directoryMesh[kind])
        expect(server[kind].get(name), name).toEqual(resource);
    }
  });
});

/** Without them the cluster gives no pod to a service. */
const nodes: readonly Manifest[] = ['a', 'b'].map((name) => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name,
    labels: { 'topology.kubernetes.io/region': 'here', 'topology.kubernetes.io/zone': `zone-${name}` },
  },
}));

/** Policies beside what the example has: what is refused must not depend on where it was read. */
const rules: readonly Manifest[] = [
  {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'catalog', namespace: 'shop' },
    spec: {
      selector: { matchLabels: { app: 'catalog' } },
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/front'] } }] }],
    },
  },
  {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: 'default', namespace: 'shop' },
    spec: { mtls: { mode: 'STRICT' } },
  },
];

/** What only the lab knows stays there. */
function inCluster({ apiVersion }: Manifest): boolean {
  return !apiVersion.startsWith('lab.hadal.io');
}

/** A cluster wants an image; the lab runs programs. */
function asPulled(manifest: Manifest): Manifest {
  if (manifest.kind !== 'Pod') return manifest;
  const { containers, ...spec } = manifest.spec as { containers: object[] };
  return {
    ...manifest,
    spec: { ...spec, containers: containers.map((one) => ({ image: 'none.invalid/none', ...one })) },
  };
}

/** Gives pods what a kubelet and a CNI give them, and returns the manifests with that and with the services' addresses. */
async function run({ admin }: World, manifests: readonly Manifest[]): Promise<Manifest[]> {
  const running: Manifest[] = [];
  let address = 0;
  for (const manifest of manifests) {
    const path = `${collectionPath(manifest)}/${manifest.metadata.name}`;
    if (manifest.kind === 'Pod') {
      address += 1;
      const ip = `10.244.1.${address}`;
      const status = {
        phase: 'Running',
        podIP: ip,
        podIPs: [{ ip }],
        conditions: [{ type: 'Ready', status: 'True' }],
      };
      const annotations = { 'ambient.istio.io/redirection': 'enabled' };
      await admin.request({
        method: 'PATCH',
        path: `${path}/status`,
        body: { metadata: { annotations }, status },
      });
      running.push({ ...manifest, metadata: { ...manifest.metadata, annotations }, status });
    } else if (manifest.kind === 'Service') {
      const { spec } = await admin.request<{ spec: Record<string, unknown> }>({ path });
      const { clusterIP, clusterIPs, ipFamilies, ipFamilyPolicy } = spec;
      const given = { clusterIP, clusterIPs, ipFamilies, ipFamilyPolicy };
      running.push({ ...manifest, spec: { ...(manifest.spec as object), ...given } });
    } else running.push(manifest);
  }
  return running;
}

/** Once the cluster's own controllers have made their part. */
async function readServer({ machines }: World): Promise<ObjectChange> {
  const shop = { namespace: 'shop' };
  const names = { fieldSelector: 'metadata.name=shop' };
  const follower = follow(machines, {
    kinds: [
      'Namespace',
      'Node',
      'ServiceAccount',
      'Pod',
      'Service',
      'EndpointSlice',
      'AuthorizationPolicy',
      'PeerAuthentication',
    ],
    selectors: {
      Namespace: names,
      ServiceAccount: shop,
      Pod: shop,
      Service: shop,
      EndpointSlice: shop,
      AuthorizationPolicy: shop,
      PeerAuthentication: shop,
    },
  });
  await follower.started;
  const slices = () =>
    [...follower.known.values()].filter(
      (object) => object.kind === 'EndpointSlice' && object.endpoints.length > 0,
    );
  await eventually(() => slices().length === 4, 'every service has its endpoints');
  await follower.close();
  return { upserts: [...follower.known].map(([id, object]) => ({ id, object })), removals: [] };
}

async function readDirectory(directory: string): Promise<ObjectChange> {
  const source = new DirectorySource({ directory, logger: silentLogger });
  let first: ObjectChange | undefined;
  await source.start((change) => {
    first ??= change;
  });
  expect(source.status.rejected).toEqual([]);
  await source.close();
  return first ?? { upserts: [], removals: [] };
}

/** The one place that knows what an API server adds to each object that it stores. */
function normalised({ upserts }: ObjectChange): Map<ObjectId, KnownObject> {
  return new Map(
    upserts.map(({ id, object }) => {
      const { 'kubernetes.io/metadata.name': _, ...labels } = object.metadata.labels;
      // The server counts the versions of a spec.
      const { generation: __, ...written } = object.metadata;
      const metadata = { ...written, uid: '', creationTimestamp: '', labels };
      return [id, { ...withTargetPorts(object), metadata } as KnownObject];
    }),
  );
}

/** A port without a target is its own, which the server writes down. */
function withTargetPorts(object: KnownObject): KnownObject {
  if (object.kind !== 'Service') return object;
  const ports = object.spec.ports.map((port) => ({ ...port, targetPort: port.targetPort ?? port.port }));
  return { ...object, spec: { ...object.spec, ports } };
}

function meshOf(change: ObjectChange): MeshSnapshot {
  const translation = new MeshTranslation(defaultMeshNames);
  const upserts = [...normalised(change)].map(([id, object]) => ({ id, object }));
  translation.apply({ upserts, removals: [] });
  translation.work();
  expect(translation.problems).toEqual([]);
  const { workloads, services, policies } = translation.take();
  return createSnapshot({
    workloads: workloads.upserts,
    services: services.upserts,
    policies: policies.upserts,
  });
}
