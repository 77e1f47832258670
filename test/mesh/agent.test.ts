import { expect, it, vi } from 'vitest';
import type { LabNode } from '../../src/lab/node.ts';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import { describeInLab, dial, namespace, pod, service, whoAmIPod } from './world.ts';

const manifests = [
  namespace('t', { mesh: true }),
  namespace('plain'),
  pod('t/client', 'a', { serviceAccount: 'client' }),
  whoAmIPod('t/server', 'b', 8080, { serviceAccount: 'server' }),
  whoAmIPod('t/neighbour', 'a', 8080),
  whoAmIPod('plain/outside', 'b', 8080),
  service('t/server', { 80: 'main' }),
  service('t/neighbour', { 80: 'main' }),
];

async function connections(node: LabNode): Promise<ConnectionEntry[]> {
  const { status, body } = (await node.agent?.get(15000, '/connections')) ?? { status: 0, body: '' };
  expect(status).toBe(200);
  return (JSON.parse(body) as { connections: ConnectionEntry[] }).connections;
}

/** Records come in batches, a moment after the end of a connection. */
async function connectionsFrom(node: LabNode, port: number): Promise<ConnectionEntry[]> {
  return await vi.waitFor(
    async () => {
      const found = (await connections(node)).filter(
        ({ source, state }) => source.port === port && state !== 'live',
      );
      expect(found).not.toEqual([]);
      return found;
    },
    { timeout: 5_000, interval: 100 },
  );
}

async function section<T>(node: LabNode, name: string): Promise<T> {
  const { body } = (await node.agent?.get(15000, `/config_dump?section=${name}`)) ?? { body: '{}' };
  return (JSON.parse(body) as Record<string, T>)[name] as T;
}

describeInLab('two agents on two nodes', { manifests }, (world) => {
  it.each([
    ['IPv4', 0, 'v4'],
    ['IPv6', 1, 'v6'],
  ] as const)(
    'carry a connection to a service address in a tunnel, with the real addresses at both ends (%s)',
    async (_name, index, family) => {
      const { lab } = world;
      const client = lab.pod('t/client');
      const server = lab.pod('t/server');
      const address = lab.serviceAddresses('t/server')[index] ?? '';
      const seen = await dial(client, address, 80);
      expect(seen).toMatchObject({
        ok: true,
        localAddress: client[family],
        remoteAddress: address,
        remotePort: 80,
      });
      expect(seen.received).toBe(`${server[family]} 8080 ${client[family]} ${seen.localPort}`);
      const [out] = await connectionsFrom(lab.node('a'), seen.localPort);
      expect(out).toMatchObject({
        state: 'closed',
        direction: 'outbound',
        path: 'tunnel',
        pod: 't/client',
        source: { address: client[family], identity: 'spiffe://cluster.local/ns/t/sa/client' },
        destination: { address, port: 80, identity: 'spiffe://cluster.local/ns/t/sa/server' },
        endpoint: { address: server[family] },
        service: 'server.t.svc.cluster.local',
        bytesReceived: seen.received.length,
        reason: 'none',
      });
      const [back] = await connectionsFrom(lab.node('b'), seen.localPort);
      expect(back).toMatchObject({
        state: 'closed',
        direction: 'inbound',
        path: 'tunnel',
        pod: 't/server',
        source: { address: client[family], identity: 'spiffe://cluster.local/ns/t/sa/client' },
        endpoint: { address: server[family], port: 8080 },
        bytesReceived: seen.received.length,
      });
    },
  );

  it('carry it inside one node too', async () => {
    const { lab } = world;
    const seen = await dial(lab.pod('t/client'), lab.serviceAddresses('t/neighbour')[0] ?? '', 80);
    expect(seen.received).toBe(
      `${lab.pod('t/neighbour').v4} 8080 ${lab.pod('t/client').v4} ${seen.localPort}`,
    );
    const entries = await connectionsFrom(lab.node('a'), seen.localPort);
    expect(entries.map(({ direction, path }) => `${direction} ${path}`).toSorted()).toEqual([
      'inbound tunnel',
      'outbound tunnel',
    ]);
  });

  it('pass a connection to a pod outside the mesh in the clear, and say so', async () => {
    const { lab } = world;
    const seen = await dial(lab.pod('t/client'), lab.pod('plain/outside').v4, 8080);
    // The port is taken by the application's own end, towards the same address.
    expect(seen.received).toContain(`${lab.pod('plain/outside').v4} 8080 ${lab.pod('t/client').v4} `);
    const [entry] = await connectionsFrom(lab.node('a'), seen.localPort);
    expect(entry).toMatchObject({ path: 'plaintext', direction: 'outbound', state: 'closed' });
  });

  it('let a client without identity in under the default policy, and say so', async () => {
    const { lab } = world;
    const seen = await dial(lab.pod('plain/outside'), lab.pod('t/server').v4, 8080);
    expect(seen.received).toContain(lab.pod('plain/outside').v4);
    const [entry] = await connectionsFrom(lab.node('b'), seen.localPort);
    expect(entry).toMatchObject({ path: 'plaintext', direction: 'inbound', pod: 't/server' });
    expect(entry?.source.identity).toBeUndefined();
  });

  it('ask one question for many connections', async () => {
    const { lab } = world;
    const address = lab.serviceAddresses('t/server')[0] ?? '';
    await dial(lab.pod('t/client'), address, 80);
    const before = await section<{ asked: number }>(lab.node('a'), 'decisions');
    for (let n = 0; n < 5; n++) await dial(lab.pod('t/client'), address, 80);
    const after = await section<{ asked: number }>(lab.node('a'), 'decisions');
    expect(after.asked).toBe(before.asked);
  });

  it('agree on TLS 1.3 with a hybrid key exchange', async () => {
    const tunnels = await section<{ tlsVersion: string; keyExchangeGroup: string; peerIdentity: string }[]>(
      world.lab.node('a'),
      'tunnels',
    );
    expect(tunnels.length).toBeGreaterThan(0);
    for (const tunnel of tunnels) {
      expect(tunnel.tlsVersion).toBe('TLSv1.3');
      expect(tunnel.keyExchangeGroup).toBe('X25519MLKEM768');
      expect(tunnel.peerIdentity).toMatch(/^spiffe:\/\/cluster\.local\/ns\/t\/sa\//);
    }
  });

  it('refuse at connect() what the service does not serve', async () => {
    const { lab } = world;
    const address = lab.serviceAddresses('t/server')[0] ?? '';
    await dial(lab.pod('t/client'), address, 81);
    const seen = await dial(lab.pod('t/client'), address, 81);
    expect(seen).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
  });
});
