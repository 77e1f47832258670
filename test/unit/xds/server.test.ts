import { describe, expect, it } from 'vitest';
import { createChange } from '../../../src/model/change.ts';
import { convertResource } from '../../../src/xds/codec.ts';
import { addressType, authorizationType, workloadType } from '../../../src/xds/type-urls.ts';
import { Agent, moment, namesOf, startControlPlane, versionsOf } from './discovery.ts';
import { change, endpointOf, largeMesh, pod, policy, service, serviceName, uid } from './mesh.ts';

const bookshop = createChange({
  workloads: { upserts: [pod('front', { services: endpointOf('front') }), pod('back')] },
  services: { upserts: [service('front')] },
  policies: { upserts: [policy('only-front')] },
});

async function bookshopPlane() {
  const plane = await startControlPlane();
  plane.store.apply(bookshop);
  return plane;
}

describe('an agent that wants everything', () => {
  it('gets all there is, services before the workloads that name them', async () => {
    const agent = new Agent(await bookshopPlane());
    agent.subscribe(addressType);
    const response = await agent.take();
    expect(namesOf(response)).toEqual([serviceName('front'), uid('front'), uid('back')]);
    expect(response).toMatchObject({ typeUrl: addressType, removedResources: [] });
    for (const resource of response.resources) {
      expect(convertResource(addressType, resource)).toMatchObject({ name: resource.name });
    }
    agent.subscribe(authorizationType);
    expect(namesOf(await agent.take())).toEqual(['shop/only-front']);
    agent.subscribe(workloadType);
    const workloads = await agent.take();
    expect(namesOf(workloads)).toEqual([uid('front'), uid('back')]);
    expect(convertResource(workloadType, workloads.resources[0]!)).toMatchObject({ kind: 'workloads' });
  });

  it('is told when there is nothing', async () => {
    const agent = new Agent(await startControlPlane());
    agent.subscribe(addressType);
    expect(await agent.take()).toMatchObject({ resources: [], removedResources: [], typeUrl: addressType });
  });

  it('gets what changes, and only that', async () => {
    const plane = await bookshopPlane();
    const agent = new Agent(plane);
    agent.subscribe(addressType);
    const first = await agent.take();
    plane.store.apply(
      change({ workloads: { upserts: [pod('back', { status: 'UNHEALTHY' }), pod('front')] } }),
    );
    const second = await agent.take();
    expect(namesOf(second)).toEqual([uid('back'), uid('front')]);
    expect(second.nonce).not.toBe(first.nonce);
    plane.store.apply(change({ workloads: { upserts: [pod('back', { status: 'UNHEALTHY' })] } }));
    plane.store.apply(
      change({ workloads: { removals: [uid('back')] }, services: { removals: [serviceName('front')] } }),
    );
    expect(await agent.take()).toMatchObject({
      resources: [],
      removedResources: [serviceName('front'), uid('back')],
    });
    await moment();
    expect(agent.queue).toEqual([]);
  });
});

describe('an agent that comes back', () => {
  it('gets the one resource that changed, and the names of those that are gone', async () => {
    const plane = await bookshopPlane();
    const before = new Agent(plane);
    before.subscribe(addressType);
    const versions = versionsOf([await before.take()]);
    before.close();
    plane.store.apply(change({ workloads: { upserts: [pod('new')], removals: [uid('back')] } }));
    const after = new Agent(plane);
    after.subscribe(addressType, versions);
    const response = await after.take();
    expect(namesOf(response)).toEqual([uid('new')]);
    expect(response.removedResources).toEqual([uid('back')]);
    await moment();
    expect(after.queue).toEqual([]);
  });

  it('is told that it has everything', async () => {
    const plane = await bookshopPlane();
    const before = new Agent(plane);
    before.subscribe(addressType);
    const versions = versionsOf([await before.take()]);
    const after = new Agent(plane);
    after.subscribe(addressType, versions);
    expect(await after.take()).toMatchObject({ resources: [], removedResources: [] });
  });

  it('gets nothing again from a control plane that was started anew, or from another', async () => {
    const agent = new Agent(await bookshopPlane());
    agent.subscribe(addressType);
    const versions = versionsOf([await agent.take()]);
    const after = new Agent(await bookshopPlane());
    after.subscribe(addressType, versions);
    expect(await after.take()).toMatchObject({ resources: [], removedResources: [] });
  });
});

describe('a full push', () => {
  it('of 10,000 workloads and 1,000 services costs well under two seconds and comes in responses of 1 MiB', async () => {
    const plane = await startControlPlane();
    const mesh = largeMesh(10_000, 1_000);
    const started = process.cpuUsage();
    plane.store.apply(mesh);
    const { user, system } = process.cpuUsage(started);
    const agent = new Agent(plane);
    agent.subscribe(addressType);
    const names = new Set<string>();
    let responses = 0;
    for (; names.size < 11_000; responses += 1) {
      for (const name of namesOf(await agent.take())) names.add(name);
    }
    // 4.3 MiB in all, more than a client of gRPC takes at once.
    expect(responses).toBe(5);
    expect(plane.discovery.agents()[0]?.subscriptions[0]?.sentResources).toBe(11_000);
    expect((user + system) / 1e3).toBeLessThan(2_000);
  });
});
