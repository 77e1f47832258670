/** `kill -9` of an agent while many clients open connections and stream through it, in both directions. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { occurrences } from './capture-search.ts';
import { connectionWhere } from './observe.ts';
import { Siege } from './siege.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;
const streams = 24;
const perSecond = 150;

/** Number and place of every pod that the agent of the node carries. */
async function carriedBy(lab: Lab, node: string): Promise<unknown[]> {
  const { body } = (await lab.node(node).agent?.get(15000, '/config_dump?section=enrolment')) ?? { body: '' };
  const { enrolment } = JSON.parse(body) as { enrolment: { pods: Record<string, unknown>[] } };
  return enrolment.pods
    .map(({ name, namespace: within, podIndex, netns, addresses, state }) => ({
      name,
      within,
      podIndex,
      netns,
      addresses,
      state,
    }))
    .sort((one, other) => Number(one.podIndex) - Number(other.podIndex));
}

describeInLab(
  'an agent that is killed under load',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/near', 'a', port, { serviceAccount: 'near' }),
      echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
      pod('shop/visitor', 'b', { serviceAccount: 'visitor' }),
      pod('plain/walker', 'a'),
      whoAmIPod('plain/post', 'b', port),
    ],
  },
  (world) => {
    it('lets no connection through and no clear byte out, and is ready again within 5 s with its pods', async () => {
      const { lab } = world;
      const { agent } = lab.node('a');
      const text = `marker-${process.pid}-siege`;
      const control = `control-${process.pid}-siege`;
      const before = await carriedBy(lab, 'a');
      expect(before).toHaveLength(2);
      const capture = await lab.capture(['tcp']);
      const load = { port, text, streams, perSecond };
      // From the node of the agent, and towards it; over both families.
      const sieges = [
        new Siege(lab.pod('caller'), lab.pod('far').v4, load),
        new Siege(lab.pod('visitor'), lab.pod('near').v6, load),
      ];
      try {
        await Promise.all(sieges.map((siege) => siege.atWork()));
        await agent?.kill('SIGKILL');
        // What was on its way when the process ended has arrived or failed.
        await sleep(500);
        const atRest = sieges.map(({ latest }) => latest);
        await dial(lab.pod('walker'), lab.pod('post').v4, port, control);
        await sleep(1000);
        for (const [index, { latest }] of sieges.entries()) {
          expect(latest).toMatchObject({
            done: atRest[index]?.done,
            echoed: atRest[index]?.echoed,
            streaming: 0,
          });
          // They did try.
          expect(Object.values(latest.errors).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(
            perSecond / 2,
          );
        }

        const started = performance.now();
        agent?.start();
        await agent?.waitReady(10_000);
        const readyMs = Math.round(performance.now() - started);
        await Promise.all(sieges.map((siege) => siege.atWork()));
        const [first, second] = sieges.map(({ latest }) => latest);
        console.log(`ready again after ${readyMs} ms; ${JSON.stringify([first, second])}`);
        expect(readyMs).toBeLessThan(5000);
        expect(await carriedBy(lab, 'a')).toEqual(before);
        await connectionWhere(lab, 'a', (one) => one.path === 'tunnel' && one.direction === 'outbound');
        await connectionWhere(lab, 'a', (one) => one.path === 'tunnel' && one.direction === 'inbound');
      } finally {
        for (const siege of sieges) siege.stop();
      }
      const { dropped, captured } = await capture.stop();
      expect(dropped).toBe(0);
      expect(captured).toBeGreaterThan(1000);
      expect(occurrences(capture.file, control)).toBeGreaterThan(0);
      expect(occurrences(capture.file, text)).toBe(0);
    });
  },
);
