/** The port for agents while strangers do all they can to it, and streams end every second: agents under load see nothing of it. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { lastLineOf } from './last-line.ts';
import { samplesOf } from './observe.ts';
import { Siege } from './siege.ts';
import { describeInLab, echoPod, namespace, pod, service } from './world.ts';

const port = 8080;
const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
  service('shop/far', { [port]: port }),
];
const controlPlaneEnv = { HADAL_MAX_STREAM_AGE: '1s', HADAL_LOG_FORMAT: 'json' };
const agentEnv = { HADAL_LOG_FORMAT: 'json' };
const options = { manifests, nodes: ['a', 'b', 'c'], controlPlane: true, controlPlaneEnv, agentEnv };

describeInLab('agents whose streams end every second, beside strangers', options, (world) => {
  it('fail no request, hear of each change soon, get certificates for new pods, and say nothing about it', async () => {
    const { lab } = world;
    const [host = '', number = ''] = lab.controlPlane?.address.split(':') ?? [];
    const [virtual = ''] = lab.serviceAddresses('shop/far');
    const siege = new Siege(lab.pod('caller'), virtual, { port, text: 'port', streams: 4, perSecond: 30 });
    await siege.atWork();
    const program = new URL('programs/stranger.ts', import.meta.url).pathname;
    const stranger = lab.node('c').spawn([process.execPath, program, host, number]);
    const said = lastLineOf(stranger, { dialled: 0, open: 0 });
    const { agent } = lab.node('a');
    const linesBefore = logOf(agent?.logPath).length;
    const before = siege.latest;
    try {
      await expect.poll(() => said.latest.dialled, { timeout: 10_000 }).toBeGreaterThan(1_000);
      const waits: number[] = [];
      for (let index = 0; index < 4; index++) {
        const begun = performance.now();
        await lab.apply(echoPod(`shop/new-${index}`, 'b', port, { serviceAccount: `new-${index}` }));
        await expect.poll(() => knows(`new-${index}`), { timeout: 10_000, interval: 20 }).toBe(true);
        waits.push(Math.round(performance.now() - begun));
        // It has its certificate, and is called over the mesh.
        const call = new Siege(lab.pod('caller'), lab.pod(`new-${index}`).v4, {
          port,
          text: 'new',
          streams: 1,
          perSecond: 30,
        });
        await call.atWork().finally(() => call.stop());
      }
      await sleep(500);
      expect(siege.latest).toMatchObject({ failed: before.failed, errors: before.errors });
      await siege.atWork();
      const endings = await samplesOf(lab, 'a', 'istio_xds_connection_terminations_total');
      const ended = Object.fromEntries(endings.map(({ labels, value }) => [labels.reason, value]));
      expect(ended.Complete).toBeGreaterThan(3);
      const { ConnectionError = 0, Error: errors = 0, Reconnect = 0 } = ended;
      expect({ ConnectionError, errors, Reconnect }).toEqual({ ConnectionError: 0, errors: 0, Reconnect: 0 });
      const news = logOf(agent?.logPath).slice(linesBefore);
      const warnings = news.filter(
        ({ level, msg }) =>
          ['warn', 'error', 'fatal'].includes(level) && /control plane|discovery|certificate/.test(msg),
      );
      expect(warnings).toEqual([]);
      const refused = refusals((await lab.controlPlane?.metrics()) ?? '');
      console.log(
        `${said.latest.dialled} connections of strangers, ${refused} refused; new pods after ${waits} ms`,
      );
      expect(refused).toBeGreaterThan(500);
    } finally {
      stranger.kill('SIGKILL');
      siege.stop();
    }

    async function knows(name: string): Promise<boolean> {
      const dump = await agent?.admin<{ workloads: { name: string }[] }>('/config_dump?section=workloads');
      return dump?.workloads.some((each) => each.name === name) === true;
    }
  }, 60_000);
});

interface Line {
  readonly level: string;
  readonly msg: string;
}

function logOf(path: string | undefined): Line[] {
  return readFileSync(path ?? '', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}

function refusals(metrics: string): number {
  return [...metrics.matchAll(/^hadal_connections_refused_total\{[^}]*\} (\d+)$/gm)].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}
