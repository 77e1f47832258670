/** What is written back to Kubernetes: conditions of objects, and the annotation of pods that an agent holds. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import type { AgentScope } from '../../src/agent/parts.ts';
import { type PodAnnotations, startPodAnnotations } from '../../src/agent/pod-annotations.ts';
import { Lifecycle } from '../../src/base/lifecycle.ts';
import { LogRoot, silentLogger } from '../../src/base/logger.ts';
import type { StoredPod } from '../../src/enrolment/pod-store.ts';
import { createWorkload } from '../../src/model/workload.ts';
import {
  type ApiClient,
  type ApiRequest,
  ApiClient as Client,
} from '../../src/source/api-server/api-client.ts';
import { ConditionWriter, type StatusCondition } from '../../src/source/api-server/condition-writer.ts';
import {
  type AnnotatedPod,
  RedirectionAnnotations,
} from '../../src/source/api-server/redirection-annotation.ts';
import { requestToken } from './accounts.ts';
import { installCustomResources } from './custom-resources.ts';
import { follow } from './follower.ts';
import { adminToken, clientFor, kubeConfigFor } from './machines.ts';
import { installRights } from './manifests.ts';
import {
  collectionPath,
  create,
  describeWithApiServer,
  eventually,
  type Manifest,
  newNamespace,
  pod,
  remove,
  type Stored,
  service,
} from './world.ts';

const bound: StatusCondition = {
  type: 'istio.io/WaypointBound',
  isTrue: true,
  reason: 'WaypointAccepted',
  message: 'bound to waypoint shop/waypoint',
};

describeWithApiServer('the status of objects', (world) => {
  const open: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  function running<T extends { run(signal: AbortSignal): Promise<void> }>(writer: T): T {
    const ending = new AbortController();
    const done = writer.run(ending.signal);
    open.push(async () => {
      ending.abort();
      await done;
    });
    return writer;
  }

  function writerWith(api: ApiClient): ConditionWriter {
    return running(new ConditionWriter(api, { logger: silentLogger, perSecond: 1_000 }));
  }

  async function newService(): Promise<{ kind: 'Service'; namespace: string; name: string }> {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'web'));
    return { kind: 'Service', namespace, name: 'web' };
  }

  async function read({ namespace, name }: { namespace: string; name: string }) {
    const path = `/api/v1/namespaces/${namespace}/services/${name}`;
    return world.admin.request<Stored & { status: { conditions?: Record<string, unknown>[] } }>({ path });
  }

  it('is written once, and not again while it says the same', async () => {
    const target = await newService();
    const writer = writerWith(world.admin);
    writer.set(target, [bound]);
    await eventually(() => writer.waiting === 0, 'it is written');
    const first = await read(target);
    expect(first.status.conditions).toEqual([
      {
        type: 'istio.io/WaypointBound',
        status: 'True',
        reason: 'WaypointAccepted',
        message: 'bound to waypoint shop/waypoint',
        lastTransitionTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      },
    ]);
    writer.set(target, [{ ...bound }]);
    // The next leader looks, and finds nothing to write.
    const next = writerWith(world.admin);
    next.set(target, [bound]);
    await eventually(() => writer.waiting + next.waiting === 0, 'both have looked');
    expect([writer.writes, next.writes]).toEqual([1, 0]);
    expect((await read(target)).metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  it('changes its time only with its state, leaves the conditions of others, and goes when it is not wished for', async () => {
    const target = await newService();
    const others = {
      type: 'example.test/Own',
      status: 'True',
      reason: 'Yes',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    const old = { ...others, type: 'istio.io/WaypointBound', reason: 'Old' };
    const path = `/api/v1/namespaces/${target.namespace}/services/web/status`;
    await world.admin.request({ method: 'PATCH', path, body: { status: { conditions: [others, old] } } });
    const writer = writerWith(world.admin);
    writer.set(target, [bound]);
    await eventually(() => writer.waiting === 0, 'it is written');
    expect((await read(target)).status.conditions).toEqual([
      others,
      expect.objectContaining({ reason: 'WaypointAccepted', lastTransitionTime: '2026-01-01T00:00:00Z' }),
    ]);
    writer.set(target, [{ ...bound, isTrue: false }]);
    await eventually(() => writer.waiting === 0, 'it is written again');
    const changed = (await read(target)).status.conditions?.[1];
    expect(changed).toMatchObject({ status: 'False' });
    expect(changed?.lastTransitionTime).not.toBe('2026-01-01T00:00:00Z');
    writer.set(target, []);
    await eventually(() => writer.waiting === 0, 'it is taken away');
    expect((await read(target)).status.conditions).toEqual([others]);
  });

  it('is compared again when somebody else wrote in between (409)', async () => {
    const target = await newService();
    const own = {
      type: 'example.test/Own',
      status: 'True',
      reason: 'Yes',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    const api = new InterruptedClient(kubeConfigFor(world.machines, adminToken));
    open.push(() => api.close());
    api.beforePatch = async () => {
      const path = `/api/v1/namespaces/${target.namespace}/services/web/status`;
      await world.admin.request({ method: 'PATCH', path, body: { status: { conditions: [own] } } });
    };
    const writer = writerWith(api);
    writer.set(target, [bound]);
    await eventually(() => writer.waiting === 0, 'it is written');
    expect(api.conflicts).toBe(1);
    const types = (await read(target)).status.conditions?.map(({ type }) => type);
    expect(types).toEqual(['example.test/Own', 'istio.io/WaypointBound']);
  });

  it('of an object that is gone is forgotten', async () => {
    const target = await newService();
    await remove(world.admin, service(target.namespace, 'web'));
    const writer = writerWith(world.admin);
    writer.set(target, [bound]);
    await eventually(() => writer.waiting === 0, 'it is given up');
    expect(writer.writes).toBe(0);
  });

  it('is of the generation that was weighed, and follows it though it says the same', async () => {
    await installCustomResources(world, 'authorizationpolicies.security.istio.io');
    const target = {
      kind: 'AuthorizationPolicy',
      namespace: await newNamespace(world.admin),
      name: 'p',
    } as const;
    const { namespace, name } = target;
    const policy: Manifest = {
      apiVersion: 'security.istio.io/v1',
      kind: target.kind,
      metadata: { name, namespace },
    };
    await create(world.admin, { ...policy, spec: {} });
    const path = `${collectionPath(policy)}/p`;
    await world.admin.request({ method: 'PATCH', path, body: { spec: { action: 'DENY' } } });
    const writer = writerWith(world.admin);
    for (const generation of [1, 2]) {
      writer.set(target, [{ ...bound, type: 'ZtunnelAccepted' }], generation);
      await eventually(() => writer.waiting === 0, 'it is written');
      const { status } = await world.admin.request<{ status: { conditions: object[] } }>({ path });
      expect(status.conditions).toMatchObject([{ observedGeneration: generation }]);
    }
  });

  it('is written under the version that the server serves', async () => {
    const name = 'serviceentries.networking.istio.io';
    const definition = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`;
    await installCustomResources(world, name);
    const { spec } = await world.admin.request<{ spec: { versions: { name: string; served: boolean }[] } }>({
      path: definition,
    });
    const serve = (isServed: (version: string) => boolean) => {
      const versions = spec.versions.map((each) => ({ ...each, served: isServed(each.name) }));
      return world.admin.request({ method: 'PATCH', path: definition, body: { spec: { versions } } });
    };
    await serve((version) => version !== 'v1');
    try {
      const target = { kind: 'ServiceEntry', namespace: await newNamespace(world.admin), name: 'e' } as const;
      const entry: Manifest = {
        apiVersion: 'networking.istio.io/v1beta1',
        kind: 'ServiceEntry',
        metadata: { name: 'e', namespace: target.namespace },
        spec: { hosts: ['example.test'], ports: [{ number: 80, name: 'http' }], resolution: 'NONE' },
      };
      const path = `${collectionPath(entry).replace('serviceentrys', 'serviceentries')}`;
      await world.admin.request({ method: 'POST', path, body: entry });
      const follower = follow(world.machines, { kinds: ['ServiceEntry'] });
      open.push(() => follower.close());
      await follower.started;
      await eventually(() => follower.names().includes('e'), 'it is read');
      const versionOf = () => follower.source.kinds.get('ServiceEntry')?.version;
      expect(versionOf()).toBe('v1beta1');
      const writer = running(
        new ConditionWriter(world.admin, { logger: silentLogger, perSecond: 1_000, versionOf }),
      );
      writer.set(target, [bound]);
      await eventually(() => writer.waiting === 0, 'it is written');
      expect(writer.writes).toBe(1);
    } finally {
      await serve(() => true);
    }
  });

  it('is written at a limited rate', async () => {
    const target = await newService();
    const names = Array.from({ length: 6 }, (_, index) => `s${index}`);
    for (const name of names) await create(world.admin, service(target.namespace, name));
    const writer = running(new ConditionWriter(world.admin, { logger: silentLogger, perSecond: 10 }));
    const begun = performance.now();
    for (const name of names) writer.set({ ...target, name }, [bound]);
    await eventually(() => writer.waiting === 0, 'all are written');
    expect(performance.now() - begun).toBeGreaterThan(450);
  });
});

describeWithApiServer('the annotation of pods that an agent holds', (world) => {
  const node = 'node-a';
  let namespace = '';
  let token = '';
  const open: (() => void | Promise<void>)[] = [];

  beforeAll(async () => {
    await installRights(world.admin, 'daemonset/agent-rbac.yaml');
    const { metadata } = await create<Stored>(
      world.admin,
      pod('hadal-system', `agent-${process.pid}`, { node, serviceAccount: 'hadal-agent' }),
    );
    token = await requestToken(world.admin, 'hadal-system', 'hadal-agent', {
      boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: metadata.name, uid: metadata.uid },
    });
    namespace = await newNamespace(world.admin);
    await policyInForce();
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  function agent(): { api: ApiClient; annotations: RedirectionAnnotations; errors: string[] } {
    const api = clientFor(world.machines, token);
    const errors: string[] = [];
    const logger = { warn: ({ error }: { error: Error }) => errors.push(error.message) };
    const annotations = new RedirectionAnnotations(api, { logger: logger as never, perSecond: 1_000 });
    const ending = new AbortController();
    const done = annotations.run(ending.signal);
    open.push(
      () => api.close(),
      async () => {
        ending.abort();
        await done;
      },
    );
    return { api, annotations, errors };
  }

  const stored = (pod: AnnotatedPod, leftAt?: string) => ({ ...pod, leftAt }) as unknown as StoredPod;

  /** The part of an agent that writes them; `known` are the pods on its disk. */
  async function agentWith(known: readonly StoredPod[]): Promise<PodAnnotations | undefined> {
    const kubeconfig = join(world.machines.directory, `agent-${process.pid}.kubeconfig`);
    writeFileSync(kubeconfig, kubeConfigFor(world.machines, token).exportConfig());
    const lifecycle = new Lifecycle();
    open.push(async () => void (await lifecycle.drain({ deadlineMs: 2_000 })));
    const config = { annotatePods: true, kubeconfig, clusterId: 'Kubernetes' };
    const scope = { config, logs: new LogRoot({ level: 'silent' }), lifecycle } as unknown as AgentScope;
    return startPodAnnotations(scope, known);
  }

  async function newPod(name: string, on = node): Promise<AnnotatedPod> {
    const { metadata } = await create<Stored>(world.admin, pod(namespace, name, { node: on }));
    return { namespace, name, uid: metadata.uid };
  }

  async function annotationOf({ name }: AnnotatedPod): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
    const { metadata } = await world.admin.request<{ metadata: { annotations?: Record<string, string> } }>({
      path,
    });
    return metadata.annotations?.['ambient.istio.io/redirection'];
  }

  /** The server takes a moment until it enforces a new admission policy. */
  async function policyInForce(): Promise<void> {
    const elsewhere = await newPod('probe', 'node-b');
    const api = clientFor(world.machines, token);
    const path = `/api/v1/namespaces/${namespace}/pods/${elsewhere.name}/status`;
    await eventually(
      () =>
        api
          .request({
            method: 'PATCH',
            path,
            body: { metadata: { annotations: { a: String(Math.random()) } } },
          })
          .then(
            () => false,
            () => true,
          ),
      'the admission policy is in force',
    );
    api.close();
  }

  it('is written under the rights of daemonset/agent-rbac.yaml, once for each change, and taken away', async () => {
    const { annotations } = agent();
    const held = await newPod('held');
    annotations.set(held, 'pending');
    await eventually(() => annotations.waiting === 0, 'it is written');
    expect(await annotationOf(held)).toBe('pending');
    annotations.set(held, 'enabled');
    annotations.set(held, 'enabled');
    await eventually(() => annotations.waiting === 0, 'it is written again');
    expect(await annotationOf(held)).toBe('enabled');
    annotations.set(held, undefined);
    await eventually(() => annotations.waiting === 0, 'it is taken away');
    expect(await annotationOf(held)).toBeUndefined();
    expect(annotations.writes).toBe(3);
  });

  it('follows the pods that come and go on an agent, those that left while no agent ran among them', async () => {
    const [comes, leaves, ends, left] = [
      await newPod('comes'),
      await newPod('leaves'),
      await newPod('ends'),
      await newPod('left'),
    ];
    const earlier = agent();
    earlier.annotations.set(left, 'enabled');
    await eventually(async () => (await annotationOf(left)) === 'enabled', 'an earlier agent held it');

    const followed = await agentWith([stored(left, '2026-01-01T00:00:00Z'), stored(comes)]);
    for (const one of [comes, leaves, ends]) followed?.carried(stored(one));
    await eventually(async () => (await annotationOf(ends)) === 'enabled', 'they are annotated');
    followed?.gone(stored(leaves), 'left');
    followed?.gone(stored(ends), 'deleted');
    await eventually(
      async () => (await annotationOf(leaves)) === undefined,
      'the one that left is not any more',
    );
    expect(await Promise.all([comes, ends, left].map(annotationOf))).toEqual([
      'enabled',
      'enabled',
      undefined,
    ]);
  });

  it('is pending while a pod of an earlier agent cannot be carried, and goes when it is let go', async () => {
    const followed = await agentWith([]);
    const [held, gone] = [await newPod('held-again'), await newPod('let-go')];
    for (const one of [held, gone]) followed?.pending(stored(one));
    await eventually(async () => (await annotationOf(gone)) === 'pending', 'they are pending');
    expect(await annotationOf(held)).toBe('pending');
    followed?.carried(stored(held));
    followed?.gone(stored(gone), 'left');
    await eventually(async () => (await annotationOf(gone)) === undefined, 'it is taken away');
    expect(await annotationOf(held)).toBe('enabled');
  });

  it('is written again when somebody takes it away: the control plane takes the tunnel back, which the agent hears', async () => {
    const followed = await agentWith([]);
    const held = await newPod('robbed');
    const workload = (tunnelProtocol: 'HBONE' | 'NONE') => {
      const uid = `Kubernetes//Pod/${namespace}/${held.name}`;
      return { workloads: new Map([[uid, createWorkload({ uid, tunnelProtocol })]]) };
    };
    const changes = { added: [], changed: [`Kubernetes//Pod/${namespace}/${held.name}`], removed: [] };
    followed?.carried(stored(held));
    await eventually(async () => (await annotationOf(held)) === 'enabled', 'it is annotated');
    const path = `/api/v1/namespaces/${namespace}/pods/${held.name}`;
    const body = { metadata: { annotations: { 'ambient.istio.io/redirection': null } } };
    await world.admin.request({ method: 'PATCH', path, body });
    // The other way round it is what the agent's own writing brought about.
    followed?.onSnapshot(workload('NONE'), workload('HBONE'), changes);
    expect(await annotationOf(held)).toBeUndefined();
    followed?.onSnapshot(workload('HBONE'), workload('NONE'), changes);
    await eventually(async () => (await annotationOf(held)) === 'enabled', 'it is annotated again');
  });

  it('is nothing that an agent writes unasked', async () => {
    const scope = { config: { annotatePods: false } } as unknown as AgentScope;
    expect(await startPodAnnotations(scope, [])).toBeUndefined();
  });

  it('is not put on another pod of the same name', async () => {
    const { annotations, errors } = agent();
    const held = await newPod('again');
    annotations.set({ ...held, uid: '11111111-2222-3333-4444-555555555555' }, 'enabled');
    await eventually(() => annotations.waiting === 0 || errors.length > 0, 'it is given up');
    expect(errors).toEqual([]);
    expect(await annotationOf(held)).toBeUndefined();
    expect(errors).toEqual([]);
  });

  it('cannot be put on a pod of another node: the admission policy says whose it is', async () => {
    const { annotations, errors } = agent();
    const elsewhere = await newPod('elsewhere', 'node-b');
    annotations.set(elsewhere, 'enabled');
    await eventually(() => errors.length > 0, 'the refusal is told');
    expect(errors[0]).toContain('an agent writes to pods of its own node only, this one is on node-b');
    expect(await annotationOf(elsewhere)).toBeUndefined();
  });

  it.each([
    ['another annotation', { metadata: { annotations: { other: 'yes' } } }],
    ['a label', { metadata: { labels: { other: 'yes' } } }],
    ['the phase', { status: { phase: 'Failed' } }],
  ])('is all that an agent writes: not %s', async (_, body) => {
    const { api } = agent();
    const held = await newPod(`guarded-${Math.random().toString(36).slice(2, 8)}`);
    const path = `/api/v1/namespaces/${namespace}/pods/${held.name}/status`;
    await expect(api.request({ method: 'PATCH', path, body })).rejects.toThrow(/and nothing else/);
  });
});

/** Somebody else writes just before its first patch. */
class InterruptedClient extends Client {
  beforePatch: (() => Promise<void>) | undefined;
  conflicts = 0;

  override async request<T>(request: ApiRequest): Promise<T> {
    if (request.method === 'PATCH') {
      await this.beforePatch?.();
      this.beforePatch = undefined;
    }
    try {
      return await super.request<T>(request);
    } catch (error) {
      if ((error as { status?: number }).status === 409) this.conflicts += 1;
      throw error;
    }
  }
}
