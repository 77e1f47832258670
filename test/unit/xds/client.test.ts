import { setTimeout as delay } from 'node:timers/promises';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Backoff } from '../../../src/base/backoff.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { createAuthorization, policyKey } from '../../../src/model/authorization.ts';
import { createService, serviceKey } from '../../../src/model/service.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload, type WorkloadFields } from '../../../src/model/workload.ts';
import { XdsClient } from '../../../src/xds/client.ts';
import type { XdsClientOptions } from '../../../src/xds/client-options.ts';
import { createSubscription, lookUp } from '../../../src/xds/client-subscription.ts';
import {
  convertResource,
  encodeAuthorization,
  encodeServiceAddress,
  encodeWorkloadAddress,
} from '../../../src/xds/codec.ts';
import { GrpcTransport } from '../../../src/xds/grpc-transport.ts';
import { nodeIdentity } from '../../../src/xds/node-identity.ts';
import { refusingWith } from '../../../src/xds/refusing-policy.ts';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';
import { noVersions, type VersionedChange } from '../../../src/xds/versioned-change.ts';
import { ScriptedServer, type ScriptedStream } from './scripted-server.ts';

let server: ScriptedServer;
const clients: XdsClient[] = [];
let applied: VersionedChange[];
let mesh: MeshSnapshot;

beforeEach(async () => {
  server = await new ScriptedServer().listen();
  applied = [];
  mesh = emptySnapshot;
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  server.close();
});

function start(options: Partial<XdsClientOptions> = {}): XdsClient {
  const address = `127.0.0.1:${server.port}`;
  const client = new XdsClient({
    address,
    transport: new GrpcTransport({ address, credentials: () => credentials.createInsecure() }),
    metadata: async () => {
      const metadata = new Metadata();
      metadata.set('authorization', 'Bearer secret');
      return metadata;
    },
    node: nodeIdentity(
      { nodeName: 'n1', clusterId: 'east', network: 'net', podName: '', podNamespace: '', podAddress: '' },
      {},
    ),
    onDemand: false,
    kept: undefined,
    convert: convertResource,
    refusing: refusingWith('istio-system'),
    onChange: (change) => {
      applied.push(change);
      mesh = updateSnapshot(mesh, change.change).snapshot;
    },
    logger: silentLogger,
    ...options,
  });
  clients.push(client);
  client.start();
  return client;
}

const workload = (uid: string, fields: Partial<WorkloadFields> = {}, version = 'v1') => {
  const value = createWorkload({ uid, namespace: 'shop', addresses: ['10.0.0.1'], ...fields });
  return { name: uid, version, value: encodeWorkloadAddress(value) };
};
const web = createService({ namespace: 'shop', hostname: 'web.shop.svc' });
const service = { name: serviceKey(web), version: 'v1', value: encodeServiceAddress(web) };
const deny = createAuthorization({ namespace: 'shop', name: 'deny', action: 'DENY', scope: 'NAMESPACE' });
const policy = (version = 'v1', fields = {}) => ({
  name: policyKey(deny),
  version,
  value: encodeAuthorization(createAuthorization({ ...deny, ...fields })),
});
/** Field 99, which no policy has. */
const unknownField = Uint8Array.of(0x98, 0x06, 0x01);
const strange = (version: string) => ({
  ...policy(version),
  value: Buffer.concat([policy().value, unknownField]),
});

/** A stream whose opening requests were read. */
async function opened(index = 0): Promise<ScriptedStream> {
  const stream = await server.stream(index);
  await stream.request();
  await stream.request();
  return stream;
}

/** A client that has a first state of each type. */
async function settled(): Promise<ScriptedStream> {
  const stream = await opened();
  await stream.ask(authorizationType, [policy()]);
  await stream.ask(addressType, [workload('a'), service]);
  return stream;
}

