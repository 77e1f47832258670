/** How many tunnels there are between two pods: further ones for a busy pair, the same ones again, none in the end. */
import { afterAll, expect, it } from 'vitest';
import { sumOf, tunnelsOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const busyStreams = 8;
const mostForSpeed = 3;
const mostStreams = 20;
/** What the tests have opened before all tunnels are full. */
const connections = 6 * busyStreams;

describeInLab(
  'tunnels between two pods',
  {
    agentEnv: {
      HADAL_WORKERS: '1',
      HADAL_POOL_BUSY_STREAMS: String(busyStreams),
      HADAL_POOL_MAX_CONNECTIONS: String(mostForSpeed),
      HADAL_POOL_MAX_STREAMS: String(mostStreams),
      HADAL_POOL_IDLE_RELEASE: '2s',
    },
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    // One test goes on with the connections of those before it.
    const tickers: Ticker[] = [];
    const outbound = () => tunnelsOf(world.lab, 'a', world.lab.pod('echo').v4);
    const inbound = () => tunnelsOf(world.lab, 'b', world.lab.pod('caller').v4);
    const streams = async () => (await outbound()).map((tunnel) => tunnel.streams);
    const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
    const connect = async (count: number): Promise<void> => {
      const ticker = new Ticker(world.lab.pod('caller'), world.lab.pod('echo').v4, { port, count });
      tickers.push(ticker);
      await ticker.running(count);
    };
    const disconnect = () => {
      for (const ticker of tickers.splice(0)) ticker.stop();
    };
    const ask = async (text: string) => {
      const { lab } = world;
      expect(await dial(lab.pod('caller'), lab.pod('echo').v4, port, text)).toMatchObject({ received: text });
    };
    afterAll(disconnect);

    it('are one for a few connections, which comes back for the next ones', async () => {
      await ask('one');
      const [first] = await outbound();
      await ask('two');
      const after = await outbound();
      expect(after).toHaveLength(1);
      expect(after[0]).toMatchObject({ localPort: first?.localPort, streams: 0, streamsTotal: 2 });
    });

    it('become more before the first is the bottleneck, also for connections that all come at once', async () => {
      await connect(mostForSpeed * busyStreams);
      await expect.poll(outbound, { timeout: 2000 }).toHaveLength(mostForSpeed);
      // Who came while the first stood and the others did not yet was not kept waiting for them.
      await connect(busyStreams);
      expect(Math.min(...(await streams()))).toBeGreaterThan(0);
    });

    it('are no more than the maximum while there is room in them, however busy', async () => {
      for (let round = 0; round < 2; round++) await connect(busyStreams);
      expect(await streams()).toHaveLength(mostForSpeed);
      expect(sum(await streams())).toBe(connections);
    });

    it('are shown by both agents with what was agreed on, a hybrid key exchange first of all', async () => {
      const [here, there] = [await outbound(), await inbound()];
      expect(there).toHaveLength(here.length);
      for (const tunnel of [...here, ...there]) {
        expect(tunnel).toMatchObject({ tlsVersion: 'TLSv1.3', keyExchangeGroup: 'X25519MLKEM768' });
      }
      for (const { localPort, peerIdentity } of here) {
        expect(peerIdentity).toBe('spiffe://cluster.local/ns/shop/sa/echo');
        expect(there.find(({ remotePort }) => remotePort === localPort)).toMatchObject({
          direction: 'inbound',
          peerIdentity: 'spiffe://cluster.local/ns/shop/sa/caller',
        });
      }
    });

    it('are as many as it takes when all of them are full', async () => {
      const more = mostForSpeed * mostStreams - connections + 1;
      await connect(more);
      expect(await streams()).toHaveLength(mostForSpeed + 1);
      expect(sum(await streams())).toBe(connections + more);
      expect(Math.max(...(await streams()))).toBeLessThanOrEqual(mostStreams);
    });

    it('go when nobody needs them, on both sides, and a new one comes when somebody does', async () => {
      disconnect();
      await expect.poll(outbound, { timeout: 8000 }).toEqual([]);
      await expect.poll(inbound, { timeout: 2000 }).toEqual([]);
      for (const node of ['a', 'b']) expect(await sumOf(world.lab, node, 'hadal_tunnels_open')).toBe(0);
      await ask('again');
      expect(await outbound()).toHaveLength(1);
    });
  },
);
