/** A cluster's worth of objects, with most of what ambient mode knows, applied to the API server. */
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { applyManifests } from '../kubernetes/manifests.ts';
import { create, type Manifest } from '../kubernetes/world.ts';
import { runPod } from './world.ts';

const istio = (kind: string, name: string, spec: object, more: object = {}): Manifest => {
  const group = kind.endsWith('Entry') ? 'networking' : 'security';
  const { namespace = 'shop', ...metadata } = more as { namespace?: string };
  return { apiVersion: `${group}.istio.io/v1`, kind, metadata: { name, namespace, ...metadata }, spec };
};

const service = (name: string, spec: object, metadata: object = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'shop', ...metadata },
  spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
});

const gatewayName = 'gateway.networking.k8s.io/gateway-name';
const waypoint = { 'istio.io/use-waypoint': 'waypoint' };

/** Of all of them; the API server has others' objects too. */
export const namespaces = ['shop', 'plain', 'guarded', 'istio-system'] as const;

const manifests: readonly Manifest[] = [
  ...['a', 'b'].map((name) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'topology.kubernetes.io/region': 'here',
        'topology.kubernetes.io/zone': `zone-${name}`,
        'topology.istio.io/subzone': `rack-${name}`,
      },
    },
  })),
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio.io/dataplane-mode': 'ambient' } },
  },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'plain' } },
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'guarded', labels: { 'istio.io/dataplane-mode': 'ambient' } },
  },
  {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name: 'waypoint', namespace: 'shop', labels: { 'istio.io/waypoint-for': 'all' } },
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  },
  // As the waypoint's own controller makes it.
  service(
    'waypoint',
    { selector: { [gatewayName]: 'waypoint' }, ports: [{ name: 'mesh', port: 15008 }] },
    { labels: { [gatewayName]: 'waypoint' } },
  ),
  service('front', {}),
  service('named', {
    selector: { app: 'front' },
    ports: [
      { name: 'web', port: 81, targetPort: 'web' },
      { name: 'grpc-api', port: 9000, targetPort: 9000 },
      { name: 'second', port: 82, targetPort: 8082, appProtocol: 'kubernetes.io/h2c' },
    ],
  }),
  service('headless', { selector: { app: 'catalog' }, clusterIP: 'None' }),
  service('unready', { selector: { app: 'catalog' }, publishNotReadyAddresses: true }),
  service('local', { selector: { app: 'catalog' }, internalTrafficPolicy: 'Local' }),
  service('close', { selector: { app: 'catalog' }, trafficDistribution: 'PreferClose' }),
  service(
    'annotated',
    { selector: { app: 'catalog' } },
    { annotations: { 'networking.istio.io/traffic-distribution': 'PreferSameNode' } },
  ),
  service('outside', { type: 'ExternalName', externalName: 'db.example.com', selector: undefined }),
  service('behind', { selector: { app: 'catalog' } }, { labels: waypoint }),
  service('udp', { selector: { app: 'nobody' }, ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }),
  istio('ServiceEntry', 'dns', {
    hosts: ['db.example.com', 'cache.example.com'],
    ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
    resolution: 'DNS',
    location: 'MESH_EXTERNAL',
  }),
  istio('ServiceEntry', 'static', {
    hosts: ['static.example.com'],
    addresses: ['10.200.0.1', '10.201.0.0/16'],
    ports: [{ number: 5432, name: 'tcp-db', protocol: 'TCP', targetPort: 15432 }],
    resolution: 'STATIC',
    endpoints: [
      { address: '192.0.2.1', weight: 3, locality: 'eu/eu-1/r1', ports: { 'tcp-db': 25432 } },
      { address: '192.0.2.2', serviceAccount: 'db' },
    ],
  }),
  istio('ServiceEntry', 'none', {
    hosts: ['*.open.example.com'],
    ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
    resolution: 'NONE',
  }),
  istio('ServiceEntry', 'selecting', {
    hosts: ['machines.example.com'],
    addresses: ['10.200.0.9'],
    ports: [{ number: 80, name: 'http', protocol: 'HTTP', targetPort: 8080 }],
    resolution: 'STATIC',
    location: 'MESH_INTERNAL',
    workloadSelector: { labels: { app: 'machine' } },
  }),
  istio(
    'ServiceEntry',
    'dynamic',
    {
      hosts: ['*.dynamic.example.com'],
      ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
      resolution: 'DYNAMIC_DNS',
      location: 'MESH_EXTERNAL',
    },
    { labels: waypoint },
  ),
  istio('WorkloadEntry', 'machine', {
    address: '192.0.2.9',
    labels: { app: 'machine' },
    serviceAccount: 'machine',
    weight: 2,
    locality: 'eu/eu-2',
  }),
  istio('AuthorizationPolicy', 'nothing', {}),
  istio('AuthorizationPolicy', 'everybody', { rules: [{}] }),
  istio('AuthorizationPolicy', 'catalog', {
    selector: { matchLabels: { app: 'catalog' } },
    rules: [
      {
        from: [
          { source: { principals: ['cluster.local/ns/shop/sa/front', '*/sa/back', 'cluster.local/*'] } },
          { source: { namespaces: ['shop'], notNamespaces: ['p*'] } },
          { source: { serviceAccounts: ['front', 'plain/other'] } },
        ],
        to: [{ operation: { ports: ['8080', '9000'] } }],
        when: [{ key: 'source.ip', values: ['10.0.0.0/8', '192.0.2.1'] }],
      },
    ],
  }),
  istio('AuthorizationPolicy', 'deny', {
    action: 'DENY',
    rules: [{ from: [{ source: { notPrincipals: ['*'] } }], to: [{ operation: { notPorts: ['8080'] } }] }],
  }),
  istio('AuthorizationPolicy', 'methods-allow', {
    rules: [
      { to: [{ operation: { methods: ['GET'] } }] },
      { from: [{ source: { principals: ['cluster.local/ns/shop/sa/front'] } }] },
    ],
  }),
  istio('AuthorizationPolicy', 'methods-deny', {
    action: 'DENY',
    rules: [
      {
        from: [{ source: { principals: ['cluster.local/ns/shop/sa/front'] } }],
        to: [{ operation: { methods: ['POST'], ports: ['80'] } }],
      },
    ],
  }),
  istio(
    'AuthorizationPolicy',
    'global',
    { rules: [{ from: [{ source: { namespaces: ['*'] } }] }] },
    { namespace: 'istio-system' },
  ),
  istio('AuthorizationPolicy', 'conditions', {
    action: 'DENY',
    rules: [
      {
        when: [
          { key: 'source.namespace', values: ['plain'] },
          { key: 'destination.port', notValues: ['80'] },
          { key: 'destination.ip', values: ['10.1.0.0/16'] },
          { key: 'source.principal', notValues: ['*'] },
        ],
      },
    ],
  }),
  istio('AuthorizationPolicy', 'for-waypoint', {
    targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' }],
    rules: [{}],
  }),
  istio('AuthorizationPolicy', 'dry', { rules: [{}] }, { annotations: { 'istio.io/dry-run': 'true' } }),
  istio('PeerAuthentication', 'default', { mtls: { mode: 'STRICT' } }, { namespace: 'guarded' }),
  istio(
    'PeerAuthentication',
    'ports',
    {
      selector: { matchLabels: { app: 'front' } },
      mtls: { mode: 'STRICT' },
      portLevelMtls: { 9000: { mode: 'PERMISSIVE' } },
    },
    { namespace: 'guarded' },
  ),
  istio(
    'PeerAuthentication',
    'some-strict',
    {
      selector: { matchLabels: { app: 'back' } },
      mtls: { mode: 'PERMISSIVE' },
      portLevelMtls: { 8080: { mode: 'STRICT' }, 9000: { mode: 'DISABLE' } },
    },
    { namespace: 'guarded' },
  ),
];

