import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import type { Caller } from '../../../src/identity/caller.ts';
import { discoveryChannelOptions } from '../../../src/xds/server.ts';
import type { DiscoveryLimits } from '../../../src/xds/server-limits.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import {
  Agent,
  caller,
  moment,
  namesOf,
  type RequestFields,
  startControlPlane,
  versionsOf,
} from './discovery.ts';
import { change, endpointOf, largeMesh, pod, service, serviceName, uid } from './mesh.ts';
import { RawAgent } from './raw-agent.ts';

const sick = { status: 'UNHEALTHY' } as const;
const many = (count: number) => Array.from({ length: count }, (_, index) => `name-${index}`);
const pods = change({ workloads: { upserts: [pod('a')] } });

/** Somebody else is served meanwhile and afterwards. */
async function expectService(address: string): Promise<void> {
  const agent = new Agent({ address });
  agent.subscribe(addressType);
  expect(namesOf(await agent.take())).toEqual([uid('a')]);
  agent.close();
}

describe('a stream that sends', () => {
  it('bytes that are no request ends, and no other with it', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(pods);
    const bystander = new Agent({ address });
    bystander.subscribe(addressType);
    await bystander.take();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), async (bytes) => {
        const agent = new RawAgent(address);
        agent.read();
        agent.sendBytes(bytes);
        // Some are a message, of fields that nobody knows.
        expect([status.INTERNAL, status.INVALID_ARGUMENT].map(String)).toContain(await agent.ended);
      }),
      { numRuns: 25 },
    );
    await expect.poll(() => discovery.agents().length).toBe(1);
    store.apply(change({ workloads: { upserts: [pod('b')] } }));
    expect(namesOf(await bystander.take())).toEqual([uid('b')]);
  });

  it('a first request without a node is refused', async () => {
    const { address } = await startControlPlane();
    const agent = new Agent({ address }, { id: '' });
    agent.subscribe(addressType);
    expect(await agent.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: 'the first request of a stream must name its node',
    });
  });

  it('requests of a type that is not known gets no answer to those', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(pods);
    const agent = new Agent({ address });
    for (let index = 0; index < 100; index++) agent.subscribe(`type.googleapis.com/x${index}`);
    await moment();
    expect(agent.queue).toEqual([]);
    agent.subscribe(addressType);
    expect(namesOf(await agent.take())).toEqual([uid('a')]);
    expect(discovery.agents()[0]?.subscriptions).toHaveLength(1);
  });

  it('requests without end is ended', async () => {
    const { store, discovery, address } = await startControlPlane({
      limits: { requestBurst: 200, requestsPerSecond: 10 },
    });
    store.apply(pods);
    const agent = new Agent({ address });
    for (let index = 0; index < 1_000; index++) agent.subscribe(addressType);
    expect(await agent.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    expect(discovery.agents()).toEqual([]);
    expect(discovery.counters.ended.get('resource_exhausted')).toBe(1);
    await expectService(address);
  });

  it.each<[string, Partial<DiscoveryLimits>, RequestFields, number]>([
    ['more names than a request may have', { requestNames: 100 }, { resourceNamesSubscribe: many(101) }, 8],
    ['more names to forget than that', { requestNames: 100 }, { resourceNamesUnsubscribe: many(101) }, 8],
    [
      'more versions than that',
      { requestNames: 100 },
      { initialResourceVersions: new Map(many(101).map((name) => [name, 'v'])) },
      8,
    ],
    ['a name without end', { nameBytes: 300 }, { resourceNamesSubscribe: ['n'.repeat(301)] }, 8],
    ['a nonce without end', { fieldBytes: 1_000 }, { responseNonce: 'n'.repeat(1_001) }, 8],
    [
      'names faster than it may',
      { nameBurst: 100, namesPerSecond: 1 },
      { resourceNamesSubscribe: many(101) },
      8,
    ],
  ])('%s is ended, and nothing of that is done', async (_, limits, fields, code) => {
    const { store, discovery, address } = await startControlPlane({ limits });
    store.apply(pods);
    const agent = new Agent({ address });
    agent.send({ typeUrl: addressType, ...fields });
    expect(await agent.ended).toMatchObject({ code });
    expect(agent.queue).toEqual([]);
    expect(discovery.agents()).toEqual([]);
    await expectService(address);
  });

  it('more bytes than a request may have is ended before they are there', async () => {
    const { store, address } = await startControlPlane();
    store.apply(pods);
    const agent = new RawAgent(address);
    agent.read();
    const most = discoveryChannelOptions['grpc.max_receive_message_length'];
    agent.announce(most + 1);
    expect(await agent.ended).toBe(String(status.RESOURCE_EXHAUSTED));
    await expectService(address);
  });

  it('a refusal without end is cut where it is taken in, and the stream goes on', async () => {
    const { store, discovery, address } = await startControlPlane({ limits: { refusalLength: 100 } });
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    agent.acknowledge(await agent.next(), `${uid('a')}: ${'x'.repeat(1_000_000)}`);
    await expect.poll(() => discovery.agents()[0]?.subscriptions[0]?.refused.length).toBe(1);
    const [refused] = discovery.agents()[0]?.subscriptions[0]?.refused ?? [];
    expect(refused?.reason.length).toBeLessThanOrEqual(100);
    store.apply(change({ workloads: { upserts: [pod('b')] } }));
    expect(namesOf(await agent.take())).toEqual([uid('b')]);
  });

  it('more names than it may hears an error for those, and goes on with the others', async () => {
    const { store, discovery, address } = await startControlPlane({ limits: { names: 100 } });
    store.apply(change({ workloads: { upserts: [pod('a'), pod('b')] } }));
    const agent = new Agent({ address });
    agent.subscribeTo(addressType, [...many(99), uid('a')]);
    expect((await agent.take()).removedResources).toHaveLength(99);
    const ask = async (...names: string[]) => {
      agent.send({ typeUrl: addressType, resourceNamesSubscribe: names });
      return agent.take();
    };
    // Also as what is not there: who knows nothing of errors must not wait for ever.
    expect(await ask(uid('b'))).toMatchObject({
      resources: [],
      removedResources: [uid('b')],
      resourceErrors: [
        {
          resourceName: { name: uid('b') },
          errorDetail: {
            code: status.RESOURCE_EXHAUSTED,
            message: expect.stringContaining('unsubscribe some'),
          },
        },
      ],
    });
    expect(discovery.counters.refusedNames).toBe(1);
    expect(discovery.agents()[0]?.subscriptions).toMatchObject([{ names: 100, followed: 1 }]);
    // Nothing is told of what was refused; of the rest it is.
    store.apply(change({ workloads: { upserts: [pod('b', sick), pod('a', sick)] } }));
    expect(namesOf(await agent.take())).toEqual([uid('a')]);
    // Room is made by giving back, and the name is asked for again.
    agent.send({
      typeUrl: addressType,
      resourceNamesUnsubscribe: ['name-0'],
      resourceNamesSubscribe: [uid('b')],
    });
    expect(await agent.take()).toMatchObject({ removedResources: [], resourceErrors: [] });
    expect(discovery.agents()[0]?.subscriptions).toMatchObject([{ names: 100, followed: 2 }]);
  });

  it('as many names as it wants when it comes again is served as far as it may, however often it comes', async () => {
    const { store, address } = await startControlPlane({ limits: { names: 10 } });
    store.apply(
      change({ workloads: { upserts: Array.from({ length: 20 }, (_, index) => pod(`p${index}`)) } }),
    );
    const names = Array.from({ length: 20 }, (_, index) => uid(`p${index}`));
    for (let time = 0; time < 3; time++) {
      const agent = new Agent({ address });
      agent.subscribeTo(addressType, names);
      const answer = await agent.take();
      expect(namesOf(answer)).toEqual(names.slice(0, 10));
      expect(answer.resourceErrors.map(({ resourceName }) => resourceName?.name)).toEqual(names.slice(10));
      agent.close();
    }
  });

  it('names that it forgets again leaves nothing behind', async () => {
    const { store, discovery, address } = await startControlPlane({ limits: { names: 100 } });
    const agent = new Agent({ address });
    agent.subscribeTo(addressType, []);
    for (let round = 0; round < 30; round++) {
      const services = [service(`s${round}`, `10.96.0.${round + 1}`)];
      const workloads = [
        pod(`w${round}`, { addresses: [`10.0.1.${round}`], services: endpointOf(`s${round}`) }),
      ];
      store.apply(change({ workloads: { upserts: workloads }, services: { upserts: services } }));
      const asked = [
        `/10.96.0.${round + 1}`,
        `/10.0.1.${round}`,
        ...many(50).map((name) => `${round}-${name}`),
      ];
      agent.send({ typeUrl: addressType, resourceNamesSubscribe: asked });
      expect((await agent.take()).resources).toHaveLength(2);
      // The service goes before its name is given back: its endpoint came by it.
      if (round % 2 === 0) {
        store.apply(change({ services: { removals: [serviceName(`s${round}`)] } }));
        await agent.take();
      }
      agent.send({ typeUrl: addressType, resourceNamesUnsubscribe: asked });
    }
    await expect
      .poll(() => discovery.agents()[0]?.subscriptions)
      .toMatchObject([{ names: 0, followed: 0, pending: 0 }]);
  });

  it('versions of what never was is told that it is gone, and nothing of it is kept', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(pods);
    const agent = new Agent({ address });
    const versions = Array.from({ length: 20_000 }, (_, index) => [`__proto__/${index}`, 'v'] as const);
    agent.subscribe(addressType, versions);
    const response = await agent.take();
    expect(response.removedResources).toHaveLength(20_000);
    expect(namesOf(response)).toEqual([uid('a')]);
    expect(discovery.agents()[0]?.subscriptions).toMatchObject([{ pending: 0, names: 0 }]);
  });

  it('nothing is ended after a while', async () => {
    const { discovery, address } = await startControlPlane({ limits: { openingMs: 100 } });
    const agent = new Agent({ address });
    expect(await agent.ended).toMatchObject({
      code: status.DEADLINE_EXCEEDED,
      details: 'no request came in time',
    });
    expect(discovery.agents()).toEqual([]);
  });
});

