import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DnsWorld, digMissing } from '../helpers/dns-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined || digMissing !== undefined)('a query of a pod', () => {
  let world: DnsWorld;

  beforeAll(async () => {
    world = await DnsWorld.create();
    world.nameserver.records.set('www.example.org', [
      { type: 'A', name: 'www.example.org', ttl: 5, data: '192.0.2.80' },
    ]);
  });
  afterAll(() => world?.dispose());

  it('for a service is answered by the agent, whose answer seems to come from the nameserver', async () => {
    expect(await world.dig('catalog.shop.svc.cluster.local')).toEqual(['10.96.0.10']);
    expect(world.nameserver.asked).toEqual([]);
  });
});
