import { describe, expect, it } from 'vitest';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';
import { Agent, moment, namesOf, startControlPlane, versionsOf } from './discovery.ts';
import { change, endpointOf, pod, policy, service, serviceName, uid } from './mesh.ts';

async function plane() {
  const started = await startControlPlane();
  started.store.apply(
    change({
      workloads: {
        upserts: [
          pod('front-1', { addresses: ['10.0.0.1', 'fd00::1'], services: endpointOf('front') }),
          pod('front-2', { addresses: ['10.0.0.2'], services: endpointOf('front') }),
          pod('back', { addresses: ['10.0.0.3'], network: 'east' }),
          pod('host', { addresses: ['10.0.0.9'], networkMode: 'HOST_NETWORK' }),
        ],
      },
      services: { upserts: [service('front'), service('outside', '192.0.2.0', 24)] },
      policies: { upserts: [policy('one'), policy('two')] },
    }),
  );
  return started;
}

/** What a question gets: names, and what it is told that there is nothing of. */
async function ask(agent: Agent, ...names: string[]): Promise<string[]> {
  agent.send({ typeUrl: addressType, resourceNamesSubscribe: names });
  const response = await agent.take();
  return [...namesOf(response), ...response.removedResources.map((name) => `no ${name}`)];
}

const front = [serviceName('front'), uid('front-1'), uid('front-2')];