describe('a caller', () => {
  it('that cannot show who it is gets nothing, and does not hear why', async () => {
    const { store, address } = await startControlPlane({
      authenticate: async (metadata) => {
        if (metadata.get('authorization')[0] === 'Bearer good') return caller;
        if (metadata.get('authorization').length === 0) throw new Error('the API server is away');
        throw new HadalError('ERR_IDENTITY_UNAUTHENTICATED', 'the token was stolen');
      },
    });
    store.apply(pods);
    const thief = new Agent({ address }, { headers: { authorization: 'Bearer bad' } });
    thief.subscribe(addressType);
    expect(await thief.ended).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: 'authentication failure',
    });
    expect(thief.queue).toEqual([]);
    const early = new Agent({ address });
    expect(await early.ended).toMatchObject({
      code: status.UNAVAILABLE,
      details: 'callers cannot be authenticated now; dial again later',
    });
    const agent = new Agent({ address }, { headers: { authorization: 'Bearer good' } });
    agent.subscribe(addressType);
    expect(namesOf(await agent.take())).toEqual([uid('a')]);
  });

  it('that goes on with tokens that are not accepted is refused without a look, until some time has passed', async () => {
    let looks = 0;
    const { address } = await startControlPlane({
      limits: { strangerBurst: 3, strangersPerSecond: 2 },
      authenticate: async () => {
        looks += 1;
        throw new HadalError('ERR_IDENTITY_UNAUTHENTICATED', 'no such token');
      },
    });
    const codes: (number | undefined)[] = [];
    for (let call = 0; call < 6; call++) codes.push((await new Agent({ address }).ended)?.code);
    expect(codes.slice(0, 3)).toEqual([16, 16, 16]);
    expect(codes.at(-1)).toBe(status.RESOURCE_EXHAUSTED);
    expect(looks).toBeLessThan(6);
    await expect.poll(async () => (await new Agent({ address }).ended)?.code, { interval: 300 }).toBe(16);
  });

  it('that takes long to be known is answered afterwards; one that leaves meanwhile is not asked for any longer', async () => {
    let aborted = false;
    const { store, discovery, address } = await startControlPlane({
      authenticate: (metadata, signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            aborted = true;
          });
          if (metadata.get('who')[0] === 'agent') setTimeout(() => resolve(caller), 100);
        }),
    });
    store.apply(pods);
    const agent = new Agent({ address }, { headers: { who: 'agent' } });
    agent.subscribe(addressType);
    expect(namesOf(await agent.take())).toEqual([uid('a')]);
    const other = new Agent({ address });
    other.subscribe(addressType);
    await moment();
    other.close();
    await expect.poll(() => aborted).toBe(true);
    expect(discovery.agents()).toHaveLength(1);
  });

  it('has only so many streams, and all callers together', async () => {
    const { store, address } = await startControlPlane({
      limits: { streamsPerCaller: 2, streams: 4 },
      authenticate: async (metadata) => ({ ...caller, name: String(metadata.get('who')[0]) }),
    });
    store.apply(pods);
    const dial = (who: string) => {
      const agent = new Agent({ address }, { headers: { who } });
      agent.subscribe(addressType);
      return agent;
    };
    const [first, second] = [dial('one'), dial('one')];
    await first.take();
    await second.take();
    expect(await dial('one').ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: 'one has 2 streams already',
    });
    await dial('two').take();
    await dial('two').take();
    expect(await dial('three').ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    first.close();
    await expect
      .poll(async () => (await Promise.race([dial('one').next(), moment()]))?.resources.length)
      .toBe(1);
  });

  it.each<[string, Partial<Caller>, Partial<DiscoveryLimits>]>([
    ['whose token ends', { expiresAt: Date.now() }, {}],
    ['whose token ends never', {}, { streamAgeMs: 300 }],
    ['whose token ends late', { expiresAt: Date.now() + 3_600_000 }, { streamAgeMs: 300 }],
  ])('%s has to come again, and is told so as if nothing had been', async (_, fields, limits) => {
    const expiresAt =
      fields.expiresAt === undefined ? undefined : Math.max(fields.expiresAt, Date.now() + 300);
    const { store, discovery, address } = await startControlPlane({
      authenticate: async () => ({ ...caller, expiresAt }),
      limits,
    });
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    await agent.take();
    const begun = Date.now();
    // With OK: ztunnel and our agent dial at once, without a warning.
    expect(await agent.ended).toBeUndefined();
    expect(Date.now() - begun).toBeLessThan(2_000);
    expect(discovery.counters.ended).toEqual(new Map([['renewal', 1]]));
  });

  it('that is no agent gets nothing of the mesh, hears why, and is counted', async () => {
    const account = { namespace: 'shop', serviceAccount: 'front', pod: 'front-1', podUid: 'uid' };
    const { store, discovery, address } = await startControlPlane({
      authenticate: async () => ({ ...caller, isAgent: false, name: 'shop/front in pod front-1', account }),
    });
    store.apply(pods);
    const workload = new Agent({ address });
    workload.subscribe(addressType);
    expect(await workload.ended).toMatchObject({
      code: status.PERMISSION_DENIED,
      details:
        'shop/front in pod front-1 may not have the mesh: only agents may, name its account in HADAL_AGENT_ACCOUNTS if it is one',
    });
    expect(workload.queue).toEqual([]);
    expect(discovery.counters.refusedCalls).toMatchObject({ permission: 1 });
  });

  it('that nobody knows yet takes no stream from those who are known', async () => {
    const { store, address } = await startControlPlane({
      limits: { streams: 2 },
      authenticate: (metadata) =>
        metadata.get('who').length > 0 ? Promise.resolve(caller) : new Promise(() => {}),
    });
    store.apply(pods);
    for (let index = 0; index < 20; index++) new Agent({ address }).subscribe(addressType);
    await moment();
    const agent = new Agent({ address }, { headers: { who: 'agent' } });
    agent.subscribe(addressType);
    expect(namesOf(await agent.take())).toEqual([uid('a')]);
  });
});

