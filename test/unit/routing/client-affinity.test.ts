/** sessionAffinity: ClientIP, from a Service's manifest to the one endpoint of a judgement. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clientAffinityExtension, hasClientAffinity } from '../../../src/model/session-affinity.ts';
import type { Workload } from '../../../src/model/workload.ts';
import { inOrderOfAffinity } from '../../../src/routing/client-affinity.ts';
import { decodeResource, encodeServiceAddress } from '../../../src/xds/codec.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import { gateway, service, serviceOf, warningsOf } from '../source/translate/objects.ts';
import { catalogPod, catalogService, front, outbound, paths, pod } from './bookshop.ts';

const endpointsOf = (workloads: readonly Workload[]) => workloads.map((workload) => ({ workload }));
const firstOf = (workloads: readonly Workload[], client: string) =>
  inOrderOfAffinity(endpointsOf(workloads), client)[0]?.workload.uid;
const many = (count: number) => Array.from({ length: count }, (_, index) => catalogPod(index + 1));
const clients = Array.from({ length: 3_000 }, (_, index) => `10.${index >> 8}.${index & 255}.7`);

describe('the endpoint of a client', () => {
  it('does not depend on the order of the endpoints, and stays when others come and go', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 1, max: 200 }), { minLength: 2, maxLength: 12 }),
        fc.ipV4(),
        (numbers, client) => {
          const workloads = numbers.map((number) => catalogPod(number));
          const own = firstOf(workloads, client);
          expect(firstOf(workloads.toReversed(), client)).toBe(own);
          for (const gone of workloads.filter(({ uid }) => uid !== own))
            expect(
              firstOf(
                workloads.filter((each) => each !== gone),
                client,
              ),
            ).toBe(own);
          // One that is new takes it over, or changes nothing.
          const fresh = catalogPod(201);
          expect([own, fresh.uid]).toContain(firstOf([...workloads, fresh], client));
        },
      ),
    );
  });

  it('is each endpoint as often as its capacity says, over many clients', () => {
    const weighted = [
      catalogPod(1, { capacity: 1 }),
      catalogPod(2, { capacity: 3 }),
      catalogPod(3, { capacity: 6 }),
    ];
    const counts = Object.groupBy(clients, (client) => firstOf(weighted, client) ?? '');
    const chiSquare = weighted.reduce((sum, { uid, capacity }) => {
      const expected = (clients.length * capacity) / 10;
      return sum + ((counts[uid]?.length ?? 0) - expected) ** 2 / expected;
    }, 0);
    // 13.8 would be met once in a thousand tries; the clients are the same in each run.
    expect(chiSquare).toBeLessThan(13.8);
  });

  it('is another for only those clients whose endpoint went', () => {
    const before = new Map(clients.map((client) => [client, firstOf(many(5), client)]));
    const left = many(5).slice(1);
    for (const [client, own] of before) {
      if (own !== catalogPod(1).uid) expect(firstOf(left, client)).toBe(own);
    }
  });
});

describe('a service with affinity', () => {
  const sticky = { services: [catalogService({ extensions: [clientAffinityExtension] })] };
  const vip = ['10.96.0.1', 80] as const;
  const workloads = [front, ...many(4)];

  it('is one endpoint for a pod, the same each time, and says so', () => {
    const judgement = outbound({ ...sticky, workloads }, vip);
    expect(judgement.endpoints).toHaveLength(1);
    expect(judgement.explanation.join('\n')).toContain('session affinity by client address: of 10.0.1.1');
    expect(paths(outbound({ ...sticky, workloads: workloads.toReversed() }, vip))).toEqual(paths(judgement));
    expect(outbound({ workloads }, vip).endpoints).toHaveLength(4);
  });

  it('leaves an endpoint that is not healthy for the client’s next, and comes back to it', () => {
    const [own] = outbound({ ...sticky, workloads }, vip).endpoints;
    const sick = workloads.map((each) =>
      each.uid === own?.workloadUid ? { ...each, status: 'UNHEALTHY' as const } : each,
    );
    const [next] = outbound({ ...sticky, workloads: sick }, vip).endpoints;
    expect(next?.workloadUid).not.toBe(own?.workloadUid);
    expect(next).toBeDefined();
  });

  it('leaves one that cannot be used for the next, and tells why where none can', () => {
    const elsewhere = many(2).map((each) => ({ ...each, network: 'other' }));
    expect(outbound({ ...sticky, workloads: [front, ...elsewhere] }, vip).reasonName).toBe('REMOTE_NETWORK');
    const mixed = [front, ...elsewhere, catalogPod(3)];
    expect(outbound({ ...sticky, workloads: mixed }, vip).endpoints).toHaveLength(1);
  });

  it('spreads over the endpoints by who asks', () => {
    const asked = Array.from({ length: 40 }, (_, index) => {
      const client = pod(`client-${index}`, { addresses: [`10.0.9.${index + 1}`] });
      const source = {
        uid: client.uid,
        namespace: 'shop',
        serviceAccount: 'client',
        addresses: client.addresses,
      };
      return outbound({ ...sticky, workloads: [client, ...many(4)] }, vip, { source }).endpoints[0]
        ?.workloadUid;
    });
    expect(new Set(asked).size).toBe(4);
  });

  it('is told over the wire, by its Service alone', () => {
    expect(hasClientAffinity(serviceOf(service()))).toBe(false);
    const made = serviceOf(service({}, { sessionAffinity: 'ClientIP' }));
    const decoded = decodeResource(addressType, encodeServiceAddress(made));
    expect('kind' in decoded && decoded.kind === 'services' && hasClientAffinity(decoded.value)).toBe(true);
  });

  it('is the waypoint’s to heed where there is one', () => {
    const behind = service({ labels: { 'istio.io/use-waypoint': 'w' } }, { sessionAffinity: 'ClientIP' });
    expect(warningsOf(behind, [gateway()])).toEqual([
      expect.stringMatching(/^spec.sessionAffinity is ClientIP/),
    ]);
    expect(warningsOf(service({}, { sessionAffinity: 'ClientIP' }))).toEqual([]);
  });
});
