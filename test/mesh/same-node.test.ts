/** Connections between two pods of a node: by the kernel alone where that is allowed, and by the tunnel where it is not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { agentOf, connectionsOf, connectionWhere, sectionOf, sumOf } from './observe.ts';
import { describeInLab, dial, echoPod, namespace, pod, service } from './world.ts';

const port = 8080;
const opened = 'istio_tcp_connections_opened_total';
const sameNode = 'hadal.io/same-node';

const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/client', 'a', { serviceAccount: 'client' }),
  echoPod('shop/near', 'a', port, { serviceAccount: 'near', labels: { app: 'near', tier: 'server' } }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far', labels: { app: 'far', tier: 'server' } }),
  service('shop/near', { 80: port }),
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'both', namespace: 'shop' },
    spec: { selector: { tier: 'server' }, ports: [{ name: 'p', port: 80, targetPort: port }] },
  }),
];

const policy = (kind: string, spec: object) =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name: 'p', namespace: 'shop' },
    spec: { selector: { matchLabels: { app: 'near' } }, ...spec },
  });

/** Until the node's agent knows that such connections stay on it. */
async function pathKnown(lab: Lab): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const { sameNodePath } = await sectionOf<{ sameNodePath: string }>(lab, 'a', 'decisions');
    if (sameNodePath === 'stays') return;
    if (Date.now() > deadline) throw new Error(`the path of node a is ${sameNodePath}`);
    await sleep(100);
  }
}

/** Ways of the next connections: the first is asked for, and goes by the tunnel. */
async function waysOf(lab: Lab, address: string, times = 1, destinationPort = port): Promise<string[]> {
  await dial(lab.pod('client'), address, destinationPort, 'first');
  const ways: string[] = [];
  for (let n = 0; n < times; n++) {
    const text = `${address} ${n}`;
    const { received, error, localPort } = await dial(lab.pod('client'), address, destinationPort, text);
    if (received !== text) {
      ways.push(error);
      continue;
    }
    const entry = await connectionWhere(
      lab,
      'a',
      ({ direction, source, state }) =>
        direction === 'outbound' && source.port === localPort && state === 'closed',
    );
    ways.push(entry.path);
  }
  return ways;
}