describe('a connection', () => {
  it('that is old ends, also one that nobody reads, and the agent that dials again is told what changed', async () => {
    expect(discoveryChannelOptions['grpc.max_connection_age_ms']).toBeGreaterThan(60_000);
    expect(discoveryChannelOptions['grpc.max_connection_age_grace_ms']).toBeGreaterThan(1_000);
    const channel = { 'grpc.max_connection_age_ms': 300, 'grpc.max_connection_age_grace_ms': 100 };
    const { store, discovery, address } = await startControlPlane({ channel });
    store.apply(largeMesh(2_000, 100));
    const deaf = new RawAgent(address);
    deaf.send({ node: { id: 'deaf' }, typeUrl: addressType });
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    const versions = versionsOf([await agent.take()]);
    expect(await agent.ended).toMatchObject({ code: status.UNAVAILABLE });
    await expect.poll(() => discovery.agents(), { timeout: 5_000 }).toEqual([]);
    const again = new Agent({ address });
    again.subscribe(addressType, versions);
    expect(await again.take()).toMatchObject({ resources: [], removedResources: [] });
  });
});

describe('the end of a control plane', () => {
  it('ends its streams, so that agents dial another', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    await agent.take();
    discovery.close();
    expect(await agent.ended).toMatchObject({ code: status.UNAVAILABLE });
    store.apply(change({ workloads: { upserts: [pod('b')] } }));
    expect(discovery.agents()).toEqual([]);
  });

  it('is not waited for by an agent that has nothing more to ask', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    await agent.take();
    agent.call.end();
    expect(await agent.ended).toBeUndefined();
    expect(discovery.agents()).toEqual([]);
  });
});
