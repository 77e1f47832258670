/** The agent's end and the control plane's, over real sockets: what is in force here is what is there, whatever happens between. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { credentials, experimental, Metadata, Server } from '@grpc/grpc-js';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { KeptState } from '../../../src/agent/kept-state.ts';
import { Backoff } from '../../../src/base/backoff.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { callMetadata, controlPlaneCredentials } from '../../../src/identity/control-plane-channel.ts';
import { LiveAuthority } from '../../../src/identity/live-authority.ts';
import { ServerCertificate } from '../../../src/identity/server-certificate.ts';
import { changeFrom, createChange, type MeshChange } from '../../../src/model/change.ts';
import { diffSnapshots } from '../../../src/model/diff.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { XdsClient } from '../../../src/xds/client.ts';
import type { XdsClientOptions } from '../../../src/xds/client-options.ts';
import { convertResource } from '../../../src/xds/codec.ts';
import type { Generation } from '../../../src/xds/generation.ts';
import { GrpcTransport } from '../../../src/xds/grpc-transport.ts';
import { nodeIdentity } from '../../../src/xds/node-identity.ts';
import { refusingWith } from '../../../src/xds/refusing-policy.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { DiscoveryServer } from '../../../src/xds/server.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import type { KeptVersions } from '../../../src/xds/versioned-change.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { policy as anyPolicy, service as anyService, workload as anyWorkload } from '../model/arbitraries.ts';
import { caller, moment, startControlPlane } from './discovery.ts';
import { change, largeMesh, pod, policy, service, uid } from './mesh.ts';

/** An agent with nothing but its mesh: in memory, and on disk where it is given a place. */
class Follower {
  readonly client: XdsClient;
  readonly disk: KeptState | undefined;
  snapshot: MeshSnapshot;
  /** Changes that brought something. */
  readonly changes: MeshChange[] = [];

  private constructor(
    options: Pick<XdsClientOptions, 'address'> & Partial<XdsClientOptions>,
    disk: KeptState | undefined,
    snapshot: MeshSnapshot,
  ) {
    this.disk = disk;
    this.snapshot = snapshot;
    const { address } = options;
    this.client = new XdsClient({
      transport: new GrpcTransport({ address, credentials: () => credentials.createInsecure() }),
      metadata: async () => new Metadata(),
      node: nodeIdentity(
        { nodeName: 'a', clusterId: 'c', network: '', podName: '', podNamespace: '', podAddress: '' },
        {},
      ),
      onDemand: false,
      kept: undefined,
      convert: convertResource,
      refusing: refusingWith('istio-system'),
      onChange: (told) => {
        this.changes.push(told.change);
        this.snapshot = updateSnapshot(this.snapshot, told.change).snapshot;
        disk?.keep(told, this.snapshot);
      },
      logger: silentLogger,
      backoff: new Backoff({ initialMs: 1, maxMs: 20 }),
      ...options,
    });
    onTestFinished(() => this.close());
    this.client.start();
  }

  static async start(
    options: Pick<XdsClientOptions, 'address'> & Partial<XdsClientOptions>,
    directory?: string,
  ): Promise<Follower> {
    if (directory === undefined) return new Follower(options, undefined, emptySnapshot);
    const disk = new KeptState(directory, silentLogger, 1);
    const kept = await disk.read();
    if (kept === undefined) return new Follower(options, disk, emptySnapshot);
    const all = changeFrom(kept.resources);
    const policies = { ...all.policies, removals: kept.gonePolicies };
    const { snapshot } = updateSnapshot(emptySnapshot, { ...all, policies });
    return new Follower({ ...options, kept: kept satisfies KeptVersions }, disk, snapshot);
  }

  /** Waits until it has what the other has. */
  async has(expected: MeshSnapshot): Promise<void> {
    await vi.waitFor(() => expect(diffSnapshots(this.snapshot, expected).keys).toEqual(new Set()), {
      timeout: 5_000,
      interval: 10,
    });
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.disk?.close();
  }
}

/** What a control plane says, in its store and as the mesh that it means. */
class Mesh {
  readonly store: ResourceStore;
  snapshot: MeshSnapshot = emptySnapshot;

  constructor(store: ResourceStore) {
    this.store = store;
  }

  apply(change: MeshChange, seen?: Generation): void {
    this.snapshot = updateSnapshot(this.snapshot, change).snapshot;
    this.store.apply(change, seen);
  }
}

