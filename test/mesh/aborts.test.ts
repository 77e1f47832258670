/** Connections that are given up faster than the network answers them. */
import { expect, it } from 'vitest';
import { describeInLab, namespace, pod } from './world.ts';

const programs = '/opt/hadal/package/test/mesh/programs';
const generator = '/opt/hadal/package/build/Release/hadal-bench';
const echoPort = 7700;
/** More than nghttp2 by itself lets a peer answer to streams that are gone: 10,000, then 330 a second. */
const aborts = 16_000;

describeInLab(
  'connections that are given up before their answer is there',
  {
    agentEnv: { HADAL_WORKERS: '1', HADAL_POOL_MAX_CONNECTIONS: '1' },
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/client', 'a', { serviceAccount: 'client' }),
      pod('shop/server', 'b', { serviceAccount: 'server' }),
    ],
  },
  (world) => {
    it('do not end the tunnel that they share with others', { timeout: 120_000 }, async () => {
      const { lab } = world;
      const address = lab.pod('server').v4;
      const server = lab.pod('server').spawn([generator, 'server', String(echoPort)]);
      await new Promise((resolve) => server.stdout?.once('data', resolve));
      const mend = await lab.impair({ delayMs: 10, lossPercent: 0 });
      const before = await tunnels();
      const storm = await lab
        .pod('client')
        .exec(['node', `${programs}/abort-storm.ts`, address, String(echoPort), String(aborts), '12'], {
          timeoutMs: 100_000,
        });
      const after = await tunnels();
      await mend();
      server.kill('SIGKILL');
      expect(JSON.parse(storm.stdout)).toEqual({ aborted: aborts, errors: {} });
      expect(before).toEqual([]);
      // A busy machine gets a second tunnel; one that had ended would take its count along. All but the first streams, which were
      // gone before a tunnel stood.
      const streams = after.reduce((sum, { streamsTotal }) => sum + streamsTotal, 0);
      expect(streams).toBeGreaterThan(aborts - 1000);

      async function tunnels(): Promise<{ streamsTotal: number }[]> {
        const answer = await lab.node('a').agent?.get(15000, '/config_dump?section=tunnels');
        return (JSON.parse(answer?.body ?? '{}') as { tunnels: { streamsTotal: number }[] }).tunnels;
      }
    });
  },
);
