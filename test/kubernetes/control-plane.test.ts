/** `hadal control-plane --source kubernetes` as it is deployed: two replicas, under the rights of their service account. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { controlPlaneCredentials } from '../../src/identity/control-plane-channel.ts';
import { createCsr } from '../../src/identity/csr.ts';
import { GrpcSigner } from '../../src/identity/grpc-signer.ts';
import { generateKey } from '../../src/identity/keys.ts';
import { AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest } from '../../src/proto/discovery.gen.ts';
import { addressType } from '../../src/xds/type-urls.ts';
import { requestToken } from './accounts.ts';
import { installCustomResources } from './custom-resources.ts';
import { freePort, kubeConfigFor } from './machines.ts';
import { applyManifests, installRights, readManifests } from './manifests.ts';
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
  uniqueName,
} from './world.ts';

const program = new URL('../../src/cli/main.ts', import.meta.url).pathname;

interface Status {
  readonly ready: boolean;
  readonly source: { readonly name: string; readonly isSynced: boolean; readonly error?: string };
  readonly mesh: { readonly workloads: number };
  readonly writer: { readonly isThis: boolean; readonly name?: string };
}

interface Replica {
  readonly port: number;
  readonly metrics: number;
  readonly directory: string;
  status(): Promise<Status>;
  /** `/config_dump?section=policies`. */
  policies(): Promise<{ readonly name: string; readonly namespace: string; readonly rules: unknown[] }[]>;
  kill(): Promise<void>;
}

