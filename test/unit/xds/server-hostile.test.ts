import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import { discoveryChannelOptions } from '../../../src/xds/server.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import { Agent, caller, moment, namesOf, startControlPlane, versionsOf } from './discovery.ts';
import { change, largeMesh, pod, uid } from './mesh.ts';
import { RawAgent } from './raw-agent.ts';

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

  it('more names than it may is ended', async () => {
    const { store, address } = await startControlPlane({ limits: { names: 100 } });
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribeTo(
      addressType,
      Array.from({ length: 100 }, (_, index) => `name-${index}`),
    );
    expect((await agent.take()).removedResources).toHaveLength(100);
    agent.subscribeTo(addressType, ['one-more']);
    expect(await agent.ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining('subscribe to everything instead'),
    });
    await expectService(address);
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

  it('whose token ends has to come again', async () => {
    const { store, address } = await startControlPlane({
      authenticate: async () => ({ ...caller, expiresAt: Date.now() + 200 }),
    });
    store.apply(pods);
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    await agent.take();
    expect(await agent.ended).toMatchObject({ code: status.DEADLINE_EXCEEDED });
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