const smallMesh = createChange({
  workloads: { upserts: [pod('front'), pod('reviews', { authorizationPolicies: ['shop/deny'] })] },
  services: { upserts: [service('reviews')] },
  policies: { upserts: [policy('deny', { action: 'DENY', scope: 'WORKLOAD_SELECTOR' })] },
});

/** How many resources of a type a server has sent on the streams that are open. */
function sent(discovery: DiscoveryServer, typeUrl = addressType): number {
  const all = discovery.agents().flatMap(({ subscriptions }) => subscriptions);
  return all.reduce((sum, each) => sum + (each.typeUrl === typeUrl ? each.sentResources : 0), 0);
}

describe('an agent whose streams end because they are old', () => {
  it('comes back at once, misses nothing under load, is told nothing twice, and says nothing about it', async () => {
    const lines: { level: number; msg: string }[] = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const { store, discovery, address } = await startControlPlane({ limits: { streamAgeMs: 150 } });
    const mesh = new Mesh(store);
    mesh.apply(largeMesh(500, 50));
    const backoff = new Backoff({ initialMs: 10, maxMs: 15_000, jitter: 0.5 });
    const told = new Map<string, number>();
    const waits: number[] = [];
    const follower = await Follower.start({ address, backoff, logger });
    await follower.has(mesh.snapshot);
    const first = follower.changes.length;
    let most = 0;
    for (let index = 0; index < 200; index++) {
      const name = `load-${index}`;
      told.set(uid(name), performance.now());
      mesh.apply(change({ workloads: { upserts: [pod(name)] } }));
      most = Math.max(most, backoff.failures);
      await moment(8);
      for (const [waiting, at] of told) {
        if (!follower.snapshot.workloads.has(waiting)) continue;
        waits.push(performance.now() - at);
        told.delete(waiting);
      }
    }
    await follower.has(mesh.snapshot);
    const { terminations } = follower.client.counters;
    expect([...terminations.keys()]).toEqual(['Complete']);
    expect(terminations.get('Complete')).toBeGreaterThan(8);
    // The server knows of an end a moment before the agent does.
    await vi.waitFor(() =>
      expect(discovery.counters.ended.get('renewal')).toBe(terminations.get('Complete')),
    );
    // One wait after each end, never a longer one after it.
    expect(most).toBeLessThanOrEqual(1);
    const upserts = follower.changes
      .slice(first)
      .flatMap(({ workloads }) => workloads.upserts.map((each) => each.uid));
    expect(upserts).toHaveLength(200);
    expect(new Set(upserts).size).toBe(200);
    expect(lines.map(({ msg }) => msg)).toEqual(['connected to the control plane']);
    waits.sort((left, right) => left - right);
    console.info(
      `a change under renewals: p50 ${waits[100]?.toFixed(0)} ms, slowest ${waits.at(-1)?.toFixed(0)} ms`,
    );
  });
});