describeInLab('pods of one node', { manifests, controlPlane: true }, (world) => {
  it('connect directly in both families, by the address of the pod and of its service', async () => {
    const { lab } = world;
    await pathKnown(lab);
    const near = lab.pod('near');
    const services = lab.serviceAddresses('near');
    expect(services.length).toBeGreaterThan(0);
    expect(await waysOf(lab, near.v4)).toEqual(['node_local']);
    expect(await waysOf(lab, near.v6)).toEqual(['node_local']);
    for (const address of services) expect(await waysOf(lab, address, 1, 80)).toEqual(['node_local']);
  });

  it('tell of it at both ends as node_local, with names, principals and bytes', async () => {
    const { lab } = world;
    const [address = ''] = lab.serviceAddresses('near');
    const labels = {
      connection_security_policy: 'node_local',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/client',
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/near',
      destination_service: 'near.shop.svc.cluster.local',
      source_workload: 'client',
      destination_workload: 'near',
    };
    const reports = ['source', 'destination'].map((reporter) => ({ ...labels, reporter }));
    const count = (metric: string) => Promise.all(reports.map((each) => sumOf(lab, 'a', metric, each)));
    const text = 'x'.repeat(1000);
    expect(await waysOf(lab, address, 1, 80)).toEqual(['node_local']);
    const [openedBefore, bytesBefore] = [await count(opened), await count('istio_tcp_received_bytes_total')];
    const { received, localPort, remoteAddress } = await dial(lab.pod('client'), address, 80, text);
    expect([received, remoteAddress]).toEqual([text, address]);
    const ends = await Promise.all(
      (['outbound', 'inbound'] as const).map((direction) =>
        connectionWhere(
          lab,
          'a',
          (entry) =>
            entry.direction === direction && entry.source.port === localPort && entry.path === 'node_local',
        ),
      ),
    );
    for (const end of ends) {
      expect(end.source).toMatchObject({ workload: 'client', namespace: 'shop' });
      expect(end.destination).toMatchObject({ workload: 'near', namespace: 'shop' });
      expect(end.service).toBe('near.shop.svc.cluster.local');
      expect([end.bytesSent, end.bytesReceived]).toEqual([1000, 1000]);
    }
    expect(ends[0]?.destination.address).toBe(address);
    const grown = async (metric: string, before: readonly number[]) =>
      (await count(metric)).map((value, index) => value - (before[index] ?? 0));
    await expect.poll(() => grown(opened, openedBefore), { timeout: 5000 }).toEqual([1, 1]);
    expect(await grown('istio_tcp_received_bytes_total', bytesBefore)).toEqual([1000, 1000]);
    expect(
      await sumOf(lab, 'a', opened, { ...labels, connection_security_policy: 'mutual_tls' }),
    ).toBeLessThan(9);
  });

  it('share with an endpoint on another node as the service says', async () => {
    const { lab } = world;
    const [address = ''] = lab.serviceAddresses('both');
    const ways = await waysOf(lab, address, 24, 80);
    const direct = ways.filter((way) => way === 'node_local').length;
    expect(ways.every((way) => way === 'node_local' || way === 'tunnel')).toBe(true);
    // Of 24 fair throws, fewer than 3 of a kind come once in 30,000 times.
    expect(direct).toBeGreaterThan(2);
    expect(direct).toBeLessThan(22);
    // What goes to the other node is never taken for it.
    expect((await connectionsOf(lab, 'b')).filter(({ path }) => path === 'node_local')).toEqual([]);
  });

  it.each<[string, string, string]>([
    ['the pod says tunnel', 'tunnel', 'tunnel'],
    ['the pod says direct', 'direct', 'node_local'],
  ])('go as %s', async (_, mode, way) => {
    const { lab } = world;
    await lab.apply(
      echoPod('shop/near', 'a', port, {
        serviceAccount: 'near',
        labels: { app: 'near', tier: 'server', [sameNode]: mode },
      }),
    );
    await lab.meshInForce();
    expect(await waysOf(lab, lab.pod('near').v4)).toEqual([way]);
  });

  it('keep the tunnel under STRICT, unless the pod or its namespace says direct', async () => {
    const { lab } = world;
    const near = (labels: Record<string, string>) =>
      echoPod('shop/near', 'a', port, {
        serviceAccount: 'near',
        labels: { app: 'near', tier: 'server', ...labels },
      });
    await lab.apply(near({}));
    await lab.apply(policy('PeerAuthentication', { mtls: { mode: 'STRICT' } }));
    await lab.meshInForce();
    const { v4 } = lab.pod('near');
    expect(await waysOf(lab, v4)).toEqual(['tunnel']);
    const shop = JSON.parse(namespace('shop', { mesh: true })) as { metadata: { labels: object } };
    const withLabel = (mode: string) =>
      JSON.stringify({
        ...shop,
        metadata: { ...shop.metadata, labels: { ...shop.metadata.labels, [sameNode]: mode } },
      });
    await lab.apply(withLabel('direct'));
    await lab.meshInForce();
    expect(await waysOf(lab, v4)).toEqual(['node_local']);
    await lab.delete('PeerAuthentication', 'shop/p');
    await lab.apply(withLabel('tunnel'));
    await lab.meshInForce();
    expect(await waysOf(lab, v4)).toEqual(['tunnel']);
    await lab.apply(JSON.stringify(shop));
    await lab.meshInForce();
    expect(await waysOf(lab, v4)).toEqual(['node_local']);
  });

  it('that a policy keeps apart fail at connect() with EACCES, on another node too', async () => {
    const { lab } = world;
    const deny = policy('AuthorizationPolicy', { action: 'DENY', selector: undefined, rules: [{}] });
    await lab.apply(deny);
    await lab.meshInForce();
    expect(await waysOf(lab, lab.pod('near').v4)).toEqual(['EACCES']);
    expect(await waysOf(lab, lab.pod('far').v4)).toEqual(['EACCES']);
    const refused = { reporter: 'source', reason: 'policy_denied', destination_workload: 'far' };
    expect(await sumOf(lab, 'a', 'istio_tcp_connections_failed_total', refused)).toBeGreaterThan(0);
    await lab.delete('AuthorizationPolicy', 'shop/p');
    await lab.meshInForce();
    expect(await waysOf(lab, lab.pod('near').v4)).toEqual(['node_local']);
  });

  it('are explained as they go, with why not', async () => {
    const { lab } = world;
    const explained = async () => {
      const query = new URLSearchParams({
        source: 'shop/client',
        destination: `${lab.pod('near').v4}:${port}`,
      });
      const { body } = await agentOf(lab, 'a').get(15_000, `/explain?${query}`);
      return JSON.parse(body) as { outbound: string[]; endpoints: { path: string; allowed: boolean }[] };
    };
    expect((await explained()).endpoints).toMatchObject([{ path: 'node_local', allowed: true }]);
  });

  it('go on while their agent is killed, and the next one shows them by name', async () => {
    const { lab } = world;
    const { v4 } = lab.pod('near');
    expect(await waysOf(lab, v4)).toEqual(['node_local']);
    // Until somebody calls it at port 9.
    const program = `
      const net = require('net'); const crypto = require('crypto');
      const sent = crypto.createHash('sha256'); const got = crypto.createHash('sha256');
      let out = 0, count = 0, stopped = false;
      net.createServer((s) => { stopped = true; s.end(); }).listen(9, '127.0.0.1');
      const s = net.connect({ host: process.argv[1], port: Number(process.argv[2]) });
      const send = () => { if (stopped) return s.end(); const b = crypto.randomBytes(65536); sent.update(b); out += b.length;
        s.write(b, () => setTimeout(send, 2)); };
      s.on('connect', send);
      s.on('data', (d) => { got.update(d); count += d.length; });
      s.on('error', (e) => { console.log('error ' + e.code); process.exit(1); });
      s.on('end', () => { console.log(out > 1e6, out === count, sent.digest('hex') === got.digest('hex')); process.exit(0); });`;
    const stream = lab.pod('client').exec(['node', '-e', program, v4, String(port)], { timeoutMs: 240_000 });
    const before = await connectionWhere(
      lab,
      'a',
      ({ state, path, direction }) => state === 'live' && path === 'node_local' && direction === 'outbound',
    );
    await agentOf(lab, 'a').kill('SIGKILL');
    await sleep(500);
    agentOf(lab, 'a').start();
    await agentOf(lab, 'a').waitReady(60_000);
    const live = (direction: string) =>
      connectionWhere(
        lab,
        'a',
        (entry) =>
          entry.state === 'live' &&
          entry.path === 'node_local' &&
          entry.direction === direction &&
          entry.source.port === before.source.port,
      );
    for (const direction of ['outbound', 'inbound']) {
      expect(await live(direction)).toMatchObject({
        source: { workload: 'client', identity: 'spiffe://cluster.local/ns/shop/sa/client' },
        destination: { workload: 'near', identity: 'spiffe://cluster.local/ns/shop/sa/near' },
      });
    }
    await lab.pod('client').exec(['node', '-e', `require('net').connect(9, '127.0.0.1')`]);
    expect((await stream).stdout.trim()).toBe('true true true');
    expect(await waysOf(lab, v4)).toEqual(['node_local']);
  });
});
