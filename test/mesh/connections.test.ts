import { expect, it } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import { connectionWhere, sumOf } from './observe.ts';
import { digestOf } from './programs/stream-pattern.ts';
import { describeInLab, dial, namespace, pod, whoAmIPod } from './world.ts';

const programs = '/opt/hadal/package/test/mesh/programs';
const exactBytes = 10_000_007;
const port = 8080;
const streamServer = {
  command: ['node', `${programs}/stream-server.ts`, String(port), String(exactBytes)],
  ports: { main: port },
  probe: { tcpSocket: { port } },
};
const caller = 'spiffe://cluster.local/ns/shop/sa/caller';
const keeper = 'spiffe://cluster.local/ns/shop/sa/keeper';

interface Exchange {
  readonly received: number;
  readonly sha256: string;
  readonly localPort: number;
}

/** Sends and receives exactly `exactBytes`, with half-close in between, and checks what came. */
async function exchange(from: LabPod, address: string): Promise<Exchange> {
  const argv = ['node', `${programs}/stream-client.ts`, address, String(port), String(exactBytes)];
  const result = await from.exec(argv, { timeoutMs: 50_000 });
  const seen = JSON.parse(result.stdout) as Exchange;
  expect(seen).toMatchObject({ received: exactBytes, sha256: await digestOf(exactBytes, 'answer') });
  return seen;
}

describeInLab(
  'connections of meshed pods',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('shop/keeper', 'b', { serviceAccount: 'keeper', ...streamServer }),
      whoAmIPod('shop/who', 'b', port, { serviceAccount: 'keeper' }),
      pod('plain/stranger', 'a'),
      pod('plain/store', 'b', streamServer),
    ],
  },
  (world) => {
    const families = ['v4', 'v6'] as const;

    it.each(families)('show their real addresses at both ends (%s)', async (family) => {
      const client = world.lab.pod('caller');
      const server = world.lab.pod('who');
      const seen = await dial(client, server[family], port);
      expect(seen).toMatchObject({
        ok: true,
        localAddress: client[family],
        remoteAddress: server[family],
        remotePort: port,
      });
      expect(seen.received).toBe(`${server[family]} ${port} ${client[family]} ${seen.localPort}`);
    });

    it.each(families)(
      'through the tunnel appear with both identities and exact bytes on both nodes (%s)',
      async (family) => {
        const { localPort } = await exchange(world.lab.pod('caller'), world.lab.pod('keeper')[family]);
        for (const [node, direction] of [
          ['a', 'outbound'],
          ['b', 'inbound'],
        ] as const) {
          const entry = await connectionWhere(
            world.lab,
            node,
            (one) => one.source.port === localPort && one.direction === direction && one.state === 'closed',
          );
          expect(entry).toMatchObject({
            path: 'tunnel',
            source: { identity: caller, workload: 'caller', namespace: 'shop' },
            destination: { identity: keeper, workload: 'keeper', namespace: 'shop' },
            bytesSent: exactBytes,
            bytesReceived: exactBytes,
            reason: 'none',
          });
        }
      },
    );

    it('from outside the mesh are let in as plaintext, without an identity, with exact bytes', async () => {
      const { localPort } = await exchange(world.lab.pod('stranger'), world.lab.pod('keeper').v4);
      const entry = await connectionWhere(
        world.lab,
        'b',
        (one) => one.source.port === localPort && one.state === 'closed',
      );
      expect(entry).toMatchObject({
        direction: 'inbound',
        path: 'plaintext',
        bytesSent: exactBytes,
        bytesReceived: exactBytes,
      });
      expect(entry.source.identity).toBeUndefined();
    });

    it('to a pod outside the mesh go as plaintext, with exact bytes', async () => {
      const { localPort } = await exchange(world.lab.pod('caller'), world.lab.pod('store').v4);
      const entry = await connectionWhere(
        world.lab,
        'a',
        (one) => one.source.port === localPort && one.state === 'closed',
      );
      expect(entry).toMatchObject({
        direction: 'outbound',
        path: 'plaintext',
        destination: { workload: 'store', namespace: 'plain' },
        bytesSent: exactBytes,
        bytesReceived: exactBytes,
      });
    });

    it('are counted to the byte on port 15020', async () => {
      const labels = { source_workload: 'caller', destination_workload: 'keeper', reporter: 'source' };
      const read = async (metric: string) => sumOf(world.lab, 'a', metric, labels);
      const before = [await read('istio_tcp_sent_bytes_total'), await read('istio_tcp_received_bytes_total')];
      await exchange(world.lab.pod('caller'), world.lab.pod('keeper').v4);
      await expect
        .poll(
          async () => [
            await read('istio_tcp_sent_bytes_total'),
            await read('istio_tcp_received_bytes_total'),
          ],
          {
            timeout: 5000,
          },
        )
        .toEqual(before.map((value) => value + exactBytes));
      expect(await read('istio_tcp_connections_opened_total')).toBeGreaterThan(0);
    });

    it('have the round trip time and the retransmits of the network between the nodes', async () => {
      const heal = await world.lab.impair({ delayMs: 10, lossPercent: 1 });
      try {
        const { localPort } = await exchange(world.lab.pod('caller'), world.lab.pod('keeper').v4);
        const entry = await connectionWhere(
          world.lab,
          'b',
          (one) => one.source.port === localPort && one.state === 'closed',
        );
        expect(entry.rttMs).toBeGreaterThanOrEqual(10);
        expect(entry.retransmits).toBeGreaterThan(0);
      } finally {
        await heal();
      }
    });
  },
);