export async function applyObjects(admin: ApiClient): Promise<void> {
  await applyManifests(admin, manifests);
  // Without an address istiod takes the waypoint for not ready, and lets traffic pass it by.
  await admin.request({
    method: 'PATCH',
    path: '/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/waypoint/status',
    body: { status: { addresses: [{ type: 'Hostname', value: 'waypoint.shop.svc.cluster.local' }] } },
  });
  for (const [namespace, name] of [
    ['shop', 'front'],
    ['shop', 'catalog'],
    ['shop', 'default'],
    ['plain', 'default'],
    ['guarded', 'default'],
  ] as const)
    await create(admin, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } }).catch(
      () => {},
    );
  const held = { 'ambient.istio.io/redirection': 'enabled' };
  const front = { app: 'front', version: 'v1' };
  await runPod(admin, 'shop', 'front-1', {
    node: 'a',
    ip: '10.244.0.1',
    labels: front,
    annotations: held,
    serviceAccount: 'front',
    ports: { web: 8081 },
  });
  await runPod(admin, 'shop', 'catalog-1', {
    node: 'b',
    ip: '10.244.1.1',
    labels: { app: 'catalog' },
    annotations: held,
    serviceAccount: 'catalog',
  });
  await runPod(admin, 'shop', 'catalog-2', { node: 'a', ip: '10.244.0.2', labels: { app: 'catalog' } });
  await runPod(admin, 'shop', 'not-ready', {
    node: 'a',
    ip: '10.244.0.3',
    labels: { app: 'catalog' },
    annotations: held,
    status: { conditions: [{ type: 'Ready', status: 'False' }] },
  });
  await runPod(admin, 'shop', 'starting', {
    node: 'a',
    ip: '10.244.0.4',
    annotations: held,
    status: { phase: 'Pending', conditions: [] },
  });
  await runPod(admin, 'shop', 'ended', { node: 'a', ip: '10.244.0.5', status: { phase: 'Succeeded' } });
  await runPod(admin, 'shop', 'dual', {
    node: 'a',
    ip: '10.244.0.6',
    annotations: held,
    status: { podIPs: [{ ip: '10.244.0.6' }, { ip: 'fd00:244::6' }] },
  });
  await runPod(admin, 'shop', 'native', {
    node: 'a',
    ip: '10.244.0.7',
    labels: { 'networking.istio.io/tunnel': 'http' },
  });
  await runPod(admin, 'shop', 'with-waypoint', {
    node: 'b',
    ip: '10.244.1.2',
    labels: { ...waypoint, app: 'way' },
    annotations: held,
  });
  await runPod(admin, 'plain', 'outsider', { node: 'b', ip: '10.244.1.3' });
  await runPod(admin, 'plain', 'opted-in', {
    node: 'b',
    ip: '10.244.1.4',
    labels: { 'istio.io/dataplane-mode': 'ambient' },
    annotations: { 'ambient.istio.io/redirection': 'pending' },
  });
  await runPod(admin, 'guarded', 'front-9', {
    node: 'b',
    ip: '10.244.1.9',
    labels: front,
    annotations: held,
  });
  await runPod(admin, 'guarded', 'back-9', {
    node: 'b',
    ip: '10.244.1.10',
    labels: { app: 'back' },
    annotations: held,
  });
  await runPod(admin, 'guarded', 'other-9', { node: 'b', ip: '10.244.1.11', annotations: held });
}
