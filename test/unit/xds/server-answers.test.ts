import { describe, expect, it } from 'vitest';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';
import { Agent, moment, namesOf, startControlPlane, versionsOf } from './discovery.ts';
import { change, largeMesh, pod, policy, service, serviceName, uid } from './mesh.ts';
import { RawAgent } from './raw-agent.ts';

describe('answers of agents', () => {
  it('say what each has taken over, and what it refuses and why', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(change({ policies: { upserts: [policy('one'), policy('two'), policy('three')] } }));
    const agent = new Agent({ address }, { id: 'ztunnel~10.0.0.1~agent-a.mesh~mesh.svc' });
    agent.subscribe(authorizationType);
    const response = await agent.next();
    expect(discovery.agents()).toMatchObject([
      { subscriptions: [{ typeUrl: authorizationType, unanswered: 1, acknowledged: '', refused: [] }] },
    ]);
    const reasons = 'shop/one: rules[0]: field number 9 is not understood; and more; shop/two: no';
    agent.acknowledge(response, reasons);
    await moment();
    const refusedOne = { name: 'shop/one', reason: 'rules[0]: field number 9 is not understood; and more' };
    expect(discovery.agents()).toMatchObject([
      {
        id: 'ztunnel~10.0.0.1~agent-a.mesh~mesh.svc',
        node: 'a',
        caller: 'join token of node a',
        subscriptions: [
          {
            mode: 'everything',
            unanswered: 0,
            acknowledged: store.generationText,
            sentResources: 3,
            refused: [
              { ...refusedOne, version: store.get('policies', 'shop/one')?.version },
              { name: 'shop/two', reason: 'no' },
            ],
          },
        ],
      },
    ]);
    expect(discovery.counters.refused).toBe(2);
    // Not sent again as it is; a new version that is taken over ends the refusal, and so does its end.
    store.apply(
      change({ policies: { upserts: [policy('one', { action: 'DENY' })], removals: ['shop/two'] } }),
    );
    expect(namesOf(await agent.take())).toEqual(['shop/one']);
    await moment();
    expect(discovery.agents()).toMatchObject([{ subscriptions: [{ refused: [] }] }]);
  });

  it('that refuse something without a name are kept too', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(change({ policies: { upserts: [policy('one')] } }));
    const agent = new Agent({ address });
    agent.subscribe(authorizationType);
    agent.acknowledge(await agent.next(), 'out of memory');
    await moment();
    expect(discovery.agents()).toMatchObject([
      { subscriptions: [{ refused: [{ name: '', reason: 'out of memory' }] }] },
    ]);
  });

  it('to responses that were never sent change nothing', async () => {
    const { store, discovery, address } = await startControlPlane();
    store.apply(change({ policies: { upserts: [policy('one')] } }));
    const agent = new Agent({ address });
    agent.subscribe(authorizationType);
    const { nonce } = await agent.next();
    agent.acknowledge({ typeUrl: authorizationType, nonce: 'stale' }, 'shop/one: no');
    // The nonce of another type's response answers nothing.
    agent.acknowledge({ typeUrl: addressType, nonce }, 'shop/one: no');
    await moment();
    const policies = discovery
      .agents()[0]
      ?.subscriptions.find(({ typeUrl }) => typeUrl === authorizationType);
    expect(policies).toMatchObject({ unanswered: 1, acknowledged: '', refused: [] });
  });

  it('are waited for when many are missing, and what changes meanwhile is sent once, as it is then', async () => {
    const { store, discovery, address } = await startControlPlane({ limits: { unanswered: 2 } });
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    const first = await agent.next();
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    await agent.next();
    for (const node of ['b', 'c', 'd']) {
      store.apply(change({ workloads: { upserts: [pod('a', { node }), pod(`on-${node}`, { node })] } }));
      await moment(10);
    }
    store.apply(change({ workloads: { removals: [uid('on-b')] } }));
    await moment();
    expect(agent.queue).toEqual([]);
    expect(discovery.agents()).toMatchObject([
      { isSlow: true, subscriptions: [{ pending: 4, unanswered: 2 }] },
    ]);
    agent.acknowledge(first);
    const rest = await agent.take();
    expect(namesOf(rest)).toEqual([uid('a'), uid('on-c'), uid('on-d')]);
    expect(rest.removedResources).toEqual([uid('on-b')]);
    expect(rest.resources[0]?.version).toBe(store.get('workloads', uid('a'))?.version);
  });
});

describe('what an agent is told that was away for a moment', () => {
  async function stalled(subscribe: (agent: Agent) => void) {
    const { store, address } = await startControlPlane({ limits: { unanswered: 1 } });
    store.apply(change({ policies: { upserts: [policy('one')] }, workloads: { upserts: [pod('a')] } }));
    const agent = new Agent({ address });
    subscribe(agent);
    const unanswered = await agent.next();
    return { store, agent, goOn: () => agent.acknowledge(unanswered) };
  }

  it('is not the end of a policy that is there again', async () => {
    const { store, agent, goOn } = await stalled((each) => {
      each.subscribe(authorizationType);
      each.subscribe(addressType);
    });
    store.apply(change({ policies: { removals: ['shop/one'] } }));
    store.apply(change({ policies: { upserts: [policy('one')] }, workloads: { upserts: [pod('b')] } }));
    goOn();
    const told = [await agent.take(), await agent.take()];
    await moment();
    expect([...told, ...agent.queue].flatMap(({ removedResources }) => removedResources)).toEqual([]);
    expect(told.flatMap(namesOf)).toEqual(expect.arrayContaining(['shop/one', uid('b')]));
  });

  it('is not that there is nothing at an address where something came meanwhile', async () => {
    const { store, agent, goOn } = await stalled((each) => each.subscribeTo(addressType, ['/10.0.0.1']));
    agent.send({ typeUrl: addressType, resourceNamesSubscribe: ['/10.9.9.9'] });
    await moment();
    store.apply(change({ workloads: { upserts: [pod('b', { addresses: ['10.9.9.9'] })] } }));
    goOn();
    const told = await agent.take();
    expect([namesOf(told), told.removedResources]).toEqual([[uid('b')], []]);
  });
});