describe('a client of delta discovery', () => {
  it('says who it is and asks for everything of each type, policies first', async () => {
    start();
    const stream = await server.stream();
    const [first, second] = [await stream.request(), await stream.request()];
    expect(first).toMatchObject({
      typeUrl: authorizationType,
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      node: {
        id: 'ztunnel~1.1.1.1~n1.hadal-system~hadal-system.svc.cluster.local',
        metadata: { NODE_NAME: 'n1', CLUSTER_ID: 'east', NETWORK: 'net' },
      },
    });
    expect(first.initialResourceVersions.size).toBe(0);
    expect(second).toMatchObject({ typeUrl: addressType, node: undefined, resourceNamesSubscribe: [] });
    expect(stream.metadata.get('authorization')).toEqual(['Bearer secret']);
  });

  it('puts nothing in force before there is something of each type, then all of it at once', async () => {
    const client = start();
    const stream = await opened();
    await stream.ask(addressType, [workload('a'), service]);
    expect(applied).toEqual([]);
    expect(client.isComplete).toBe(false);
    await stream.ask(authorizationType, [policy()]);
    expect(applied.map(({ change }) => change.policies.upserts.length)).toEqual([1]);
    expect(client.isComplete).toBe(true);
    expect([...mesh.workloads.keys()]).toEqual(['a']);
    expect([...mesh.services.keys()]).toEqual(['shop/web.shop.svc']);
  });

  it('applies a response at once, answers only then, and reads no further meanwhile', async () => {
    const begun: number[] = [];
    let release = () => {};
    start({
      onChange: async ({ change }) => {
        begun.push(change.workloads.upserts.length);
        if (change.workloads.upserts.length === 3) await new Promise<void>((resolve) => (release = resolve));
      },
    });
    const stream = await opened();
    await stream.ask(authorizationType, []);
    stream.say(addressType, [workload('a'), workload('b'), workload('c')]);
    stream.say(addressType, [workload('d')]);
    await vi.waitFor(() => expect(begun).toEqual([3]));
    await delay(50);
    expect(stream.requests).toHaveLength(3);
    release();
    expect((await stream.request()).responseNonce).toBe('n2');
    expect((await stream.request()).responseNonce).toBe('n3');
    expect(begun).toEqual([3, 1]);
  });

  it('takes removed names for what was sent under them', async () => {
    start();
    const stream = await settled();
    await stream.ask(addressType, [], ['a', 'shop/web.shop.svc', 'never/heard-of']);
    await stream.ask(authorizationType, [], ['shop/deny']);
    expect([mesh.workloads.size, mesh.services.size, mesh.policies.size]).toEqual([0, 0, 0]);
  });

  it('refuses a policy with an unknown field by name, keeps its last good version and applies the rest', async () => {
    const client = start();
    const stream = await settled();
    const other = createAuthorization({ namespace: 'shop', name: 'other' });
    const good = { name: 'shop/other', version: 'v1', value: encodeAuthorization(other) };
    const answer = await stream.ask(authorizationType, [strange('v2'), good]);
    expect(answer.errorDetail?.message).toMatch(/^shop\/deny: .*field number 99/);
    expect(answer.errorDetail?.message).not.toContain('shop/other');
    expect([...mesh.policies.keys()]).toEqual(['shop/deny', 'shop/other']);
    expect(client.status.rejected).toEqual([
      expect.objectContaining({ name: 'shop/deny', version: 'v2', reason: expect.stringContaining('99') }),
    ]);
    expect(client.counters.rejected).toBe(1);
    expect((await stream.ask(authorizationType, [policy('v3')])).errorDetail).toBeUndefined();
    expect(client.status.rejected).toEqual([]);
  });

  it('refuses addresses that are broken, of another type, or under a wrong name, one by one', async () => {
    start();
    const stream = await settled();
    const answer = await stream.ask(addressType, [
      { name: 'b', value: Uint8Array.of(0xff) },
      { ...workload('c'), name: 'd' },
      workload('e'),
    ]);
    const refused = answer.errorDetail?.message.split('; ').map((text) => text.split(':')[0]);
    expect(refused).toEqual(['b', 'd']);
    expect([...mesh.workloads.keys()]).toEqual(['a', 'e']);
  });

  it('takes a policy that was never understood for unknown, and for gone once it is removed', async () => {
    start();
    const stream = await opened();
    await stream.ask(authorizationType, [strange('v1')]);
    await stream.ask(addressType, [workload('a', { authorizationPolicies: ['shop/deny'] })]);
    expect([...mesh.gonePolicies]).toEqual([]);
    await stream.ask(authorizationType, [], ['shop/deny']);
    expect([...mesh.gonePolicies]).toEqual(['shop/deny']);
    await stream.ask(authorizationType, [strange('v2')]);
    expect([...mesh.gonePolicies]).toEqual([]);
  });

  it('resumes with the versions in force, of what was refused with the last good one', async () => {
    start();
    const stream = await settled();
    await stream.ask(addressType, [workload('b', {}, 'v5')]);
    await stream.ask(authorizationType, [strange('v2')]);
    stream.end();
    const next = await server.stream(1);
    const [policies, addresses] = [await next.request(), await next.request()];
    expect(policies.node?.id).toContain('ztunnel~');
    expect(policies.initialResourceVersions).toEqual(new Map([['shop/deny', 'v1']]));
    expect(addresses.initialResourceVersions).toEqual(
      new Map([
        ['a', 'v1'],
        ['b', 'v5'],
        ['shop/web.shop.svc', 'v1'],
      ]),
    );
    // What ended while nobody was connected.
    await next.ask(addressType, [], ['b']);
    expect([...mesh.workloads.keys()]).toEqual(['a']);
  });

  it('resumes with what an earlier process kept, and applies from the first response on', async () => {
    const workloads = new Map([['old', 'v1']]);
    const client = start({ kept: { versions: { ...noVersions, workloads }, generation: '' } });
    expect(client.isComplete).toBe(true);
    const stream = await server.stream();
    await stream.request();
    expect((await stream.request()).initialResourceVersions).toEqual(workloads);
    await stream.ask(addressType, [workload('new')], ['old']);
    expect(applied[0]?.change.workloads.removals).toEqual(['old']);
    expect(applied[0]?.versions.workloads).toEqual(new Map([['new', 'v1']]));
  });

  it('takes nothing from a replica that has seen less, and says what it has itself', async () => {
    const client = start();
    const stream = await opened();
    await stream.ask(authorizationType, [], [], 'line;a=5;b=7');
    await stream.ask(addressType, [workload('a')], [], 'line;a=6');
    stream.say(addressType, [], ['a'], 'line;a=5;b=9');
    await vi.waitFor(() => expect(client.status.error).toContain('a: seen up to 5, and 6 is in force'));
    expect([...mesh.workloads.keys()]).toEqual(['a']);
    const next = await server.stream(1);
    expect((await next.request()).node?.metadata).toMatchObject({ HADAL_GENERATION: 'line;a=6;b=7' });
    await next.request();
    // Of nothing that can be compared: that is no reason.
    await next.ask(addressType, [workload('b')], [], '2026-01-01T00:00:00Z/77');
    expect([...mesh.workloads.keys()]).toEqual(['a', 'b']);
    expect(applied.at(-1)?.generation).toBe('line;a=6;b=7');
  });

  it('acknowledges types that it never asked for', async () => {
    start();
    const stream = await settled();
    const answer = await stream.ask('type.googleapis.com/something.Else', [workload('x')]);
    expect(answer.errorDetail).toBeUndefined();
    expect(mesh.workloads.has('x')).toBe(false);
  });

  it('comes back after each end, and counts ends and messages by what they were', async () => {
    const client = start({ backoff: new Backoff({ initialMs: 1, maxMs: 5 }) });
    const first = await settled();
    first.end();
    const second = await opened(1);
    await second.ask(addressType, []);
    second.fail(status.UNAVAILABLE, 'the replica is overloaded');
    await vi.waitFor(() => expect(client.status.error).toContain('the replica is overloaded'));
    const third = await opened(2);
    await third.ask(addressType, []);
    expect(client.status).toMatchObject({ state: 'streaming', error: undefined });
    server.refusal = { code: status.UNAUTHENTICATED, details: 'the token is expired' };
    third.fail(status.UNKNOWN, 'nobody knows');
    await vi.waitFor(() => expect(client.status.error).toContain('the token is expired'));
    server.close();
    await vi.waitFor(() => expect(client.counters.terminations.get('ConnectionError')).toBeGreaterThan(0));
    const { terminations, messages, messageBytes } = client.counters;
    expect(terminations.get('Complete')).toBe(1);
    expect(terminations.get('Reconnect')).toBeGreaterThanOrEqual(1);
    expect(terminations.get('Error')).toBeGreaterThanOrEqual(2);
    expect(messages.get(addressType)).toBe(3);
    expect(messageBytes.get(addressType)).toBeGreaterThan(50);
    expect(client.status.connectedAt).toBeUndefined();
    expect(client.status.lastResponseAt).toBeGreaterThan(Date.now() - 60_000);
  });

  it('waits longer from failure to failure, and starts anew after something good', async () => {
    const delays: number[] = [];
    class Recorded extends Backoff {
      override next(): number {
        delays.push(super.next());
        return 1;
      }
    }
    server.refusal = { code: status.UNAVAILABLE, details: 'not yet' };
    start({ backoff: new Recorded({ initialMs: 10, maxMs: 15_000, random: () => 0 }) });
    await vi.waitFor(() => expect(delays.length).toBeGreaterThan(11), { timeout: 5_000 });
    expect(delays.slice(0, 12)).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 15_000]);
    server.refusal = undefined;
    const stream = await opened();
    await stream.ask(authorizationType, []);
    const before = delays.length;
    stream.end();
    await vi.waitFor(() => expect(delays.length).toBeGreaterThan(before));
    expect(delays[before]).toBe(10);
  });

  it('reads its token anew for each stream', async () => {
    let tokens = 0;
    start({
      metadata: async () => {
        const metadata = new Metadata();
        metadata.set('authorization', `Bearer ${++tokens}`);
        return metadata;
      },
    });
    (await opened()).end();
    expect((await server.stream(1)).metadata.get('authorization')).toEqual(['Bearer 2']);
  });

  it('closes in the middle of a backoff, of a stream, and of a response', async () => {
    const waiting = start({
      backoff: new Backoff({ initialMs: 60_000, jitter: 0 }),
      metadata: () => Promise.reject(new Error('no token')),
    });
    await vi.waitFor(() => expect(waiting.status.state).toBe('waiting'));
    await waiting.close();
    expect(waiting.status).toMatchObject({ state: 'closed', error: expect.stringContaining('no token') });
    const streaming = start();
    await settled();
    await streaming.close();
    expect(streaming.status.state).toBe('closed');
  });
});