describe('an agent that asks by name', () => {
  it('gets nothing until it asks, and then what it asked for', async () => {
    const agent = new Agent(await plane());
    agent.subscribeTo(addressType, []);
    await moment();
    expect(agent.queue).toEqual([]);
    expect(await ask(agent, uid('back'))).toEqual([uid('back')]);
    expect(await ask(agent, '/fd00::1')).toEqual([uid('front-1')]);
    expect(await ask(agent, 'east/10.0.0.3')).toEqual([uid('back')]);
    expect(await ask(agent, '/10.0.0.3')).toEqual(['no /10.0.0.3']);
    expect(await ask(agent, 'nothing')).toEqual(['no nothing']);
    // A pod in its host's network is not what somebody means who asks for the host's address.
    expect(await ask(agent, '/10.0.0.9')).toEqual(['no /10.0.0.9']);
  });

  it('gets a service with its endpoints, by name, by address and by an address in its range', async () => {
    const agent = new Agent(await plane());
    agent.subscribeTo(addressType, []);
    expect(await ask(agent, serviceName('front'))).toEqual(front);
    expect(await ask(agent, '/10.96.0.1')).toEqual(front);
    expect(await ask(agent, '/192.0.2.77')).toEqual([serviceName('outside')]);
    expect(await ask(agent, '/192.0.3.77')).toEqual(['no /192.0.3.77']);
  });

  it('hears of changes of what it asked for, and of nothing else', async () => {
    const { store, ...rest } = await plane();
    const agent = new Agent(rest);
    agent.subscribeTo(addressType, ['/10.96.0.1', '/10.9.9.9', '/192.0.4.1']);
    const first = await agent.take();
    expect(namesOf(first)).toEqual(front);
    expect(first.removedResources).toEqual(['/10.9.9.9', '/192.0.4.1']);
    store.apply(change({ workloads: { upserts: [pod('back', { status: 'UNHEALTHY' })] } }));
    // A new endpoint of the service, a pod with an address that was not there, and a service around another.
    const late = pod('late', { addresses: ['10.9.9.9'] });
    const third = pod('front-3', { addresses: ['10.0.0.4'], services: endpointOf('front') });
    store.apply(
      change({
        workloads: { upserts: [late, third, pod('other')] },
        services: { upserts: [service('wide', '192.0.4.0', 24)] },
      }),
    );
    expect(namesOf(await agent.take())).toEqual([serviceName('wide'), uid('late'), uid('front-3')]);
    // No longer an endpoint: still heard of, since the agent has it.
    store.apply(change({ workloads: { upserts: [pod('front-2')] } }));
    expect(namesOf(await agent.take())).toEqual([uid('front-2')]);
    store.apply(change({ workloads: { removals: [uid('front-2'), uid('other')] } }));
    expect(await agent.take()).toMatchObject({ resources: [], removedResources: [uid('front-2')] });
  });

  it('gets the endpoints of a service that comes after them', async () => {
    const { store, ...rest } = await plane();
    const agent = new Agent(rest);
    agent.subscribeTo(addressType, ['/10.96.0.7']);
    expect((await agent.take()).removedResources).toEqual(['/10.96.0.7']);
    store.apply(change({ workloads: { upserts: [pod('late', { services: endpointOf('late') })] } }));
    await moment();
    expect(agent.queue).toEqual([]);
    store.apply(change({ services: { upserts: [service('late', '10.96.0.7')] } }));
    expect(namesOf(await agent.take())).toEqual([serviceName('late'), uid('late')]);
  });

  it('hears no more of what it does not ask for any longer', async () => {
    const { store, ...rest } = await plane();
    const agent = new Agent(rest);
    agent.subscribeTo(addressType, [serviceName('front'), uid('front-1')]);
    await agent.take();
    agent.send({ typeUrl: addressType, resourceNamesUnsubscribe: [serviceName('front')] });
    await moment();
    const sick = { status: 'UNHEALTHY' as const, services: endpointOf('front') };
    store.apply(change({ workloads: { upserts: [pod('front-1', sick), pod('front-2', sick)] } }));
    expect(namesOf(await agent.take())).toEqual([uid('front-1')]);
    expect(rest.discovery.agents()[0]?.subscriptions).toMatchObject([
      { mode: 'by name', names: 1, pending: 0 },
    ]);
  });

  it('hears of the end of what another of its names still means', async () => {
    const { store, ...rest } = await plane();
    const agent = new Agent(rest);
    agent.subscribeTo(addressType, [uid('front-1'), '/fd00::1']);
    expect(namesOf(await agent.take())).toEqual([uid('front-1')]);
    agent.send({ typeUrl: addressType, resourceNamesUnsubscribe: [uid('front-1')] });
    await moment();
    store.apply(change({ workloads: { removals: [uid('front-1')] } }));
    expect((await agent.take()).removedResources).toEqual([uid('front-1')]);
  });

  it('is answered again when it asks again', async () => {
    const agent = new Agent(await plane());
    agent.subscribeTo(addressType, []);
    expect(await ask(agent, uid('back'))).toEqual([uid('back')]);
    expect(await ask(agent, uid('back'))).toEqual([uid('back')]);
  });

  it('that comes back gets of what it has only what changed', async () => {
    const { store, ...rest } = await plane();
    const before = new Agent(rest);
    before.subscribeTo(addressType, [serviceName('front'), uid('back')]);
    const versions = versionsOf([await before.take()]);
    expect(versions.size).toBe(4);
    before.close();
    const sick = pod('front-2', { status: 'UNHEALTHY', services: endpointOf('front') });
    store.apply(change({ workloads: { upserts: [sick], removals: [uid('back')] } }));
    const after = new Agent(rest);
    after.subscribeTo(addressType, [serviceName('front'), uid('back')], versions);
    const response = await after.take();
    expect(namesOf(response)).toEqual([uid('front-2')]);
    expect(response.removedResources).toEqual([uid('back')]);
    store.apply(change({ workloads: { removals: [uid('front-1')] } }));
    expect((await after.take()).removedResources).toEqual([uid('front-1')]);
  });

  it('may turn to everything, and back to what it has', async () => {
    const { store, ...rest } = await plane();
    const agent = new Agent(rest);
    agent.subscribeTo(authorizationType, ['shop/one']);
    expect(namesOf(await agent.take())).toEqual(['shop/one']);
    agent.send({ typeUrl: authorizationType, resourceNamesSubscribe: ['*'] });
    expect(namesOf(await agent.take())).toEqual(['shop/one', 'shop/two']);
    agent.send({ typeUrl: authorizationType, resourceNamesUnsubscribe: ['*'] });
    await moment();
    store.apply(change({ policies: { upserts: [policy('two', { action: 'DENY' }), policy('three')] } }));
    expect(namesOf(await agent.take())).toEqual(['shop/two']);
  });
});
