/** Names in the mesh: the agent answers in pods, also what their nameserver does not know; without it the nameserver does. */
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import { describeInLab, dial, namespace, pod, service, whoAmIPod } from './world.ts';

const hasDig = existsSync('/usr/bin/dig');
if (!hasDig) console.warn('SKIPPED: dig is missing (apt-get install bind9-dnsutils)');

function headless(name: string, port: number): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop' },
    spec: { clusterIP: 'None', selector: { tier: 'stock' }, ports: [{ name: 'stock', port }] },
  });
}

const externalName = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'legacy', namespace: 'shop' },
  spec: { type: 'ExternalName', externalName: 'catalog.shop.svc.cluster.local' },
});

async function dig(from: LabPod, ...args: readonly string[]): Promise<string[]> {
  const { stdout, stderr, code } = await from.exec([
    'dig',
    '+short',
    '+search',
    '+tries=1',
    '+time=4',
    ...args,
  ]);
  if (code !== 0) throw new Error(`dig ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  return stdout.split('\n').filter(Boolean).sort();
}

describeInLab(
  'names in the mesh',
  {
    agentEnv: { HADAL_LOG_LEVEL: 'debug' },
    agentReadyMs: 90_000,
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/client', 'a'),
      pod('shop/plain', 'a', { mesh: false }),
      whoAmIPod('shop/catalog', 'b', 8080),
      whoAmIPod('shop/stock-0', 'b', 7070, { labels: { tier: 'stock' } }),
      whoAmIPod('shop/stock-1', 'a', 7070, { labels: { tier: 'stock' } }),
      service('shop/catalog', { 80: 8080 }),
      headless('stock', 7070),
      externalName,
    ],
  },
  (world) => {
    const client = () => world.lab.pod('client');
    const stock = (family: 'v4' | 'v6') =>
      [...['stock-0', 'stock-1']].map((each) => world.lab.pod(each)[family]).sort();
    const metric = async (name: string, label = '') => {
      const text = (await world.lab.node('a').agent?.metrics()) ?? '';
      return text
        .split('\n')
        .filter((line) => line.startsWith(name) && line.includes(label))
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };

    it.skipIf(!hasDig)(
      'lead to services, headless endpoints, ports, aliases and what is outside',
      async () => {
        const [v4 = '', v6 = ''] = world.lab.serviceAddresses('shop/catalog');
        expect(await dig(client(), 'catalog')).toEqual([v4]);
        // With its search domain added by the asker, as for every name of few dots: the agent takes it off again.
        expect(await dig(client(), 'AAAA', 'catalog.shop.svc.cluster.local')).toEqual([
          'catalog.shop.svc.cluster.local.',
          v6,
        ]);
        expect(await dig(client(), '+tcp', 'catalog')).toEqual([v4]);
        expect(await dig(client(), 'stock')).toEqual(stock('v4'));
        expect(await dig(client(), 'AAAA', 'stock')).toEqual(stock('v6'));
        expect(await dig(client(), 'stock-1.stock')).toEqual([world.lab.pod('stock-1').v4]);
        expect(await dig(client(), 'SRV', '_p80._tcp.catalog')).toEqual([
          `0 100 80 catalog.shop.svc.cluster.local.`,
        ]);
        expect(await dig(client(), 'SRV', '_stock._tcp.stock')).toHaveLength(2);
        expect(await metric('istio_dns_requests_total', 'request_query_type="SRV"')).toBeGreaterThan(1);
        expect(await metric('istio_dns_upstream_requests_total', 'request_query_type="SRV"')).toBe(0);
        expect(await dig(client(), 'legacy')).toContain('catalog.shop.svc.cluster.local.');
        expect(await dig(client(), 'client.shop.pod')).toEqual([client().v4]);
      },
    );

    it('are what programs use to reach each other, by either family', async () => {
      const log = world.lab.node('a').agent?.lastWords(5_000) ?? '';
      expect(log).toContain('catalog.shop.svc.cluster.local');
      const seen = await dial(client(), 'catalog', 80);
      expect(seen).toMatchObject({ ok: true, remotePort: 80 });
      expect(world.lab.serviceAddresses('shop/catalog')).toContain(seen.remoteAddress);
    });

    it('are counted, those that were passed on too', async () => {
      const requests = await metric('istio_dns_requests_total');
      const upstream = await metric('istio_dns_upstream_requests_total');
      await client().exec(['getent', 'ahostsv4', 'catalog.shop.svc.cluster.local']);
      await client().exec(['getent', 'ahostsv4', 'client.shop.pod']);
      expect(await metric('istio_dns_requests_total')).toBeGreaterThan(requests + 1);
      expect(await metric('istio_dns_upstream_requests_total')).toBeGreaterThan(upstream);
      expect(await metric('istio_dns_upstream_request_duration_seconds_count')).toBeGreaterThan(0);
      expect(await metric('istio_dns_upstream_failures_total')).toBe(0);
    });

    it.skipIf(!hasDig)(
      'go on resolving when the agent is killed, and through the next one again',
      async () => {
        const agent = world.lab.node('a').agent;
        const [v4 = ''] = world.lab.serviceAddresses('shop/catalog');
        await agent?.kill('SIGKILL');
        const started = performance.now();
        expect(await dig(client(), 'catalog')).toEqual([v4]);
        expect(performance.now() - started).toBeLessThan(3_000);
        expect(await dig(client(), '+tcp', 'catalog')).toEqual([v4]);
        agent?.start();
        await agent?.waitReady();
        const before = await metric('istio_dns_requests_total');
        expect(await dig(client(), 'catalog')).toEqual([v4]);
        expect(await metric('istio_dns_requests_total')).toBeGreaterThan(before);
      },
    );

    it.skipIf(!hasDig)('are the nameserver’s alone in a pod outside the mesh', async () => {
      const before = await metric('istio_dns_requests_total');
      expect(await dig(world.lab.pod('plain'), 'stock')).toEqual(stock('v4'));
      expect(await metric('istio_dns_requests_total')).toBe(before);
    });
  },
);