describe('on demand', () => {
  it('asks for no address but those that somebody wants to know, each once', async () => {
    const absent: string[] = [];
    const client = start({ onDemand: true, onAbsent: (names) => absent.push(...names) });
    const stream = await server.stream();
    expect(await stream.request()).toMatchObject({ typeUrl: authorizationType, resourceNamesSubscribe: [] });
    expect(await stream.request()).toMatchObject({
      typeUrl: addressType,
      resourceNamesSubscribe: ['*'],
      resourceNamesUnsubscribe: ['*'],
    });
    await stream.ask(authorizationType, []);
    client.lookUp(['net/10.0.0.1', 'net/10.0.0.9']);
    client.lookUp(['net/10.0.0.1']);
    const asked = await stream.request();
    expect(asked).toMatchObject({
      typeUrl: addressType,
      resourceNamesSubscribe: ['net/10.0.0.1', 'net/10.0.0.9'],
    });
    await stream.ask(addressType, [workload('a')], ['net/10.0.0.9']);
    expect([...mesh.workloads.keys()]).toEqual(['a']);
    expect(absent).toEqual(['net/10.0.0.9']);
    expect(stream.requests).toHaveLength(5);
    stream.end();
    const next = await server.stream(1);
    await next.request();
    expect(await next.request()).toMatchObject({
      resourceNamesSubscribe: ['*', 'net/10.0.0.1', 'net/10.0.0.9'],
      resourceNamesUnsubscribe: ['*'],
    });
  });
});

