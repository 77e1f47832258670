/** Kinds that are read: strict on what is read of them, tolerant of the rest, and rejected alone. */
import { describe, expect, it } from 'vitest';
import { objectId, parseDocument } from '../../../../src/source/kubernetes/objects.ts';
import { type Json, origin } from './objects.ts';

const parse = (value: Json) => parseDocument({ origin, value });
const fields = (value: Json) => {
  const parsed = parse(value);
  return parsed.kind === 'rejected' ? parsed.rejections.map(({ field }) => field) : parsed.kind;
};

const least: Record<string, Json> = {
  Node: { apiVersion: 'v1' },
  EndpointSlice: { apiVersion: 'discovery.k8s.io/v1', addressType: 'IPv4', endpoints: [] },
  ServiceCIDR: { apiVersion: 'networking.k8s.io/v1' },
  WorkloadEntry: { apiVersion: 'networking.istio.io/v1', spec: { address: '1.1.1.1' } },
  ServiceEntry: { apiVersion: 'networking.istio.io/v1', spec: { hosts: ['a.com'] } },
  Gateway: { apiVersion: 'gateway.networking.k8s.io/v1', spec: { gatewayClassName: 'c' } },
  GatewayClass: { apiVersion: 'gateway.networking.k8s.io/v1', spec: { controllerName: 'x/y' } },
  HTTPRoute: { apiVersion: 'gateway.networking.k8s.io/v1', spec: {} },
};
const clusterScoped = ['Node', 'ServiceCIDR', 'GatewayClass'];
const document = (kind: string, rest: Json = {}): Json => ({
  kind,
  metadata: { name: 'x' },
  ...least[kind],
  ...rest,
});

describe.each(Object.keys(least))('a %s', (kind) => {
  it('is read with the least that makes one, also with fields that nobody reads and fields that are null', () => {
    const parsed = parse(
      document(kind, {
        metadata: { name: 'x', namespace: 'shop', labels: null, managedFields: [{}] },
        data: 1,
      }),
    );
    const key = clusterScoped.includes(kind) ? 'x' : 'shop/x';
    expect(parsed).toMatchObject({ kind: 'object', key: `${least[kind]?.apiVersion}/${kind}/${key}` });
    if (parsed.kind === 'object') expect(objectId(parsed.object)).toBe(parsed.key);
  });

  it('is rejected alone when it has no name of the kind', () => {
    expect(fields(document(kind, { metadata: { name: 'No Name' } }))).toEqual(['metadata.name']);
  });
});

describe('an older version', () => {
  it.each([
    ['networking.istio.io/v1beta1', 'networking.istio.io/v1', 'ServiceEntry'],
    ['networking.istio.io/v1alpha3', 'networking.istio.io/v1', 'WorkloadEntry'],
    ['gateway.networking.k8s.io/v1beta1', 'gateway.networking.k8s.io/v1', 'Gateway'],
    ['gateway.networking.k8s.io/v1alpha2', 'gateway.networking.k8s.io/v1', 'HTTPRoute'],
    ['networking.k8s.io/v1beta1', 'networking.k8s.io/v1', 'ServiceCIDR'],
  ])('%s is the same object as %s', (apiVersion, newest, kind) => {
    const parsed = parse(document(kind, { apiVersion }));
    expect(parsed).toMatchObject({ kind: 'object', object: { apiVersion: newest } });
    expect(parsed.key).toContain(`${newest}/${kind}/`);
  });
});

