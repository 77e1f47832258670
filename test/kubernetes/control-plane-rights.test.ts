/** Everything that a control plane does in Kubernetes, under exactly the rights of daemonset/control-plane-rbac.yaml. */
import { afterEach, beforeAll, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.ts';
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { type ConditionKind, ConditionWriter } from '../../src/source/api-server/condition-writer.ts';
import { LeaderElection } from '../../src/source/api-server/leader-election.ts';
import { createLivePods } from '../../src/source/api-server/live-pods.ts';
import { apiResourceOf } from '../../src/source/api-server/resources.ts';
import { createTokenReviewer } from '../../src/source/api-server/token-review.ts';
import { meshKinds } from '../../src/source/kubernetes/objects.ts';
import { requestToken } from './accounts.ts';
import { installCustomResources } from './custom-resources.ts';
import { follow } from './follower.ts';
import { clientFor } from './machines.ts';
import { applyManifests, installRights, readManifests } from './manifests.ts';
import {
  create,
  describeWithApiServer,
  eventually,
  type Manifest,
  newNamespace,
  pod,
  service,
} from './world.ts';

const rights = 'daemonset/control-plane-rbac.yaml';

describeWithApiServer('a control plane with the rights of its manifest', (world) => {
  let token = '';
  let namespace = '';
  const open: (() => void | Promise<void>)[] = [];

  beforeAll(async () => {
    await installCustomResources(
      world,
      'authorizationpolicies.security.istio.io',
      'peerauthentications.security.istio.io',
      'serviceentries.networking.istio.io',
      'workloadentries.networking.istio.io',
      'sidecars.networking.istio.io',
      'gateways.gateway.networking.k8s.io',
      'gatewayclasses.gateway.networking.k8s.io',
      'httproutes.gateway.networking.k8s.io',
      'grpcroutes.gateway.networking.k8s.io',
      'tlsroutes.gateway.networking.k8s.io',
    );
    await installRights(world.admin, rights);
    token = await requestToken(world.admin, 'hadal-system', 'hadal-control-plane');
    namespace = await newNamespace(world.admin);
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  function client(): ApiClient {
    const api = clientFor(world.machines, token);
    open.push(() => api.close());
    return api;
  }

  it('reads every kind', async () => {
    const follower = follow(world.machines, { token });
    open.push(() => follower.close());
    await eventually(
      () => follower.source.status.isSynced || follower.source.status.error !== undefined,
      'the first read',
    );
    await eventually(
      () =>
        [...follower.source.kinds.values()].every(({ state }) => ['watching', 'absent'].includes(state.name)),
      'every kind is watched',
    ).catch(() => {});
    expect(follower.source.status.error).toBeUndefined();
    const states = [...follower.source.kinds].map(([kind, { state }]) => [kind, state.name]);
    // No standard release of the Gateway API has TCPRoute.
    expect(states).toEqual(
      meshKinds().map((kind) => [kind, `${kind}` === 'TCPRoute' ? 'absent' : 'watching']),
    );
  });

  it.each(meshKinds())('has list and watch for %s in its manifest', (kind) => {
    const { group, plural } = apiResourceOf(kind);
    const rules = readManifests(rights).flatMap(({ kind: of, rules: all }) =>
      of === 'ClusterRole' ? (all as Rule[]) : [],
    );
    const granting = rules.filter(
      (rule) => rule.apiGroups.includes(group) && rule.resources.includes(plural),
    );
    expect(granting.flatMap(({ verbs }) => verbs)).toEqual(expect.arrayContaining(['list', 'watch']));
  });

  it('reads no kind of which the mesh has no use', () => {
    const granted = readManifests(rights).flatMap(({ kind: of, rules: all }) =>
      of === 'ClusterRole' ? (all as Rule[]).filter(({ verbs }) => verbs.includes('list')) : [],
    );
    const watched = meshKinds().map((kind) => apiResourceOf(kind).plural);
    expect(granted.flatMap(({ resources }) => resources).sort()).toEqual(watched.sort());
  });

  it('asks whose a token is, and reads pods live', async () => {
    const review = await createTokenReviewer(client()).review(
      token,
      ['https://kubernetes.default.svc'],
      AbortSignal.timeout(5_000),
    );
    expect(review).toMatchObject({
      authenticated: true,
      username: 'system:serviceaccount:hadal-system:hadal-control-plane',
    });
    await create(world.admin, pod(namespace, 'live'));
    const live = createLivePods(client());
    expect(await live.pod(namespace, 'live', AbortSignal.timeout(5_000))).toMatchObject({ name: 'live' });
    expect([...(await live.podsOf(namespace, 'default', AbortSignal.timeout(5_000)))]).toHaveLength(1);
  });

  it('takes and gives back the lease of its writers', async () => {
    const election = new LeaderElection(client(), {
      namespace: 'hadal-system',
      name: 'hadal-control-plane',
      identity: 'test',
      leaseMs: 2_000,
      onLead: () => {},
    });
    election.start();
    await eventually(() => election.isLeader, 'it leads');
    await election.close();
    const path = '/apis/coordination.k8s.io/v1/namespaces/hadal-system/leases/hadal-control-plane';
    expect(await world.admin.request({ path })).toMatchObject({ spec: { holderIdentity: '' } });
  });

  it.each<[ConditionKind, () => Manifest]>([
    ['Service', () => service(namespace, 'web')],
    ['AuthorizationPolicy', () => istio('security.istio.io/v1', 'AuthorizationPolicy', {})],
    ['PeerAuthentication', () => istio('security.istio.io/v1', 'PeerAuthentication', {})],
    [
      'ServiceEntry',
      () =>
        istio('networking.istio.io/v1', 'ServiceEntry', {
          hosts: ['example.test'],
          ports: [{ number: 80, name: 'http' }],
          resolution: 'DNS',
        }),
    ],
    [
      'Gateway',
      () =>
        istio('gateway.networking.k8s.io/v1', 'Gateway', {
          gatewayClassName: 'waypoint',
          listeners: [{ name: 'mesh', port: 15008, protocol: 'HTTP' }],
        }),
    ],
  ])('writes the status of a %s', async (kind, manifest) => {
    await applyManifests(world.admin, [manifest()]);
    const writer = new ConditionWriter(client(), { logger: silentLogger, perSecond: 1_000 });
    const ending = new AbortController();
    const running = writer.run(ending.signal);
    open.push(async () => {
      ending.abort();
      await running;
    });
    const type = {
      Service: 'istio.io/WaypointBound',
      ServiceEntry: 'istio.io/WaypointBound',
      Gateway: 'Programmed',
    }[kind as string];
    const condition = {
      type: type ?? 'ZtunnelAccepted',
      isTrue: true,
      reason: 'Accepted',
      message: 'enforced by agents',
    };
    const { name } = manifest().metadata;
    writer.set({ kind, namespace, name }, [condition]);
    await eventually(() => writer.waiting === 0, 'it is written');
    const { group, plural, versions } = apiResourceOf(kind);
    const path = `${group === '' ? '/api' : `/apis/${group}`}/${versions[0]}/namespaces/${namespace}/${plural}/${name}`;
    const stored = await world.admin.request<{ status: { conditions: object[] } }>({ path });
    expect(stored.status.conditions).toContainEqual(
      expect.objectContaining({
        type: condition.type,
        status: 'True',
        reason: 'Accepted',
        message: 'enforced by agents',
      }),
    );
  });

  it('may write nothing else', async () => {
    const api = client();
    const refused = { code: 'ERR_KUBERNETES_FORBIDDEN' };
    const path = `/api/v1/namespaces/${namespace}/services`;
    await expect(api.request({ path: `/api/v1/namespaces/${namespace}/secrets` })).rejects.toMatchObject(
      refused,
    );
    await expect(
      api.request({ method: 'POST', path, body: service(namespace, 'evil') }),
    ).rejects.toMatchObject(refused);
    await expect(api.request({ method: 'PATCH', path: `${path}/web`, body: {} })).rejects.toMatchObject(
      refused,
    );
    await expect(api.request({ method: 'DELETE', path: `${path}/web` })).rejects.toMatchObject(refused);
    const lease = '/apis/coordination.k8s.io/v1/namespaces/hadal-system/leases/other';
    await expect(api.request({ path: lease })).rejects.toMatchObject(refused);
    const maps = '/api/v1/namespaces/hadal-system/configmaps';
    const own = `${maps}/hadal-last-good`;
    const other = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'other', namespace: 'hadal-system' },
    };
    await expect(api.request({ path: own })).resolves.toMatchObject({ kind: 'ConfigMap' });
    await expect(api.request({ path: maps })).rejects.toMatchObject(refused);
    await expect(api.request({ path: `${maps}/other` })).rejects.toMatchObject(refused);
    await expect(api.request({ method: 'POST', path: maps, body: other })).rejects.toMatchObject(refused);
    await expect(api.request({ method: 'DELETE', path: own })).rejects.toMatchObject(refused);
  });

  function istio(apiVersion: string, kind: string, spec: object): Manifest {
    return { apiVersion, kind, metadata: { name: 'some', namespace }, spec };
  }
});

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}