describe('on demand, what nobody uses any more', () => {
  it('is not asked for any more, is gone from the mesh, and is asked for again when it is wanted', async () => {
    const client = start({ onDemand: true });
    const stream = await opened();
    await stream.ask(authorizationType, []);
    client.lookUp(['net/10.0.0.1', 'b']);
    await stream.request();
    await stream.ask(addressType, [workload('a'), workload('b')]);
    await client.forget(['net/10.0.0.1'], { workloads: ['a'], services: ['never/there'] });
    expect([...mesh.workloads.keys()]).toEqual(['b']);
    expect(await stream.request()).toMatchObject({
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: ['net/10.0.0.1'],
    });
    expect(client.status.names).toBe(1);
    expect(client.lookUp(['net/10.0.0.1'])).toBe(true);
    expect((await stream.request()).resourceNamesSubscribe).toEqual(['net/10.0.0.1']);
    stream.end();
    const next = await server.stream(1);
    await next.request();
    expect((await next.request()).initialResourceVersions).toEqual(new Map([['b', 'v1']]));
  });
});

describe('on demand, of very many names', () => {
  it('asks for one more at the same cost', () => {
    const costOf = (known: number) => {
      let subscription = createSubscription({ typeUrl: addressType, wildcard: false });
      const names = Array.from({ length: known }, (_, index) => `net/${index}`);
      subscription = lookUp(subscription, names)?.subscription ?? subscription;
      const begun = performance.now();
      for (let index = 0; index < 500; index++)
        subscription = lookUp(subscription, [`net/more-${index}`])?.subscription ?? subscription;
      expect(subscription.wanted.size).toBe(known + 500);
      return performance.now() - begun;
    };
    costOf(100);
    const [few, many] = [costOf(100), costOf(50_000)];
    // Where all names are copied for each it is some hundred times as much.
    expect(many / (few + 5)).toBeLessThan(60);
  });
});

