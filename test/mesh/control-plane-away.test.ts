/**
 * The control plane is killed, and is away: what runs goes on, what is new is refused by name and never in the clear, and works
 * soon after it is back. Short in `npm test`, half a minute with HADAL_LONG=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
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

/** Dials from a pod without pause, and resolves with the time, in ms since 1970, of the first call that is answered. */
function firstAnswer(from: LabPod, address: string, timeoutMs: number): Promise<number> {
  const program = '/opt/hadal/package/bench/programs/edge-watch.ts';
  const child = from.spawn(['node', program, address, String(port)]);
  const answered = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`no answer of ${address} within ${timeoutMs} ms`));
    }, timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => {
      const at = /^(\S+) up$/m.exec(chunk.toString())?.[1];
      if (at === undefined) return;
      clearTimeout(timer);
      child.kill('SIGKILL');
      resolve(Number(at));
    });
  });
  // Whoever waits for it hears of it; a test that failed before does not wait.
  answered.catch(() => {});
  return answered;
}

// A pod that is new while the control plane is away does not wait long for its certificate.
const agentEnv = { HADAL_ENROL_TIMEOUT: '500ms' };

describeInLab('a control plane that is killed', { manifests, controlPlane: true, agentEnv }, (world) => {
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
      await lab.apply(echoPod('shop/late', 'b', port, { serviceAccount: 'late' }));
      await sleep(Math.max(0, awayMs - (performance.now() - killed)));
      await Promise.all(sieges.map((siege) => siege.atWork()));
      for (const [index, { latest }] of sieges.entries()) {
        expect(latest).toMatchObject({ failed: before[index]?.failed, errors: before[index]?.errors });
        expect(latest.done - (before[index]?.done ?? 0)).toBeGreaterThan((awayMs / 1000) * 30);
      }
      const answered = firstAnswer(lab.pod('caller'), lab.pod('late').v4, 40_000);
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
      const back = Date.now();
      const ms = Math.round((await answered) - back);
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
      await firstAnswer(lab.pod('caller'), lab.pod('far').v4, 5_000);
      console.log(`ready from disk after ${readyMs} ms`);
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
      const answered = firstAnswer(caller, fresh.v4, 40_000);
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
      const back = Date.now();
      const ms = Math.round((await answered) - back);
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
