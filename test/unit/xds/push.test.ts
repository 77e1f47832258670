/** Pushes that take several responses: whoever hears half of one must not judge by it. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KeptState } from '../../../src/agent/kept-state.ts';
import { Backoff } from '../../../src/base/backoff.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { createChange, noChange } from '../../../src/model/change.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { XdsClient } from '../../../src/xds/client.ts';
import type { XdsClientOptions } from '../../../src/xds/client-options.ts';
import { encodeServiceAddress, encodeWorkloadAddress } from '../../../src/xds/codec.ts';
import { PushHold } from '../../../src/xds/push-hold.ts';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';
import { noVersions, type VersionedChange } from '../../../src/xds/versioned-change.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { Agent, moment, startControlPlane } from './discovery.ts';
import { change, endpointOf, largeMesh, pod, policy, service, serviceName, uid } from './mesh.ts';
import { plainClient } from './plain-client.ts';
import { ScriptedServer, type ScriptedStream } from './scripted-server.ts';

const clients: XdsClient[] = [];
let applied: VersionedChange[];
let mesh: MeshSnapshot;

beforeEach(() => {
  applied = [];
  mesh = emptySnapshot;
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});

function start(address: string, options: Partial<XdsClientOptions> = {}): XdsClient {
  const client = new XdsClient({
    ...plainClient(address),
    onChange: (told) => {
      applied.push(told);
      mesh = updateSnapshot(mesh, told.change).snapshot;
    },
    backoff: new Backoff({ initialMs: 1, maxMs: 20 }),
    ...options,
  });
  clients.push(client);
  client.start();
  return client;
}

const front = service('front');
const frontResource = { name: serviceName('front'), value: encodeServiceAddress(front) };
const podResource = (name: string) => ({
  name: uid(name),
  value: encodeWorkloadAddress(pod(name, { services: endpointOf('front') })),
});
const kept = {
  versions: { ...noVersions, workloads: new Map([[uid('old'), 'v1']]) },
  generation: '',
};

describe('a push that takes several responses', () => {
  let server: ScriptedServer;

  beforeEach(async () => {
    server = await new ScriptedServer().listen();
  });
  afterEach(() => server.close());

  async function opened(index = 0): Promise<ScriptedStream> {
    const stream = await server.stream(index);
    await stream.request();
    await stream.request();
    return stream;
  }

  it('is the first one: nothing of it counts before its end, and then all of it at once', async () => {
    const client = start(`127.0.0.1:${server.port}`);
    const stream = await opened();
    await stream.ask(authorizationType, []);
    stream.more = true;
    await stream.ask(addressType, [frontResource], [], 'line;a=1');
    await stream.ask(addressType, [podResource('one')]);
    expect([applied.length, client.isComplete, client.status.held]).toEqual([0, false, 2]);
    stream.more = false;
    await stream.ask(addressType, [podResource('two')]);
    expect(applied).toHaveLength(1);
    expect([client.isComplete, client.status.held]).toEqual([true, 0]);
    expect(mesh.endpointsOf(serviceName('front'))).toHaveLength(2);
    expect(applied[0]?.generation).toBe('line;a=1');
    expect([...(applied[0]?.versions.workloads.keys() ?? [])]).toEqual([uid('one'), uid('two')]);
  });

  it('is the first one, and is cut off: the next stream goes on from there', async () => {
    start(`127.0.0.1:${server.port}`);
    const stream = await opened();
    await stream.ask(authorizationType, []);
    stream.more = true;
    await stream.ask(addressType, [frontResource, podResource('one')]);
    stream.end();
    const next = await server.stream(1);
    await next.request();
    const { initialResourceVersions } = await next.request();
    expect([...initialResourceVersions.keys()].sort()).toEqual([uid('one'), serviceName('front')]);
    await next.ask(authorizationType, []);
    expect(applied).toEqual([]);
    await next.ask(addressType, [podResource('two')], [uid('one')]);
    expect(applied).toHaveLength(1);
    expect(mesh.endpointsOf(serviceName('front')).map(({ workload }) => workload.uid)).toEqual([uid('two')]);
  });

  it('brings an agent up to date: also then it counts as one', async () => {
    start(`127.0.0.1:${server.port}`, { kept });
    const stream = await opened();
    stream.more = true;
    await stream.ask(addressType, [], [uid('old')]);
    await stream.ask(addressType, [frontResource]);
    expect(applied).toEqual([]);
    stream.more = false;
    await stream.ask(addressType, [podResource('one')]);
    expect(applied.map(({ change: { workloads } }) => workloads.upserts.length)).toEqual([1]);
    expect(applied[0]?.change.workloads.removals).toEqual([uid('old')]);
  });

  it('brings an agent up to date, and is cut off: what was answered is in force', async () => {
    start(`127.0.0.1:${server.port}`, { kept });
    const stream = await opened();
    stream.more = true;
    await stream.ask(addressType, [frontResource]);
    stream.end();
    await vi.waitFor(() => expect([...mesh.services.keys()]).toEqual([serviceName('front')]));
  });

  it('comes from a control plane that marks nothing: the first response is all there is', async () => {
    start(`127.0.0.1:${server.port}`);
    const stream = await opened();
    await stream.ask(authorizationType, []);
    await stream.ask(addressType, [frontResource]);
    expect(applied).toHaveLength(1);
  });
});

describe('a hold', () => {
  const held = { change: noChange, versions: noVersions, systemVersion: '', absent: [] };

  it('of what brings a mesh up to date ends after its time, that of a first push does not', async () => {
    const counts: number[] = [];
    const hold = new PushHold({ longestMs: 30, putInForce: async (all) => void counts.push(all.length) });
    await hold.add('type', held, false, false);
    await delay(80);
    expect(counts).toEqual([]);
    await hold.add('type', held, false, true);
    expect(counts).toEqual([]);
    await vi.waitFor(() => expect(counts).toEqual([2]));
    hold.close();
  });
});

describe('a control plane', () => {
  it('marks every response of a type but the last, and the last of each type counts', async () => {
    const control = await startControlPlane({ limits: { responseBytes: 20_000 } });
    control.store.apply(largeMesh(300, 30));
    control.store.apply(change({ policies: { upserts: [policy('one')] } }));
    const agent = new Agent(control);
    agent.subscribe(authorizationType);
    agent.subscribe(addressType);
    const policies = await agent.take();
    expect([policies.typeUrl, policies.nonce.endsWith('.more')]).toEqual([authorizationType, false]);
    const marks: boolean[] = [];
    for (let count = 0; count < 330; ) {
      const response = await agent.take();
      count += response.resources.length;
      marks.push(response.nonce.endsWith('.more'));
    }
    expect(marks.length).toBeGreaterThan(3);
    expect(marks.indexOf(false)).toBe(marks.length - 1);
  });

  it('does not count policies that are gone, and are told last, to the push of what is there', async () => {
    const control = await startControlPlane({ limits: { responseBytes: 20_000 } });
    control.store.apply(change({ policies: { upserts: [policy('one')] } }));
    const agent = new Agent(control);
    agent.subscribe(authorizationType);
    agent.subscribe(addressType);
    await agent.take();
    await agent.take();
    const policies = { upserts: [policy('two')], removals: ['shop/one'] };
    control.store.apply({ ...largeMesh(300, 30), policies });
    const first = await agent.take();
    expect(first.resources.map(({ name }) => name)).toEqual(['shop/two']);
    expect([first.removedResources, first.nonce.endsWith('.more')]).toEqual([[], false]);
  });

  it('and a fresh agent: the mesh is kept and in force once, whole', async () => {
    const control = await startControlPlane({ limits: { responseBytes: 20_000 } });
    control.store.apply(largeMesh(300, 30));
    const disk = new KeptState(temporaryDirectory(), silentLogger, 1);
    start(control.address, {
      onChange: (told) => {
        applied.push(told);
        mesh = updateSnapshot(mesh, told.change).snapshot;
        disk.keep(told, mesh);
      },
    });
    await vi.waitFor(() => expect(applied.length).toBeGreaterThan(0));
    expect([mesh.workloads.size, mesh.services.size]).toEqual([300, 30]);
    control.store.apply(createChange({ workloads: { removals: [[...mesh.workloads.keys()][0] ?? ''] } }));
    await vi.waitFor(() => expect(mesh.workloads.size).toBe(299));
    expect(applied).toHaveLength(2);
    await moment();
    await disk.close();
  });
});