describe('a field that is read', () => {
  it.each([
    ['WorkloadEntry', { spec: { address: '1.1.1.1', ports: { http: 0 } } }, 'spec.ports.http'],
    ['WorkloadEntry', { spec: { address: '1.1.1.1', weight: -1 } }, 'spec.weight'],
    ['WorkloadEntry', { spec: { address: '1.1.1.1', labels: { a: true } } }, 'spec.labels.a'],
    ['WorkloadEntry', { spec: { address: '1.1.1.1', serviceAccount: 'a/b' } }, 'spec.serviceAccount'],
    ['ServiceEntry', { spec: { hosts: [] } }, 'spec.hosts'],
    ['ServiceEntry', { spec: { hosts: ['a b'] } }, 'spec.hosts[0]'],
    ['ServiceEntry', { spec: { hosts: ['*'] } }, 'spec.hosts[0]'],
    ['ServiceEntry', { spec: { hosts: ['a.*.com'] } }, 'spec.hosts[0]'],
    ['ServiceEntry', { spec: { hosts: ['a.com'], resolution: 'MAGIC' } }, 'spec.resolution'],
    ['ServiceEntry', { spec: { hosts: ['a.com'], ports: [{ number: 70_000 }] } }, 'spec.ports[0].number'],
    ['ServiceEntry', { spec: { hosts: ['a.com'], resolution: 'DYNAMIC_DNS' } }, 'spec.hosts[0]'],
    [
      'ServiceEntry',
      { spec: { hosts: ['*.a.com'], resolution: 'DYNAMIC_DNS', addresses: ['10.0.0.1'] } },
      'spec.addresses',
    ],
    [
      'ServiceEntry',
      { spec: { hosts: ['*.a.com'], resolution: 'DYNAMIC_DNS', endpoints: [{ address: '1.1.1.1' }] } },
      'spec.endpoints',
    ],
    [
      'ServiceEntry',
      {
        spec: { hosts: ['*.a.com'], resolution: 'DYNAMIC_DNS', ports: [{ number: 443, protocol: 'HTTPS' }] },
      },
      'spec.ports[0].protocol',
    ],
    [
      'ServiceEntry',
      { spec: { hosts: ['a.com'], endpoints: [{ address: '1.1.1.1' }], workloadSelector: { labels: {} } } },
      'spec.workloadSelector',
    ],
    ['Gateway', { spec: { listeners: [] } }, 'spec.gatewayClassName'],
    [
      'Gateway',
      { spec: { gatewayClassName: 'c', listeners: [{ name: 'm', port: 0, protocol: 'HBONE' }] } },
      'spec.listeners[0].port',
    ],
    ['EndpointSlice', { addressType: 'IPX' }, 'addressType'],
    ['Node', { spec: { podCIDRs: '10.0.0.0/24' } }, 'spec.podCIDRs'],
  ])('of a %s is checked: %j', (kind, rest, field) => {
    expect(fields(document(kind, rest))).toEqual([field]);
  });
});

describe('kinds that are not read', () => {
  it.each([
    ['networking.istio.io/v1', 'VirtualService'],
    ['networking.istio.io/v1', 'DestinationRule'],
    ['networking.istio.io/v1alpha3', 'EnvoyFilter'],
    // Istio's own, which is not the Gateway API's.
    ['networking.istio.io/v1', 'Gateway'],
    ['networking.k8s.io/v1', 'NetworkPolicy'],
    ['security.istio.io/v1', 'RequestAuthentication'],
    ['gateway.networking.k8s.io/v1', 'BackendTLSPolicy'],
  ])('%s %s, which could change what is allowed, is rejected by name', (apiVersion, kind) => {
    const parsed = parse({ apiVersion, kind, metadata: { name: 'x' } });
    expect(parsed.kind === 'rejected' ? parsed.rejections[0]?.reason : '').toContain(
      `${kind} is not understood`,
    );
  });

  it.each([
    ['networking.k8s.io/v1', 'Ingress'],
    ['networking.istio.io/v1', 'WorkloadGroup'],
    ['gateway.networking.k8s.io/v1beta1', 'ReferenceGrant'],
  ])('%s %s changes nothing that the mesh does, and is passed over', (apiVersion, kind) => {
    expect(parse({ apiVersion, kind, metadata: { name: 'x' } }).kind).toBe('other');
  });
});
