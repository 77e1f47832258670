/** Pods that are deleted while their connections carry bytes: the connections end with a reason, and nothing stays. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { connectionsOf, connectionWhere, mapEntriesOf, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, echoPod, namespace, pod } from './world.ts';

const port = 8080;

/** What may not grow with pods that come and go. */
interface Holdings {
  readonly descriptors: number;
  readonly rows: number;
  readonly tunnels: number;
  readonly connections: number;
  readonly certificates: number;
  readonly mapEntries: Readonly<Record<string, number>>;
}

async function holdingsOf(lab: Lab, node: string): Promise<Holdings> {
  return {
    descriptors: readdirSync(`/proc/${lab.node(node).agent?.pid}/fd`).length,
    rows: await sumOf(lab, node, 'hadal_rows'),
    tunnels: await sumOf(lab, node, 'hadal_tunnels_open'),
    connections: await sumOf(lab, node, 'hadal_connections_open'),
    certificates: await sumOf(lab, node, 'hadal_certificates'),
    mapEntries: mapEntriesOf(lab, node),
  };
}

/** Each number that is more than it was, in words. */
function growth(node: string, before: Holdings, now: Holdings): string[] {
  const flat = ({ mapEntries: entries, ...numbers }: Holdings) => ({ ...numbers, ...entries });
  const first: Record<string, number> = flat(before);
  return Object.entries(flat(now))
    .filter(([name, value]) => value > (first[name] ?? 0))
    .map(([name, value]) => `${name} of ${node}: ${first[name]} to ${value}`);
}

describeInLab(
  'a pod that is deleted in the middle of its connections',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    /** A pod on node b comes, is called and calls, and goes. */
    async function comeAndGo(lab: Lab): Promise<void> {
      // By tunnels alone, also to its neighbour: whether a connection is direct depends on whether its row is there yet.
      const labels = { 'hadal.io/same-node': 'tunnel' };
      await lab.apply(echoPod('shop/brief', 'b', port, { serviceAccount: 'brief', labels }));
      await lab.waitReady();
      const brief = lab.pod('brief');
      const called = new Ticker(lab.pod('caller'), brief.v4, { port, count: 4 });
      const calling = new Ticker(brief, lab.pod('echo').v6, { port, count: 2 });
      await called.running(4);
      await calling.running(2);
      const deleted = performance.now();
      await lab.deletePod('brief');
      // Their other ends are told, not left to a time-out.
      await expect.poll(() => called.latest.open, { timeout: 3000, interval: 50 }).toBe(0);
      expect(performance.now() - deleted).toBeLessThan(3000);
      for (const code of called.latest.errors) expect(code).toBe('ECONNRESET');
      called.stop();
      calling.stop();
    }

    it('ends them at both ends with a counted reason', async () => {
      const { lab } = world;
      await comeAndGo(lab);
      for (const direction of ['inbound', 'outbound'] as const) {
        const ended = await connectionWhere(
          lab,
          'b',
          (one) => one.pod === 'shop/brief' && one.direction === direction && one.state === 'closed',
        );
        expect(ended.reason).toBe('pod_removed');
      }
      const far = await connectionWhere(
        lab,
        'a',
        (one) =>
          one.direction === 'outbound' && one.destination.workload === 'brief' && one.state === 'closed',
      );
      expect(['reset_by_destination', 'tunnel_lost']).toContain(far.reason);
      expect(await sumOf(lab, 'b', 'hadal_connections_ended_early_total', { reason: 'pod_removed' })).toBe(6);
      for (const node of ['a', 'b'])
        expect((await connectionsOf(lab, node)).filter(({ state }) => state === 'live')).toEqual([]);
    });

    it('leaves no descriptor, row, tunnel, certificate or map entry behind', async () => {
      const { lab } = world;
      const nodes = ['a', 'b'];
      const read = async () => await Promise.all(nodes.map((node) => holdingsOf(lab, node)));
      await comeAndGo(lab);
      const before = await read();
      for (let round = 0; round < 3; round++) await comeAndGo(lab);
      const grown = async () =>
        (await read()).flatMap((now, index) => {
          const first = before[index];
          return first === undefined ? [] : growth(nodes[index] ?? '', first, now);
        });
      await expect.poll(grown, { timeout: 10_000, interval: 500 }).toEqual([]);
    });
  },
);
