/**
 * The control plane is killed, and is away: what runs goes on, what is new is refused by name and never in the clear, and works
 * soon after it is back. Short in `npm test`, half a minute with HADAL_LONG=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { AgentConnection } from '../../src/xds/server-status.ts';
import { occurrences } from './capture-search.ts';
import { connectionWhere, samplesOf } from './observe.ts';
import { Siege } from './siege.ts';
import { describeInLab, dial, echoPod, namespace, pod, service, whoAmIPod } from './world.ts';

const port = 8080;
const awayMs = process.env.HADAL_LONG === '1' ? 30_000 : 5_000;

const manifests = [
  namespace('shop', { mesh: true }),
  namespace('plain'),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
  service('shop/far', { [port]: port }),
  pod('plain/walker', 'a'),
  whoAmIPod('plain/post', 'b', port),
];

async function agentsOf(lab: Lab): Promise<AgentConnection[]> {
  const dump = await lab.controlPlane?.admin<{ agents: AgentConnection[] }>('/config_dump?section=agents');
  return dump?.agents ?? [];
}

/** Resources sent on the stream that an agent has now. */
async function sentTo(lab: Lab, node: string): Promise<number> {
  const streams = (await agentsOf(lab)).filter((each) => each.node === node);
  expect(streams).toHaveLength(1);
  return streams.flatMap((each) => each.subscriptions).reduce((sum, each) => sum + each.sentResources, 0);
}

/** Milliseconds until a call from one pod to the other is answered. */
async function untilAnswered(from: Parameters<typeof dial>[0], address: string, timeoutMs: number) {
  const begun = performance.now();
  let last: Awaited<ReturnType<typeof dial>> | undefined;
  while (performance.now() - begun < timeoutMs) {
    last = await dial(from, address, port, 'hello');
    if (last.ok && last.received !== '') return Math.round(performance.now() - begun);
  }
  throw new Error(`no answer within ${timeoutMs} ms: ${JSON.stringify(last)}`);
}

describeInLab('a control plane that is killed', { manifests, controlPlane: true }, (world) => {
  it(`fails no request in ${awayMs / 1000} s without it, and tells of new pods once it is back`, async () => {
    const { lab } = world;
    const load = { port, text: 'away', streams: 8, perSecond: 60 };
    const [virtual = ''] = lab.serviceAddresses('shop/far');
    const sieges = [virtual, lab.pod('far').v6].map((to) => new Siege(lab.pod('caller'), to, load));
    try {
      await Promise.all(sieges.map((siege) => siege.atWork()));
      const before = sieges.map(({ latest }) => latest);
      await lab.controlPlane?.kill('SIGKILL');
      const killed = performance.now();
      await lab.apply(whoAmIPod('shop/late', 'b', port, { serviceAccount: 'late' }));
      await sleep(Math.max(0, awayMs - (performance.now() - killed)));
      await Promise.all(sieges.map((siege) => siege.atWork()));
      for (const [index, { latest }] of sieges.entries()) {
        expect(latest).toMatchObject({ failed: before[index]?.failed, errors: before[index]?.errors });
        expect(latest.done - (before[index]?.done ?? 0)).toBeGreaterThan((awayMs / 1000) * 30);
      }
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
      const ms = await untilAnswered(lab.pod('caller'), lab.pod('late').v4, 10_000);
      console.log(`a pod of the time without a control plane answers ${ms} ms after its return`);
      await Promise.all(sieges.map((siege) => siege.atWork()));
      expect(sieges.map(({ latest }) => latest.failed)).toEqual(before.map(({ failed }) => failed));
    } finally {
      for (const siege of sieges) siege.stop();
    }
  });

  it('sends an agent that comes back after one change that one resource', async () => {
    const { lab } = world;
    const { agent } = lab.node('a');
    await lab.meshInForce();
    // What is in force is on disk half a second later.
    await sleep(1_500);
    await agent?.kill('SIGKILL');
    await lab.label('Pod', 'shop/far', { version: 'v2' });
    await expect.poll(async () => (await agentsOf(lab)).map(({ node }) => node)).toEqual(['b']);
    agent?.start();
    await agent?.waitReady();
    await lab.meshInForce();
    const workloads = await agent?.admin<{ workloads: Record<string, unknown>[] }>(
      '/config_dump?section=workloads',
    );
    expect(workloads?.workloads).toContainEqual(
      expect.objectContaining({ name: 'far', canonicalRevision: 'v2' }),
    );
    expect(await sentTo(lab, 'a')).toBe(1);
  });

  it('lets an agent that is killed meanwhile come back ready from disk, and carry on', async () => {
    const { lab } = world;
    const { agent } = lab.node('a');
    await sleep(1_000);
    await lab.controlPlane?.kill('SIGKILL');
    try {
      await agent?.kill('SIGKILL');
      const begun = performance.now();
      agent?.start();
      await agent?.waitReady();
      const readyMs = Math.round(performance.now() - begun);
      const answerMs = await untilAnswered(lab.pod('caller'), lab.pod('far').v4, 5_000);
      console.log(`ready from disk after ${readyMs} ms, the first call answered ${answerMs} ms later`);
      const connected = await samplesOf(lab, 'a', 'hadal_mesh_resources');
      expect(connected.find(({ labels }) => labels.kind === 'workloads')?.value).toBeGreaterThan(3);
    } finally {
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
    }
  });

  it('refuses calls to pods that are new meanwhile by name, none in the clear, and carries them within 2 s of its return', async () => {
    const { lab } = world;
    await lab.meshInForce();
    const marker = `marker-${process.pid}-new`;
    const control = `control-${process.pid}-new`;
    await lab.controlPlane?.kill('SIGTERM');
    const capture = await lab.capture(['tcp']);
    try {
      await lab.apply(echoPod('shop/new', 'b', port, { serviceAccount: 'new' }));
      const [caller, fresh] = [lab.pod('caller'), lab.pod('new')];
      for (const address of [fresh.v4, fresh.v6]) {
        expect(await dial(caller, address, port, marker)).toMatchObject({ ok: false, received: '' });
      }
      const refused = await connectionWhere(
        lab,
        'a',
        (one) => one.state === 'refused' && one.destination.address === fresh.v4,
      );
      expect(refused).toMatchObject({ reason: 'unknown_destination' });
      await dial(lab.pod('walker'), lab.pod('post').v4, port, control);
      await sleep(awayMs / 2);
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
      const ms = await untilAnswered(caller, fresh.v4, 10_000);
      console.log(`a new pod is reached ${ms} ms after the control plane's return`);
      expect(ms).toBeLessThan(2_000);
    } finally {
      lab.controlPlane?.start();
    }
    const { dropped } = await capture.stop();
    expect(dropped).toBe(0);
    expect(occurrences(capture.file, control)).toBeGreaterThan(0);
    expect(occurrences(capture.file, marker)).toBe(0);
  });
});
