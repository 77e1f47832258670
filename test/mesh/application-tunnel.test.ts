/** A workload that ends tunnels itself (a waypoint) hears from whom a connection comes by a PROXY header ahead of it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Lab } from '../../src/lab/lab.ts';
import { describeInLab, dial, namespace, pod } from './world.ts';

const tunnelPort = 15_088;
const program = '/opt/hadal/package/test/mesh/programs/proxy-protocol-server.ts';
const server = {
  command: ['node', program, String(tunnelPort)],
  probe: { tcpSocket: { port: tunnelPort } },
};

/** As a control plane says it of a waypoint: the lab's manifests have no word for it. */
function giveApplicationTunnel(lab: Lab, name: string, applicationTunnel: unknown): void {
  const state = parse(readFileSync(lab.stateFile, 'utf8')) as { workloads: Record<string, unknown>[] };
  const workloads = state.workloads.map((one) => (one.name === name ? { ...one, applicationTunnel } : one));
  writeFileSync(lab.stateFile, stringify({ ...state, workloads }));
}

describeInLab(
  'an application tunnel',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('shop/gate', 'b', { serviceAccount: 'gate', ...server }),
      pod('plain/stranger', 'a'),
    ],
  },
  (world) => {
    const ask = async (from: string, family: 'v4' | 'v6', port: number) => {
      const { lab } = world;
      const seen = await dial(lab.pod(from), lab.pod('gate')[family], port, 'hello\n');
      return { seen, answer: seen.received === '' ? undefined : JSON.parse(seen.received) };
    };

    it.each([
      ['v4', 0x11, '::ffff:127.0.0.1'],
      ['v6', 0x21, '::1'],
    ] as const)(
      'gets a PROXY header of the real source and destination and the identity, then the payload (%s)',
      async (family, familyByte, loopback) => {
        const { lab } = world;
        giveApplicationTunnel(lab, 'gate', { protocol: 'PROXY', port: tunnelPort });
        // Whatever port is dialled: there is one listener for all.
        await expect
          .poll(async () => (await ask('caller', family, 80)).answer, { timeout: 5000 })
          .toBeDefined();
        const { seen, answer } = await ask('caller', family, 80);
        expect(seen.ok).toBe(true);
        expect(answer).toEqual({
          version: 2,
          command: 1,
          family: familyByte,
          sourceAddress: lab.pod('caller')[family],
          sourcePort: seen.localPort,
          destinationAddress: lab.pod('gate')[family],
          destinationPort: 80,
          values: { '0xd0': 'spiffe://cluster.local/ns/shop/sa/caller' },
          payload: 'hello\n',
          remoteAddress: loopback,
          localAddress: loopback,
          localPort: tunnelPort,
        });
      },
    );

    it('gets none for a connection that came through no tunnel, whose source it sees itself', async () => {
      const { lab } = world;
      const { answer } = await ask('stranger', 'v4', tunnelPort);
      expect(answer).toEqual({ error: 'no PROXY header', begins: 'hello\n' });
      expect((await ask('stranger', 'v4', 80)).seen.received).toBe('');
      expect(lab.pod('stranger').enrolled).toBe(false);
    });

    it('of protocol NONE gets the bytes as they are, at its own port', async () => {
      giveApplicationTunnel(world.lab, 'gate', { protocol: 'NONE', port: tunnelPort });
      await expect
        .poll(async () => (await ask('caller', 'v4', 80)).answer, { timeout: 5000 })
        .toEqual({ error: 'no PROXY header', begins: 'hello\n' });
    });
  },
);
