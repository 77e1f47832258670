/** What stands behind services: pods, machines, hand-written slices. */
import { describe, expect, it } from 'vitest';
import {
  among,
  machine,
  mesh,
  namespace,
  node,
  pod,
  service,
  serviceEntry,
  serviceOf,
  slice,
  warningsOf,
  workloadOf,
} from './objects.ts';

const front = 'shop/front.shop.svc.cluster.local';

describe('a hand-written slice', () => {
  const bare = service({}, { selector: {} });
  const translated = (fields: object, metadata: object = {}, others = [bare]) =>
    among(slice({ ...fields }, { ...metadata }), others).workloads;

  it('gives its service endpoints of which nothing else is known', () => {
    expect(
      translated({ endpoints: [{ addresses: ['192.168.0.1'], nodeName: 'n', zone: 'z' }] }),
    ).toMatchObject([
      {
        uid: 'Kubernetes/discovery.k8s.io/EndpointSlice/shop/front-abc/192.168.0.1',
        addresses: ['192.168.0.1'],
        // The address may be anybody's: connections to it by itself do not mean this workload.
        networkMode: 'HOST_NETWORK',
        tunnelProtocol: 'NONE',
        status: 'HEALTHY',
        node: 'n',
        locality: { zone: 'z' },
        services: [{ service: front, ports: [{ servicePort: 80, targetPort: 9000 }] }],
      },
    ]);
  });

  it.each([
    [{ ready: true }, 'HEALTHY'],
    [{ ready: null }, 'HEALTHY'],
    [{}, 'HEALTHY'],
    [{ ready: false }, 'UNHEALTHY'],
    [{ ready: false, serving: true, terminating: true }, 'UNHEALTHY'],
  ])('with conditions %j is %s', (conditions, status) => {
    expect(translated({ endpoints: [{ addresses: ['192.168.0.1'], conditions }] })[0]?.status).toBe(status);
  });

  it('has ports by the names of the service, and none for what is not TCP or not named so', () => {
    const named = service(
      {},
      {
        selector: {},
        ports: [
          { name: 'web', port: 80 },
          { name: 'db', port: 81 },
          { name: 'log', port: 82 },
        ],
      },
    );
    const ports = [
      { name: 'web', port: 8080 },
      { name: 'other', port: 1 },
      { name: 'log', port: 5, protocol: 'UDP' },
    ];
    expect(translated({ ports }, {}, [named])[0]?.services[0]?.ports).toMatchObject([
      { servicePort: 80, targetPort: 8080 },
    ]);
  });

  it.each([
    ['belongs to no service', { labels: {} }, {}],
    ['belongs to one that is not there', { labels: { 'kubernetes.io/service-name': 'other' } }, {}],
    [
      'was written by Kubernetes from a selector',
      {
        labels: {
          'kubernetes.io/service-name': 'front',
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
      },
      {},
    ],
    [
      'names pods',
      {},
      { endpoints: [{ addresses: ['10.0.0.1'], targetRef: { kind: 'Pod', name: 'front-1' } }] },
    ],
    ['has no endpoints, which the API server writes as null', {}, { endpoints: null, ports: null }],
    ['holds no address', {}, { endpoints: [{ addresses: ['x'] }] }],
  ])('gives nothing when it %s', (_, metadata, fields) => {
    expect(translated(fields, metadata)).toEqual([]);
  });

  it('of host names gives nothing but a warning', () => {
    expect(
      warningsOf(slice({ addressType: 'FQDN', endpoints: [{ addresses: ['db.example.com'] }] }), [bare])[0],
    ).toContain('FQDN');
  });

  it('that names a pod makes it an endpoint, once for both families, and a selector counts before it', () => {
    const targetRef = { kind: 'Pod', name: 'front-1' };
    const of = (name: string, addressType: string, address: string) =>
      slice({ addressType, endpoints: [{ addresses: [address], targetRef }] }, { name });
    const slices = [of('v4', 'IPv4', '10.0.0.1'), of('v6', 'IPv6', 'fd00::1')];
    const ports = (others: Parameters<typeof workloadOf>[1]) =>
      workloadOf(pod(), others).services.map((each) => [each.service, each.ports[0]?.targetPort]);
    expect(ports([bare, ...slices])).toEqual([[front, 9000]]);
    expect(ports([service(), ...slices])).toEqual([[front, 8080]]);
    expect(ports([service({}, { selector: {}, type: 'ExternalName' }), ...slices])).toEqual([]);
  });
});

describe('a machine', () => {
  it('is a workload with the identity, place and weight that its entry gives', () => {
    const entry = machine({ network: 'far', locality: 'eu/eu-1/rack', weight: 7, serviceAccount: 'vm' });
    expect(workloadOf(entry, [], mesh({ network: 'near' }))).toMatchObject({
      uid: 'Kubernetes/networking.istio.io/WorkloadEntry/shop/vm-1',
      name: 'vm-1',
      namespace: 'shop',
      addresses: ['172.16.0.1'],
      network: 'far',
      locality: { region: 'eu', zone: 'eu-1', subzone: 'rack' },
      capacity: 7,
      serviceAccount: 'vm',
      workloadType: 'POD',
      tunnelProtocol: 'NONE',
      status: 'HEALTHY',
    });
    expect(workloadOf(machine(), [], mesh({ network: 'near' }))).toMatchObject({
      capacity: 1,
      network: 'near',
      serviceAccount: 'default',
    });
  });

  it('may be named instead of having an address', () => {
    expect(workloadOf(machine({ address: 'VM.example.com.' }))).toMatchObject({
      addresses: [],
      hostname: 'vm.example.com',
    });
  });

  it.each(['unix:///run/db.sock', '', 'two words'])('at "%s" is left out with a warning', (address) => {
    expect(among(machine({ address })).workloads).toEqual([]);
    expect(warningsOf(machine({ address }))[0]).toContain('spec.address');
  });

  it.each([
    [[{ type: 'Healthy', status: 'False' }], {}, 'UNHEALTHY'],
    [[{ type: 'Healthy', status: 'True' }], {}, 'HEALTHY'],
    [[], { deletionTimestamp: '2026-01-01T00:00:00Z' }, 'UNHEALTHY'],
  ])('with conditions %j and metadata %j is %s', (conditions, metadata, status) => {
    expect(workloadOf(machine({}, metadata, { conditions })).status).toBe(status);
  });

  it('is an endpoint of services that select it, with the numbers it gives for names', () => {
    const own = machine({ labels: { app: 'front' }, ports: { http: 3000 } });
    const services = [
      service(
        {},
        {
          ports: [
            { port: 80, targetPort: 'http' },
            { port: 81, targetPort: 9 },
            { port: 82, targetPort: 'none' },
            { port: 83 },
          ],
        },
      ),
      service({ name: 'else' }, { selector: { app: 'back' } }),
      service({ name: 'bare' }, { selector: {} }),
      service({ name: 'far', namespace: 'bank' }),
    ];
    expect(workloadOf(own, services).services).toMatchObject([
      {
        service: front,
        ports: [
          { servicePort: 80, targetPort: 3000 },
          { servicePort: 81, targetPort: 9 },
          { servicePort: 83, targetPort: 83 },
        ],
      },
    ]);
    expect(workloadOf(machine({}, { labels: { app: 'front' } }), services).services).toHaveLength(1);
  });
});

describe('pods and machines together', () => {
  const entry = serviceEntry({
    workloadSelector: { labels: { app: 'front' } },
    ports: [{ number: 80, name: 'http', protocol: 'HTTP', targetPort: 8000 }],
  });
  const key = 'shop/db.example.com';

  it('are endpoints of a ServiceEntry that selects them', () => {
    expect(workloadOf(pod(), [entry]).services).toMatchObject([
      { service: key, ports: [{ servicePort: 80, targetPort: 8000, appProtocol: 'HTTP11' }] },
    ]);
    const own = machine({ labels: { app: 'front' }, ports: { http: 3000 } });
    expect(workloadOf(own, [entry]).services[0]?.ports[0]?.targetPort).toBe(3000);
    expect(workloadOf(pod({ labels: { app: 'back' } }), [entry]).services).toEqual([]);
    expect(workloadOf(pod({ namespace: 'bank' }), [entry]).services).toEqual([]);
  });
});

describe('a pod', () => {
  it('that is pending but has an address is a workload, unhealthy', () => {
    expect(workloadOf(pod({}, {}, { phase: 'Pending', conditions: [] })).status).toBe('UNHEALTHY');
  });

  it('serves the named ports of its sidecars, but not those of containers that end before it runs', () => {
    const sidecar = { ports: [{ name: 'web', containerPort: 4000 }], restartPolicy: 'Always' };
    const passing = { ports: [{ name: 'gone', containerPort: 5000 }] };
    const own = pod({}, { initContainers: [passing, sidecar] });
    const named = service(
      {},
      {
        ports: [
          { port: 80, targetPort: 'web' },
          { port: 81, targetPort: 'gone' },
        ],
      },
    );
    expect(workloadOf(own, [named]).services[0]?.ports).toMatchObject([
      { servicePort: 80, targetPort: 4000 },
    ]);
  });

  it('finds its node by name only', () => {
    const of = (region: string, name: string) => node({ 'topology.kubernetes.io/region': region }, {}, name);
    expect(workloadOf(pod(), [of('x', 'b'), of('eu', 'a')]).locality.region).toBe('eu');
  });
});

describe('a service', () => {
  it('of type ExternalName is an alias for DNS and nothing else', () => {
    const alias = service(
      { name: 'db' },
      { type: 'ExternalName', externalName: 'DB.Example.com.', selector: { app: 'front' } },
    );
    expect(among(alias)).toMatchObject({
      services: [],
      aliases: [{ namespace: 'shop', hostname: 'db.shop.svc.cluster.local', target: 'db.example.com' }],
    });
    expect(workloadOf(pod(), [alias]).services).toEqual([]);
  });

  it.each([
    [
      { internalTrafficPolicy: 'Local', publishNotReadyAddresses: true },
      { mode: 'STRICT', routingPreference: ['NODE'], healthPolicy: 'ALLOW_ALL' },
    ],
    [
      { internalTrafficPolicy: 'Local', trafficDistribution: 'PreferClose' },
      { mode: 'STRICT', routingPreference: ['NODE'] },
    ],
    [
      { trafficDistribution: 'PreferSameZone' },
      { mode: 'FAILOVER', routingPreference: ['NETWORK', 'REGION', 'ZONE'], healthPolicy: 'ONLY_HEALTHY' },
    ],
    [
      { trafficDistribution: 'PreferSameNode' },
      { mode: 'FAILOVER', routingPreference: ['NETWORK', 'REGION', 'ZONE', 'SUBZONE', 'NODE'] },
    ],
  ])('balances as %j says', (spec, expected) => {
    expect(serviceOf(service({}, spec)).loadBalancing).toMatchObject(expected);
  });

  it.each([
    [['IPv4'], 'IPV4_ONLY'],
    [['IPv6'], 'IPV6_ONLY'],
    [['IPv6', 'IPv4'], 'DUAL'],
    [[], 'AUTOMATIC'],
  ])('of families %j is %s', (ipFamilies, expected) => {
    expect(serviceOf(service({}, { ipFamilies })).ipFamilies).toBe(expected);
  });

  it('is canonical and of all networks that its cluster has, a headless one of none', () => {
    const made = serviceOf(
      service(),
      [namespace({ 'topology.istio.io/network': 'two' })],
      mesh({ network: 'one' }),
    );
    expect(made).toMatchObject({
      canonical: true,
      addresses: [{ network: 'one', address: '10.96.0.1' }, { network: 'two' }],
    });
    expect(serviceOf(service({}, { clusterIP: 'None' })).addresses).toEqual([]);
  });
});
