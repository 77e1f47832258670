/** A waypoint that a label names is never gone around: where it cannot be used the traffic is refused. */
import { describe, expect, it } from 'vitest';
import {
  gateway,
  mesh,
  namespace,
  node,
  pod,
  service,
  serviceOf,
  type Texts,
  warningsOf,
  waypointText,
  workloadOf,
} from './objects.ts';

const named = (name: string): Texts => ({ 'istio.io/use-waypoint': name });

describe('a waypoint', () => {
  it('that is not there is named all the same, for services and for pods, and a warning says so', () => {
    expect(waypointText(serviceOf(service({ labels: named('w') })))).toBe('w.shop.svc.cluster.local');
    expect(waypointText(serviceOf(service(), [namespace(named('w'))]))).toBe('w.shop.svc.cluster.local');
    expect(waypointText(workloadOf(pod({ labels: named('w') })))).toBe('w.shop.svc.cluster.local');
    expect(warningsOf(service({ labels: named('w') }))[0]).toContain('no such Gateway');
  });

  it('whose name no Gateway can have leads to a name that nobody has, in a form that agents accept', () => {
    const bound = serviceOf(service({ labels: named('My_Waypoint') }));
    expect(waypointText(bound)).toBe('x-my-waypoint.x-shop.no-such-name.invalid');
  });

  it('is where its status says', () => {
    const at = (addresses: unknown, names = mesh({})) =>
      serviceOf(service({ labels: named('w') }), [gateway({}, {}, { addresses })], names).waypoint;
    expect(at([{ type: 'Hostname', value: 'W.infra.SVC.cluster.local' }])?.destination).toEqual({
      kind: 'hostname',
      namespace: 'shop',
      hostname: 'w.infra.svc.cluster.local',
    });
    expect(at([{ type: 'IPAddress', value: '10.96.0.9' }], mesh({ network: 'n' }))?.destination).toEqual({
      kind: 'address',
      network: 'n',
      address: '10.96.0.9',
    });
    expect(at([{ value: 'nonsense' }])?.destination).toMatchObject({ hostname: 'w.shop.svc.cluster.local' });
  });

  it('is not where its spec wishes to be', () => {
    const wish = gateway({}, { addresses: [{ type: 'IPAddress', value: '10.96.0.9' }] });
    expect(waypointText(serviceOf(service({ labels: named('w') }), [wish]))).toBe('w.shop.svc.cluster.local');
  });

  it('listens where its listener for HBONE says', () => {
    const port = (listeners: unknown) =>
      serviceOf(service({ labels: named('w') }), [gateway({}, { listeners })]).waypoint?.hboneMtlsPort;
    expect(
      port([
        { name: 'http', port: 80, protocol: 'HTTP' },
        { name: 'm', port: 15009, protocol: 'HBONE' },
      ]),
    ).toBe(15009);
    expect(port([])).toBe(15008);
    expect(warningsOf(gateway({}, { listeners: [] }))[0]).toContain('HBONE');
  });

  it('of a port of its own takes who may come from the listener of that port', () => {
    const open = { namespaces: { from: 'All' } };
    const listeners = [
      { name: 'proxy', port: 15088, protocol: 'istio.io/PROXY', allowedRoutes: open },
      { name: 'mesh', port: 15008, protocol: 'HBONE' },
    ];
    const labels = { ...named('w'), 'istio.io/use-waypoint-namespace': 'infra' };
    const bound = (binding: string) =>
      waypointText(
        serviceOf(service({ labels }), [
          gateway(
            { namespace: 'infra', annotations: { 'ambient.istio.io/waypoint-inbound-binding': binding } },
            { listeners },
          ),
        ]),
      );
    expect([bound('PROXY/15088'), bound('PROXY')]).toEqual(Array(2).fill('w.infra.svc.cluster.local'));
    expect(bound('NONE')).toContain('.invalid');
  });

  it('whose label is its own and takes other traffic is told of, one of its namespace is not', () => {
    expect(warningsOf(pod({ labels: named('w') }), [gateway()])[0]).toContain('takes service traffic only');
    expect(warningsOf(pod(), [gateway(), namespace(named('w'))])).toEqual([]);
  });
});

describe('a gateway between networks', () => {
  const far: Texts = { 'topology.istio.io/network': 'far' };
  const edge = (className: string, spec: object = {}, status: object = {}, metadata: object = {}) =>
    gateway(
      { name: 'edge', namespace: 'istio-system', labels: far, ...metadata },
      { gatewayClassName: className, ...spec },
      { ...status },
    );
  const gatewayFor = (others: Parameters<typeof workloadOf>[1], labels = far) =>
    workloadOf(pod({ labels }), others).networkGateway;

  it('of class istio-east-west is the way to workloads of its network, and to no others', () => {
    const one = edge('istio-east-west', {}, { addresses: [{ type: 'IPAddress', value: '1.2.3.4' }] });
    expect(gatewayFor([one])).toEqual({
      destination: { kind: 'address', network: 'far', address: '1.2.3.4' },
      hboneMtlsPort: 15008,
    });
    expect(gatewayFor([one], {} as Texts)).toBeUndefined();
    expect(gatewayFor([one], { 'topology.istio.io/network': 'near' })).toBeUndefined();
  });

  it('of class istio-remote, which has no status here, is where its spec says', () => {
    const remote = edge('istio-remote', { addresses: [{ type: 'IPAddress', value: '1.2.3.4' }] });
    expect(gatewayFor([remote])?.destination).toMatchObject({ address: '1.2.3.4' });
  });

  it('without an address yet, or of another class, is not used', () => {
    expect(gatewayFor([edge('istio-east-west')])).toBeUndefined();
    const ingress = edge('istio', {}, { addresses: [{ type: 'IPAddress', value: '1.2.3.4' }] });
    expect(gatewayFor([ingress])).toBeUndefined();
  });

  it('is the first of several by name, for every agent the same', () => {
    const address = (value: string) => ({ addresses: [{ type: 'IPAddress', value }] });
    const both = [
      edge('istio-east-west', {}, address('2.2.2.2'), { name: 'b' }),
      edge('istio-east-west', {}, address('1.1.1.1'), { name: 'a' }),
    ];
    expect(gatewayFor(both)).toEqual(gatewayFor([...both].reverse()));
    expect(gatewayFor(both)?.destination).toMatchObject({ address: '1.1.1.1' });
  });

  it('that does not say of which network it is gets a warning', () => {
    const unlabelled = edge('istio-east-west', {}, {}, { labels: {} });
    expect(warningsOf(unlabelled)[0]).toContain('topology.istio.io/network');
  });

  it('makes services reachable at their addresses from the networks that nodes name', () => {
    const networks = serviceOf(service(), [
      gateway(),
      namespace({}, 'istio-system'),
      node({ 'topology.istio.io/network': 'two' }, {}, 'b'),
      node({ 'topology.istio.io/network': 'two' }, {}, 'c'),
    ]).addresses.map(({ network }) => network);
    expect(networks).toEqual(['', 'two']);
  });
});
