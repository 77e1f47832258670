import { describe, expect, it } from 'vitest';
import { translateObjects } from '../../../../src/source/translate/mesh.ts';
import {
  among,
  gateway,
  type Json,
  mesh,
  namespace,
  service,
  serviceEntry,
  serviceOf,
  warningsOf,
} from './objects.ts';

const uids = (entry: ReturnType<typeof serviceEntry>) =>
  among(entry).workloads.map(({ uid }) => uid.replace('Kubernetes/networking.istio.io/ServiceEntry/', ''));

describe('a service entry as a service', () => {
  it('is one for each host, with ports, identities and the ranges that it owns', () => {
    const entry = serviceEntry({
      hosts: ['a.example.com', 'B.example.com.', 'a.example.com'],
      addresses: ['10.1.2.3', 'fd00::/64', '10.9.0.7/16', '10.1.2.3/32'],
      ports: [
        { number: 443, name: 'tls', protocol: 'TLS' },
        { number: 80, name: 'http', protocol: 'HTTP', targetPort: 8080 },
        { number: 53, name: 'dns', protocol: 'UDP' },
      ],
      subjectAltNames: ['spiffe://other/ns/x/sa/y'],
    });
    const { services } = among(entry, [], mesh({ network: 'n' }));
    expect(services.map(({ hostname }) => hostname)).toEqual(['a.example.com', 'b.example.com']);
    expect(services[0]).toMatchObject({
      name: 'outside',
      namespace: 'shop',
      canonical: true,
      addresses: [
        { network: 'n', address: '10.1.2.3', length: undefined },
        { network: 'n', address: 'fd00::', length: 64 },
        { network: 'n', address: '10.9.0.0', length: 16 },
        { network: 'n', address: '10.1.2.3', length: 32 },
      ],
      ports: [
        { servicePort: 443, targetPort: 443, appProtocol: 'TLS' },
        { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' },
      ].map((port, index) => ({ ...port, name: ['tls', 'http'][index] })),
      subjectAltNames: ['spiffe://other/ns/x/sa/y'],
    });
  });

  it('of resolution NONE lets connections go where they went, whoever is there', () => {
    const { loadBalancing, addresses } = serviceOf(serviceEntry({ resolution: 'NONE' }));
    expect(loadBalancing).toEqual({ mode: 'PASSTHROUGH', healthPolicy: 'ALLOW_ALL', routingPreference: [] });
    // Nobody is at a made-up address.
    expect(addresses).toEqual([]);
  });

  it('that does not say its resolution has NONE', () => {
    expect(serviceOf(serviceEntry({ resolution: undefined })).loadBalancing.mode).toBe('PASSTHROUGH');
  });

  it('of a wildcard keeps it as its name', () => {
    expect(serviceOf(serviceEntry({ hosts: ['*.example.com'] }))).toMatchObject({
      hostname: '*.example.com',
      addresses: [],
    });
  });

  it.each([
    [[], 'PUBLIC'],
    [['*'], 'PUBLIC'],
    [['.'], 'NAMESPACE'],
    [['shop'], 'NAMESPACE'],
    [['~'], 'NAMESPACE'],
    [['.', 'bank'], 'PUBLIC'],
  ])('with exportTo %j is %s', (exportTo, visibility) => {
    expect(serviceOf(serviceEntry({ exportTo })).visibility).toBe(visibility);
  });

  it('counts for clients of other namespaces when it is the oldest that they see, and no Service has its name', () => {
    const made = (year: number, metadata: Json, spec: Json = {}) =>
      serviceEntry(spec, { creationTimestamp: `${year}-01-01T00:00:00Z`, ...metadata });
    const newer = made(2026, {});
    const older = made(2025, { namespace: 'bank' });
    const hidden = made(2024, { namespace: 'post' }, { exportTo: ['.'] });
    const objects = [newer, older, hidden];
    const canonical = (entry: typeof newer, others: typeof objects) =>
      among(entry, others).services.map((each) => each.canonical);
    expect(objects.map((each) => canonical(each, objects))).toEqual([[false], [true], [false]]);
    expect(canonical(newer, [newer, hidden])).toEqual([true]);
    const own = made(2024, {}, { hosts: ['front.shop.svc.cluster.local'] });
    expect(among(own, [service()]).services[0]?.canonical).toBe(false);
    expect(among(own).services[0]?.canonical).toBe(true);
  });

  it('with an address that is none goes without it, and a warning names it', () => {
    const entry = serviceEntry({ addresses: ['x', '10.0.0.1'] });
    expect(serviceOf(entry).addresses).toMatchObject([{ address: '10.0.0.1' }]);
    expect(warningsOf(entry)).toEqual([expect.stringContaining('spec.addresses[0]')]);
  });
});

describe('a service entry as workloads', () => {
  it('is one for each endpoint that stands in it, with its own place, weight and ports', () => {
    const entry = serviceEntry(
      {
        endpoints: [
          {
            address: '1.1.1.1',
            weight: 3,
            locality: 'eu/eu-1',
            network: 'far',
            ports: { 'tcp-db': 15432 },
            serviceAccount: 'db',
          },
          { address: '1.1.1.2', labels: { app: 'own', 'networking.istio.io/tunnel': 'http' } },
        ],
      },
      { labels: { app: 'shared' } },
    );
    expect(among(entry).workloads).toMatchObject([
      {
        uid: 'Kubernetes/networking.istio.io/ServiceEntry/shop/outside/1.1.1.1',
        addresses: ['1.1.1.1'],
        capacity: 3,
        network: 'far',
        locality: { region: 'eu', zone: 'eu-1', subzone: '' },
        serviceAccount: 'db',
        canonicalName: 'shared',
        tunnelProtocol: 'NONE',
        services: [{ service: 'shop/db.example.com', ports: [{ servicePort: 5432, targetPort: 15432 }] }],
      },
      {
        capacity: 1,
        network: '',
        canonicalName: 'own',
        tunnelProtocol: 'HBONE',
        services: [{ ports: [{ targetPort: 5432 }] }],
      },
    ]);
  });

  it('is endpoints of all its hosts', () => {
    const entry = serviceEntry({ hosts: ['a.com', 'b.com'], endpoints: [{ address: '1.1.1.1' }] });
    expect(among(entry).workloads[0]?.services.map((each) => each.service)).toEqual([
      'shop/a.com',
      'shop/b.com',
    ]);
  });

  it.each(['DNS', 'DNS_ROUND_ROBIN'])(
    'of resolution %s is each host to be resolved, for that host alone',
    (resolution) => {
      const { workloads } = among(serviceEntry({ hosts: ['a.com', 'b.com'], resolution }));
      expect(workloads.map((each) => [each.hostname, each.services.map(({ service }) => service)])).toEqual([
        ['a.com', ['shop/a.com']],
        ['b.com', ['shop/b.com']],
      ]);
      expect(uids(serviceEntry({ resolution, endpoints: [{ address: 'real.example.com' }] }))).toEqual([
        'shop/outside/real.example.com',
      ]);
    },
  );

  it.each([
    ['STATIC without endpoints', { resolution: 'STATIC' }],
    ['NONE', { resolution: 'NONE' }],
    ['DNS with a selector', { resolution: 'DNS', workloadSelector: { labels: { app: 'x' } } }],
  ])('of %s is none', (_, spec) => {
    expect(uids(serviceEntry(spec))).toEqual([]);
  });

  it('of a wildcard that is to be resolved is none, with a warning', () => {
    const entry = serviceEntry({ hosts: ['*.example.com'], resolution: 'DNS' });
    expect(uids(entry)).toEqual([]);
    expect(warningsOf(entry)[0]).toContain('*.example.com');
  });

  it('with an endpoint twice counts the first, and with a socket of the machine leaves it out', () => {
    const entry = serviceEntry({
      endpoints: [{ address: '1.1.1.1', weight: 2 }, { address: '1.1.1.1' }, { address: 'unix:///x' }],
    });
    expect(among(entry).workloads).toMatchObject([{ capacity: 2 }]);
    expect(warningsOf(entry)).toHaveLength(2);
  });

  it('does not take the waypoint of its hosts for connections to its endpoints', () => {
    const labels = { 'istio.io/use-waypoint': 'w' };
    const entry = serviceEntry({ endpoints: [{ address: '1.1.1.1' }] }, { labels });
    const { services, workloads } = among(entry, [
      gateway({ labels: { 'istio.io/waypoint-for': 'all' } }),
      namespace(),
    ]);
    expect([services[0]?.waypoint === undefined, workloads[0]?.waypoint]).toEqual([false, undefined]);
  });
});

describe('a service entry whose hosts are resolved with each request (DYNAMIC_DNS)', () => {
  const wildcard = {
    hosts: ['*.example.com'],
    resolution: 'DYNAMIC_DNS',
    ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
  };
  const labels = { 'istio.io/use-waypoint': 'w' };

  it('is a service with one address for all of them, before which its waypoint stands, and no endpoint', () => {
    const entry = serviceEntry(wildcard, { labels });
    const { services, workloads, warnings } = among(entry, [gateway(), namespace()]);
    expect(services).toMatchObject([{ hostname: '*.example.com', waypoint: { hboneMtlsPort: 15008 } }]);
    expect(services[0]?.addresses.map(({ address }) => address)).toEqual([
      expect.stringMatching(/^240\.240\./),
      expect.stringMatching(/^2001:2::/),
    ]);
    expect([workloads, warnings]).toEqual([[], []]);
  });

  it('without a waypoint has nobody who could resolve them: a warning says so', () => {
    expect(warningsOf(serviceEntry(wildcard))).toEqual([
      expect.stringMatching(/^spec\.resolution .*istio\.io\/use-waypoint/),
    ]);
  });

  it('and that is said to be inside the mesh gets a warning: a waypoint resolves what is outside', () => {
    const entry = serviceEntry({ ...wildcard, location: 'MESH_INTERNAL' }, { labels });
    expect(warningsOf(entry, [gateway(), namespace()])).toEqual([expect.stringMatching(/^spec\.location /)]);
  });
});

describe('two objects that give one name', () => {
  it('give what the older one says, in any order, as a control plane has it', () => {
    const older = serviceEntry(
      { ports: [{ number: 1, name: 'a' }] },
      { name: 'z', creationTimestamp: '2026-01-01T00:00:00Z' },
    );
    const newer = serviceEntry(
      { ports: [{ number: 2, name: 'b' }] },
      { name: 'a', creationTimestamp: '2026-01-02T00:00:00Z' },
    );
    for (const objects of [
      [older, newer],
      [newer, older],
    ]) {
      expect(translateObjects(objects).services).toMatchObject([{ name: 'z', ports: [{ servicePort: 1 }] }]);
    }
  });
});