describeWithApiServer('two control planes of a cluster', (world) => {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-planes-'));
  const replicas: Replica[] = [];
  let namespace = '';

  beforeAll(async () => {
    await installCustomResources(
      world,
      'authorizationpolicies.security.istio.io',
      'peerauthentications.security.istio.io',
    );
    await installRights(world.admin, 'daemonset/control-plane-rbac.yaml');
    await applyManifests(world.admin, readManifests('daemonset/agent-rbac.yaml').slice(0, 1));
    namespace = await newNamespace(world.admin, { 'istio.io/dataplane-mode': 'ambient' });
    const token = await requestToken(world.admin, 'hadal-system', 'hadal-control-plane');
    const kubeconfig = join(directory, 'kubeconfig');
    writeFileSync(kubeconfig, kubeConfigFor(world.machines, token).exportConfig());
    replicas.push(
      await startReplica(directory, 'one', kubeconfig),
      await startReplica(directory, 'two', kubeconfig),
    );
    await Promise.all(replicas.map(isReady));
  }, 120_000);
  afterAll(async () => {
    for (const one of replicas) await one.kill();
    rmSync(directory, { recursive: true, force: true });
  });

  it('both read the cluster, and follow it', async () => {
    const before = await Promise.all(replicas.map(async (one) => (await one.status()).mesh.workloads));
    const { metadata } = await create<Stored>(world.admin, pod(namespace, 'front', { node: 'node-a' }));
    const status = { phase: 'Running', podIP: '10.244.9.9', podIPs: [{ ip: '10.244.9.9' }] };
    const path = `/api/v1/namespaces/${namespace}/pods/${metadata.name}/status`;
    await world.admin.request({ method: 'PATCH', path, body: { status } });
    for (const [index, one] of replicas.entries()) {
      await eventually(
        async () => (await one.status()).mesh.workloads > (before[index] ?? 0),
        'the pod is known',
      );
      expect((await one.status()).source).toEqual({
        name: `Kubernetes API ${world.machines.server}`,
        isSynced: true,
      });
    }
  });

  it('say of a policy that turns bad at once that it is, and one that starts then enforces what was good', async () => {
    const policy: Manifest = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'spoilt', namespace },
      spec: { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['evil'] } }] }] },
    };
    const path = `${collectionPath(policy)}/spoilt`;
    const edit = (spec: object) => world.admin.request({ method: 'PATCH', path, body: { spec } });
    const says = (expected: object) =>
      vi.waitFor(async () => expect(await conditionOf(policy)).toMatchObject(expected), 10_000);
    await create(world.admin, policy);
    await says({ status: 'True', observedGeneration: 1 });
    // Another one that says the same of itself.
    await edit({ rules: [{ from: [{ source: { namespaces: ['evil', 'worse'] } }] }] });
    await says({ status: 'True', observedGeneration: 2 });
    await edit({ rules: [{ from: [{ source: { ipBlocks: ['nowhere'] } }] }] });
    await says({
      status: 'False',
      reason: 'Invalid',
      observedGeneration: 3,
      message: expect.stringMatching(/is no address or range.*the last good version stays in force/),
    });
    const kubeconfig = join(directory, 'kubeconfig');
    const three = await startReplica(directory, 'three', kubeconfig);
    try {
      await isReady(three);
      const [first] = replicas;
      const spoilt = async (one: Replica | undefined) =>
        (await one?.policies())?.find(
          ({ name, namespace: within }) => `${within}/${name}` === `${namespace}/spoilt`,
        );
      expect((await spoilt(three))?.rules).toHaveLength(1);
      expect(await spoilt(three)).toEqual(await spoilt(first));
    } finally {
      await three.kill();
    }
  }, 60_000);

  it('write what became of a policy and of a binding, one of them, and the other when that one is killed', async () => {
    const policy = (name: string, spec: object): Manifest => ({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace },
      spec,
    });
    await create(world.admin, policy('plain', {}));
    await create(world.admin, policy('http', { rules: [{ to: [{ operation: { methods: ['GET'] } }] }] }));
    await create(world.admin, policy('bad', { rules: [{ from: [{ source: { ipBlocks: ['nowhere'] } }] }] }));
    const bound = service(namespace, 'web', { 'istio.io/use-waypoint': 'absent' });
    await create(world.admin, bound);
    expect(await conditionOf(policy('plain', {}))).toMatchObject({
      type: 'ZtunnelAccepted',
      status: 'True',
      reason: 'Accepted',
    });
    expect(await conditionOf(policy('http', {}))).toMatchObject({
      type: 'ZtunnelAccepted',
      status: 'True',
      reason: 'UnsupportedValue',
    });
    expect(await conditionOf(policy('bad', {}))).toMatchObject({
      type: 'ZtunnelAccepted',
      status: 'False',
      reason: 'Invalid',
      message: expect.stringContaining('is no address or range'),
    });
    expect(await conditionOf(bound)).toMatchObject({
      type: 'istio.io/WaypointBound',
      status: 'False',
      reason: 'WaypointIsNotReady',
      message: expect.stringContaining(`names waypoint ${namespace}/absent`),
    });

    const leader = await leaderOf();
    const writers = await Promise.all(replicas.map(async (one) => (await one.status()).writer));
    expect(writers.map(({ isThis }) => isThis).sort()).toEqual([false, true]);
    expect(writers.map(({ name }) => name)).toEqual([leader, leader]);
    await replicas
      .find(({ directory: own }) => readFileSync(join(own, 'log'), 'utf8').includes('this replica leads'))
      ?.kill();
    await create(world.admin, policy('later', {}));
    expect(await conditionOf(policy('later', {}))).toMatchObject({ status: 'True' });
    expect(await leaderOf()).not.toBe(leader);
  }, 60_000);

  it('sign for an agent that shows the token of its pod, for pods of its node only', async () => {
    const agent = await create<Stored>(
      world.admin,
      pod('hadal-system', `agent-of-${namespace}`, { node: 'node-a', serviceAccount: 'hadal-agent' }),
    );
    const { name, uid } = agent.metadata;
    const tokenFile = join(directory, 'token');
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name, uid } as const;
    writeFileSync(
      tokenFile,
      await requestToken(world.admin, 'hadal-system', 'hadal-agent', {
        audiences: ['istio-ca'],
        boundObjectRef,
      }),
    );
    const alive = replicas.at(-1)?.directory === undefined ? undefined : await living(replicas);
    if (alive === undefined) throw new Error('no replica is left');
    const signer = new GrpcSigner({
      address: `127.0.0.1:${alive.port}`,
      serverName: 'hadal-control-plane',
      rootFile: join(alive.directory, 'data/root-cert.pem'),
      tokenFile,
    });
    const ask = async (identity: string) =>
      signer.sign(
        { csr: await createCsr(identity, await generateKey()), identity, lifetimeMs: 60_000 },
        AbortSignal.timeout(10_000),
      );
    // Made this moment: no watch need have told of it.
    const fresh = await newNamespace(world.admin, { 'istio.io/dataplane-mode': 'ambient' });
    await create(world.admin, pod(fresh, 'fresh', { node: 'node-a' }));
    await create(world.admin, pod(await newNamespace(world.admin), 'other', { node: 'node-b' }));
    const signed = await ask(`spiffe://cluster.local/ns/${fresh}/sa/default`);
    expect(signed.chain.length).toBeGreaterThan(0);
    await expect(ask('spiffe://cluster.local/ns/kube-system/sa/default')).rejects.toThrow();
    signer.close();
  });

  it('tell the mesh to agents and to ztunnels that are named, and to no other pod', async () => {
    const plane = await living(replicas);
    if (plane === undefined) throw new Error('no replica is left');
    await create(world.admin, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'istio-system' },
    }).catch(() => {});
    const ztunnel = { name: 'ztunnel', namespace: 'istio-system' };
    await create(world.admin, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: ztunnel }).catch(
      () => {},
    );
    const tokenOf = async (within: string, account: string) => {
      const name = uniqueName('caller');
      const made = await create<Stored>(
        world.admin,
        pod(within, name, { node: 'node-a', serviceAccount: account }),
      );
      const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name, uid: made.metadata.uid } as const;
      return requestToken(world.admin, within, account, { audiences: ['istio-ca'], boundObjectRef });
    };
    expect(await subscribe(plane, await tokenOf('hadal-system', 'hadal-agent'))).toBe('told');
    expect(await subscribe(plane, await tokenOf('istio-system', 'ztunnel'))).toBe('told');
    expect(await subscribe(plane, await tokenOf(namespace, 'default'))).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringMatching(/^\S+\/default in pod \S+ may not have the mesh: only agents may/),
    });
    expect(await subscribe(plane, 'nonsense')).toMatchObject({ code: status.UNAUTHENTICATED });
    const lines = readFileSync(join(plane.directory, 'log'), 'utf8').split('\n');
    const audit = lines.filter((line) => line.includes('"audit":true') && line.includes('"permission"'));
    expect(audit).toHaveLength(1);
    expect(JSON.parse(audit[0] ?? '')).toMatchObject({
      node: 'node-a',
      caller: expect.stringContaining(namespace),
    });
    const metrics = await (await fetch(`http://127.0.0.1:${plane.metrics}/metrics`)).text();
    expect(metrics).toMatch(/^hadal_discovery_refused_total\{reason="permission"\} 1$/m);
    expect(metrics).toMatch(/^hadal_connections\{standing="agent"\} \d+$/m);
  });

  it('tell an agent whose pod is gone nothing more once its stream is old, though its token would hold on', async () => {
    const plane = await startReplica(directory, 'young', join(directory, 'kubeconfig'), {
      HADAL_MAX_STREAM_AGE: '1s',
    });
    replicas.push(plane);
    const isReady = async () => (await plane.status().catch(() => undefined))?.ready === true;
    await eventually(isReady, 'it is ready', 60_000);
    const name = uniqueName('agent');
    const made = await create<Stored>(
      world.admin,
      pod('hadal-system', name, { node: 'node-a', serviceAccount: 'hadal-agent' }),
    );
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name, uid: made.metadata.uid } as const;
    const wish = { audiences: ['istio-ca'], boundObjectRef };
    const token = await requestToken(world.admin, 'hadal-system', 'hadal-agent', wish);
    // Each stream ends by itself, and while the pod lives the next one is opened.
    for (const _ of [1, 2]) expect(await endOf(plane, token)).toBe('ended');
    await remove(world.admin, made);
    await eventually(async () => {
      const end = await endOf(plane, token);
      return end !== 'ended' && end.code === status.UNAUTHENTICATED;
    }, 'it is told nothing more');
  }, 60_000);

  async function conditionOf(manifest: Manifest, ms = 20_000): Promise<Record<string, unknown> | undefined> {
    const path = `${collectionPath(manifest)}/${manifest.metadata.name}`;
    let found: Record<string, unknown> | undefined;
    await eventually(
      async () => {
        const { status } = await world.admin.request<{ status?: { conditions?: Record<string, unknown>[] } }>(
          { path },
        );
        found = status?.conditions?.[0];
        return found !== undefined;
      },
      `${manifest.kind} ${manifest.metadata.name} has a condition`,
      ms,
    );
    return found;
  }

  async function leaderOf(): Promise<string> {
    const path = '/apis/coordination.k8s.io/v1/namespaces/hadal-system/leases/hadal-control-plane';
    const lease = await world.admin.request<{ spec: { holderIdentity: string } }>({ path });
    return lease.spec.holderIdentity;
  }
});