describe('an agent that asks for more names than it may', () => {
  it('has what it has, waits for nothing, and says once why', async () => {
    const lines: { level: number; msg: string; names?: string[]; why?: string }[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const { store, address } = await startControlPlane({ limits: { names: 1 } });
    store.apply(change({ workloads: { upserts: ['a', 'b', 'c'].map((name) => pod(name)) } }));
    const absent: string[] = [];
    const onAbsent = (names: readonly string[]) => void absent.push(...names);
    const follower = await Follower.start({ address, onDemand: true, onAbsent, logger });
    for (const name of ['a', 'b', 'c']) {
      follower.client.lookUp([uid(name)]);
      await vi.waitFor(() =>
        expect(absent.length + follower.snapshot.workloads.size).toBeGreaterThan('abc'.indexOf(name)),
      );
    }
    expect([...follower.snapshot.workloads.keys()]).toEqual([uid('a')]);
    expect(absent).toEqual([uid('b'), uid('c')]);
    expect(lines).toMatchObject([
      { names: [uid('b')], why: expect.stringContaining('1 names are asked for already') },
    ]);
  });
});

describe('an agent and its control plane', () => {
  it('have the same mesh after any history', async () => {
    const { store, address } = await startControlPlane();
    const changes = fc.record({
      workloads: fc.array(anyWorkload, { maxLength: 3 }),
      services: fc.array(anyService, { maxLength: 3 }),
      policies: fc.array(anyPolicy, { maxLength: 3 }),
      nth: fc.nat(),
    });
    const mesh = new Mesh(store);
    const agent = await Follower.start({ address });
    const readable = (each: { readonly tunnelProtocol: string }) =>
      each.tunnelProtocol !== 'LEGACY_ISTIO_MTLS';
    for (const { nth, workloads, services, policies } of fc.sample(changes, { numRuns: 40, seed: 7 })) {
      const one = (names: Iterable<string>) => [...names].filter((_, index) => index === nth % 3);
      mesh.apply(
        createChange({
          workloads: {
            upserts: workloads.filter(readable),
            removals: one(mesh.snapshot.workloads.keys()),
          },
          services: { upserts: services, removals: one(mesh.snapshot.services.keys()) },
          policies: { upserts: policies, removals: one(mesh.snapshot.policies.keys()) },
        }),
      );
      await agent.has(mesh.snapshot);
    }
    expect(agent.client.status.rejected).toEqual([]);
  });

  it('need one resource when an agent comes back after one change, also as a new process', async () => {
    const { store, discovery, address } = await startControlPlane();
    const directory = temporaryDirectory();
    const mesh = new Mesh(store);
    mesh.apply(largeMesh(500, 50));
    const first = await Follower.start({ address }, directory);
    await first.has(mesh.snapshot);
    expect(sent(discovery)).toBe(550);
    await first.close();
    await vi.waitFor(() => expect(discovery.agents()).toEqual([]));
    const [changed] = mesh.snapshot.workloads.values();
    if (changed === undefined) throw new Error('the mesh has pods');
    mesh.apply(createChange({ workloads: { upserts: [{ ...changed, status: 'UNHEALTHY' }] } }));
    const second = await Follower.start({ address }, directory);
    expect(second.snapshot.workloads.size).toBe(500);
    await second.has(mesh.snapshot);
    expect(sent(discovery)).toBe(1);
    expect(second.changes.flatMap(({ workloads }) => workloads.upserts)).toHaveLength(1);
  });

  it('agree on what ended while the agent was away, policies too', async () => {
    const { store, address } = await startControlPlane();
    const directory = temporaryDirectory();
    const mesh = new Mesh(store);
    mesh.apply(smallMesh);
    const first = await Follower.start({ address }, directory);
    await first.has(mesh.snapshot);
    await first.close();
    mesh.apply(
      createChange({
        workloads: { removals: [uid('front')] },
        services: { removals: [...mesh.snapshot.services.keys()] },
        policies: { removals: ['shop/deny'] },
      }),
    );
    const second = await Follower.start({ address }, directory);
    expect(second.snapshot.policies.size).toBe(1);
    await second.has(mesh.snapshot);
    // It is gone, though the workload names it: nobody is refused for a policy that was deleted.
    expect([...second.snapshot.gonePolicies]).toEqual(['shop/deny']);
  });

  it('do not go back: a replica that is behind is left until it has seen as much', async () => {
    const seen = (pods: bigint) => ({ lineage: 'the-cluster', positions: new Map([['pods', pods]]) });
    const [ahead, behind] = [new Mesh(new ResourceStore()), new Mesh(new ResourceStore())];
    ahead.apply(smallMesh, seen(7n));
    behind.apply(createChange({ workloads: { upserts: [pod('front')] } }), seen(5n));
    const directory = temporaryDirectory();
    const first = await Follower.start(
      { address: (await startControlPlane({ store: ahead.store })).address },
      directory,
    );
    await first.has(ahead.snapshot);
    await first.close();
    const { address } = await startControlPlane({ store: behind.store });
    const second = await Follower.start({ address }, directory);
    await vi.waitFor(() => expect(second.client.status.error).toMatch(/behind/));
    expect(second.changes).toEqual([]);
    expect(diffSnapshots(second.snapshot, ahead.snapshot).keys).toEqual(new Set());
    behind.apply(createChange({ workloads: { upserts: [pod('late')], removals: [uid('front')] } }), seen(8n));
    await second.has(behind.snapshot);
    expect(second.client.status.error).toBeUndefined();
  });

  it('are not both needed: the agent keeps what it has while the control plane is away, and dials on', async () => {
    const { store, discovery, address } = await startControlPlane();
    const mesh = new Mesh(store);
    mesh.apply(smallMesh);
    const agent = await Follower.start({ address });
    await agent.has(mesh.snapshot);
    discovery.close();
    await vi.waitFor(() => expect(agent.client.counters.terminations.size).toBeGreaterThan(0));
    expect(agent.snapshot.workloads.size).toBe(2);
    expect(agent.client.status.state).not.toBe('closed');
  });

  it('ask and answer on demand: by address, by name, with the endpoints of what is a service', async () => {
    const { store, address } = await startControlPlane();
    const mesh = new Mesh(store);
    mesh.apply(smallMesh);
    mesh.apply(
      createChange({
        workloads: {
          upserts: [
            pod('front', { addresses: ['10.0.0.7'] }),
            pod('r1', {
              addresses: ['10.0.0.8'],
              services: [{ service: 'shop/reviews.shop.svc', ports: [] }],
            }),
          ],
        },
      }),
    );
    const absent: string[] = [];
    const agent = await Follower.start({
      address,
      onDemand: true,
      onAbsent: (names) => absent.push(...names),
    });
    await vi.waitFor(() => expect(agent.snapshot.policies.size).toBe(1));
    expect(agent.snapshot.workloads.size).toBe(0);
    agent.client.lookUp(['/10.0.0.7']);
    await vi.waitFor(() => expect([...agent.snapshot.workloads.keys()]).toEqual([uid('front')]));
    agent.client.lookUp(['/10.96.0.1', '/10.9.9.9']);
    await vi.waitFor(() => expect(agent.snapshot.endpointsOf('shop/reviews.shop.svc')).toHaveLength(1));
    await vi.waitFor(() => expect(absent).toEqual(['/10.9.9.9']));
    mesh.apply(createChange({ workloads: { upserts: [pod('new', { addresses: ['10.9.9.9'] })] } }));
    await vi.waitFor(() => expect(agent.snapshot.workloadsAt('', '10.9.9.9')).toHaveLength(1));
    mesh.apply(createChange({ workloads: { removals: [uid('front')] } }));
    await vi.waitFor(() => expect(agent.snapshot.workloads.has(uid('front'))).toBe(false));
  });

  it('know each other by the roots and the token of the files as they are then', async () => {
    const directory = temporaryDirectory();
    const trustDomains = ['cluster.local'];
    const authorityDirectory = join(directory, 'ca');
    const options = { trustDomains, selfSigned: true, debounceMs: 20, pollMs: 100 };
    const authority = await LiveAuthority.open(authorityDirectory, options, silentLogger);
    const names = { dnsNames: [], addresses: ['127.0.0.1'] };
    const certificate = await ServerCertificate.issue(authority, { names, logger: silentLogger });
    const tokens: unknown[] = [];
    const discovery = new DiscoveryServer({
      store: new ResourceStore(),
      authenticate: async (metadata) => {
        tokens.push(metadata.get('authorization')[0]);
        return caller;
      },
      logger: silentLogger,
    });
    const server = new Server();
    server.addService(DiscoveryServer.definition, discovery.handlers);
    const port = await new Promise<number>((resolve, reject) => {
      const secured = experimental.createCertificateProviderServerCredentials(certificate, null, false);
      server.bindAsync('127.0.0.1:0', secured, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    onTestFinished(() => {
      discovery.close();
      server.forceShutdown();
      certificate.close();
      authority.close();
    });
    const [rootFile, tokenFile] = [join(directory, 'root.pem'), join(directory, 'token')];
    const address = `127.0.0.1:${port}`;
    const agent = await Follower.start({
      address,
      transport: new GrpcTransport({ address, credentials: () => controlPlaneCredentials({ rootFile }) }),
      metadata: () => callMetadata({ tokenFile }),
    });
    const fails = (why: RegExp) => vi.waitFor(() => expect(agent.client.status.error).toMatch(why));
    await fails(/token/);
    writeFileSync(tokenFile, 'first\n');
    await fails(/root\.pem/);
    const other = await LiveAuthority.open(join(directory, 'other'), options, silentLogger);
    onTestFinished(() => other.close());
    copyFileSync(join(directory, 'other', 'root-cert.pem'), rootFile);
    await fails(/certificate/);
    expect(tokens).toEqual([]);
    writeFileSync(tokenFile, 'second\n');
    copyFileSync(join(authorityDirectory, 'root-cert.pem'), rootFile);
    await vi.waitFor(() => expect(agent.client.isComplete).toBe(true), { timeout: 8_000 });
    expect(tokens).toEqual(['Bearer second']);
  });
});