describe('the order of what is told', () => {
  it('is policies, then those that name them, then policies that are gone', async () => {
    const { store, address } = await startControlPlane();
    const named = (...authorizationPolicies: string[]) => pod('a', { authorizationPolicies });
    store.apply(
      change({ policies: { upserts: [policy('old')] }, workloads: { upserts: [named('shop/old')] } }),
    );
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    agent.subscribe(authorizationType);
    await agent.take();
    await agent.take();
    store.apply(
      change({
        policies: { upserts: [policy('new')], removals: ['shop/old'] },
        workloads: { upserts: [named('shop/new')] },
      }),
    );
    const told = [await agent.take(), await agent.take(), await agent.take()];
    expect(told.map((response) => [namesOf(response), response.removedResources])).toEqual([
      [['shop/new'], []],
      [[uid('a')], []],
      [[], ['shop/old']],
    ]);
  });

  it('is what is gone first, since its address may be that of something new', async () => {
    const { store, address } = await startControlPlane({ limits: { responseBytes: 400 } });
    store.apply(change({ workloads: { upserts: [pod('old')] } }));
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    await agent.take();
    store.apply(
      change({
        workloads: { upserts: [pod('new'), pod('newer')], removals: [uid('old')] },
        services: { upserts: [service('front')] },
      }),
    );
    const told = [await agent.take(), await agent.take()];
    expect(told[0]?.removedResources).toEqual([uid('old')]);
    expect(told.flatMap(namesOf)).toEqual([serviceName('front'), uid('new'), uid('newer')]);
  });
});

describe('an agent that does not read', () => {
  it('costs the names of what changed, holds up nobody, and hears the newest in the end', async () => {
    const { store, discovery, address } = await startControlPlane();
    const mesh = largeMesh(1_000, 100);
    store.apply(mesh);
    const slow = new RawAgent(address);
    slow.send({ node: { id: 'slow' }, typeUrl: addressType });
    await moment();
    const quick = new Agent({ address });
    quick.subscribe(addressType);
    await quick.take();
    const pods = mesh.workloads.upserts;
    for (let round = 0; round < 10; round++) {
      store.apply(
        change({ workloads: { upserts: pods.map((each) => ({ ...each, workloadName: `round-${round}` })) } }),
      );
      expect((await quick.take()).resources).toHaveLength(1_000);
    }
    const [status] = discovery.agents();
    expect(status).toMatchObject({ id: 'slow', isSlow: true, subscriptions: [{ pending: 1_000 }] });
    // The first response is on its way still; the other agent was told of 4 MiB meanwhile.
    expect(status?.sentBytes).toBeLessThan(0.5 * 1024 ** 2);
    slow.read();
    await expect.poll(() => slow.responses.length, { timeout: 5_000 }).toBe(2);
    const [, last] = slow.responses;
    expect(versionsOf(last === undefined ? [] : [last])).toEqual(
      new Map(Array.from(store.all('workloads'), ({ name, version }) => [name, version])),
    );
    await moment();
    expect(slow.responses).toHaveLength(2);
  });
});

describe('the generation of a response', () => {
  const seen = (positions: Record<string, bigint>) => ({
    lineage: 'cluster-1',
    positions: new Map(Object.entries(positions)),
  });

  it('grows with what the control plane has seen', async () => {
    const { store, address } = await startControlPlane();
    store.apply(change({ workloads: { upserts: [pod('a')] } }), seen({ pods: 7n }));
    const agent = new Agent({ address });
    agent.subscribe(addressType);
    expect((await agent.take()).systemVersionInfo).toBe('cluster-1;pods=7');
    store.apply(change({ workloads: { upserts: [pod('b')] } }), seen({ pods: 9n, services: 8n }));
    expect((await agent.take()).systemVersionInfo).toBe('cluster-1;pods=9;services=8');
    // Seen, and nothing of the mesh with it; numbers never go back.
    store.advance(seen({ pods: 12n, services: 3n }));
    expect(store.generationText).toBe('cluster-1;pods=12;services=8');
  });

  it('keeps a replica that is behind from rolling an agent back', async () => {
    const { store, address } = await startControlPlane();
    store.apply(change({ workloads: { upserts: [pod('a')] } }), seen({ pods: 7n }));
    const ahead = new Agent({ address }, { metadata: { HADAL_GENERATION: 'cluster-1;pods=8' } });
    ahead.subscribe(addressType);
    expect(await ahead.ended).toMatchObject({ details: expect.stringContaining('this replica is behind') });
    expect(ahead.queue).toEqual([]);
    const advanced = await startControlPlane({ store, refresh: () => store.advance(seen({ pods: 8n })) });
    const again = new Agent(advanced, { metadata: { HADAL_GENERATION: 'cluster-1;pods=8' } });
    again.subscribe(addressType);
    expect(await again.take()).toMatchObject({ systemVersionInfo: 'cluster-1;pods=8' });
    for (const known of ['cluster-1;pods=7', 'cluster-2;pods=8', 'no generation', '']) {
      const agent = new Agent({ address }, { metadata: { HADAL_GENERATION: known } });
      agent.subscribe(addressType);
      expect(namesOf(await agent.take())).toEqual([uid('a')]);
    }
  });
});