/** How a stream begins for who shows this token: `told`, or the error of its end. */
function subscribe(plane: Replica, token: string): Promise<'told' | ServiceError> {
  return open(plane, token, 'data', 'told');
}

/** How it ends after it has begun: without an error, or with one. */
function endOf(plane: Replica, token: string): Promise<'ended' | ServiceError> {
  return open(plane, token, 'end', 'ended');
}

async function open<T>(
  plane: Replica,
  token: string,
  event: 'data' | 'end',
  outcome: T,
): Promise<T | ServiceError> {
  const client = new AggregatedDiscoveryServiceClient(
    `127.0.0.1:${plane.port}`,
    controlPlaneCredentials({ rootFile: join(plane.directory, 'data/root-cert.pem') }),
    { 'grpc.ssl_target_name_override': 'hadal-control-plane' },
  );
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const call = client.deltaAggregatedResources(metadata);
  const answer = new Promise<T | ServiceError>((resolve) => {
    call.on('data', () => {});
    call.on('error', resolve);
    call.on(event, () => resolve(outcome));
  });
  call.write(DeltaDiscoveryRequest.fromPartial({ node: { id: 'some' }, typeUrl: addressType }));
  try {
    return await answer;
  } finally {
    call.cancel();
    client.close();
  }
}

function isReady(one: Replica): Promise<void> {
  return eventually(
    async () => (await one.status().catch(() => undefined))?.ready === true,
    'it is ready',
    60_000,
  );
}