describe('on demand, after a restart', () => {
  it('follows what was asked for before by the names it came under', async () => {
    const workloads = new Map([['a', 'v1']]);
    start({ onDemand: true, kept: { versions: { ...noVersions, workloads }, generation: '' } });
    const stream = await server.stream();
    await stream.request();
    expect(await stream.request()).toMatchObject({
      resourceNamesSubscribe: ['*', 'a'],
      initialResourceVersions: workloads,
    });
    await stream.ask(addressType, [], ['a']);
    expect(applied.at(-1)?.change.workloads.removals).toEqual(['a']);
  });
});

describe('the identity of a node', () => {
  const facts = {
    nodeName: 'n1',
    clusterId: 'east',
    network: 'net',
    podName: 'agent-x',
    podNamespace: 'istio-system',
    podAddress: '10.0.0.9',
  };

  it('is what Istio reads, with everything that the environment adds to it', () => {
    const problems: string[] = [];
    const environment = {
      ISTIO_META_DNS_CAPTURE: 'true',
      ISTIO_META_CLUSTER_ID: 'west',
      ISTIO_METAJSON_LABELS: '{"app":"hadal"}',
      ISTIO_METAJSON_BROKEN: '{',
      OTHER: 'x',
    };
    const { id, metadata } = nodeIdentity(facts, environment, (problem) => problems.push(problem));
    expect(id).toBe('ztunnel~10.0.0.9~agent-x.istio-system~istio-system.svc.cluster.local');
    expect(metadata).toEqual({
      NAME: 'agent-x',
      NAMESPACE: 'istio-system',
      INSTANCE_IPS: '10.0.0.9',
      NODE_NAME: 'n1',
      NETWORK: 'net',
      CLUSTER_ID: 'west',
      DNS_CAPTURE: 'true',
      LABELS: { app: 'hadal' },
    });
    expect(problems).toEqual([expect.stringContaining('ISTIO_METAJSON_BROKEN')]);
  });
});