async function living(replicas: readonly Replica[]): Promise<Replica | undefined> {
  for (const one of replicas) {
    const answers = await one.status().then(
      () => true,
      () => false,
    );
    if (answers) return one;
  }
  return undefined;
}

async function startReplica(
  parent: string,
  name: string,
  kubeconfig: string,
  env: NodeJS.ProcessEnv = {},
): Promise<Replica> {
  const directory = join(parent, name);
  mkdirSync(directory);
  const [port, admin, metrics, readiness] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const log = openSync(join(directory, 'log'), 'a');
  const child: ChildProcess = spawn(process.execPath, [program, 'control-plane', '--source', 'kubernetes'], {
    stdio: ['ignore', log, log],
    env: {
      ...process.env,
      HADAL_KUBECONFIG: kubeconfig,
      HADAL_DATA_DIR: join(directory, 'data'),
      HADAL_RUNTIME_DIR: join(directory, 'run'),
      HADAL_LISTEN: `127.0.0.1:${port}`,
      HADAL_ADMIN_PORT: String(admin),
      HADAL_METRICS_PORT: String(metrics),
      HADAL_READINESS_PORT: String(readiness),
      HADAL_LEASE_DURATION: '2s',
      HADAL_AGENT_ACCOUNTS: 'hadal-system/hadal-agent,istio-system/ztunnel',
      HADAL_LOG_FORMAT: 'json',
      ...env,
    },
  });
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${admin}${path}`)).json();
  return {
    port,
    metrics,
    directory,
    status: async () => (await ask('/status')) as Status,
    policies: async () =>
      ((await ask('/config_dump?section=policies')) as { policies: Awaited<ReturnType<Replica['policies']>> })
        .policies,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
