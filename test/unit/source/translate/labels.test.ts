/** Every label and annotation by which operators of an ambient mesh speak to it, and what it changes. */
import { describe, expect, it } from 'vitest';
import { sameNodeWish } from '../../../../src/model/same-node.ts';
import { podCaptureSettings } from '../../../../src/source/translate/capture-settings.ts';
import { enrolmentWish } from '../../../../src/source/translate/enrolment.ts';
import { gatewaySettings } from '../../../../src/source/translate/gateway-settings.ts';
import {
  among,
  gateway,
  gatewayClass,
  machine,
  mesh,
  namespace,
  node,
  pod,
  service,
  serviceEntry,
  serviceOf,
  type Texts,
  warningsOf,
  waypointText,
  workloadOf,
} from './objects.ts';

const useW = { 'istio.io/use-waypoint': 'w' };
const held = { 'ambient.istio.io/redirection': 'enabled' };
const ambient = { 'istio.io/dataplane-mode': 'ambient' };

describe('labels of enrolment', () => {
  it('istio.io/dataplane-mode on a namespace or a pod enrols, none on a pod keeps out', () => {
    const wish = (labels: Texts, around: Texts) => enrolmentWish(pod({ labels }), namespace(around)).wanted;
    expect([wish(ambient, {}), wish({}, ambient), wish({}, {})]).toEqual([true, true, false]);
    expect(wish({ 'istio.io/dataplane-mode': 'none' }, ambient)).toBe(false);
  });

  it('istio.io/rev names the control plane: a pod of another is left alone', () => {
    const rules = { ...mesh({}).enrolment, revision: 'blue' };
    const wish = (labels: Texts, around: Texts) =>
      enrolmentWish(pod({ labels: { ...ambient, ...labels } }), namespace(around), rules);
    expect(wish({ 'istio.io/rev': 'green' }, {})).toEqual({ wanted: false, reason: 'other revision' });
    expect(wish({}, { 'istio.io/rev': 'green' }).wanted).toBe(false);
    expect(wish({ 'istio.io/rev': 'blue' }, { 'istio.io/rev': 'green' }).wanted).toBe(true);
    expect(wish({}, {}).wanted).toBe(true);
  });

  it('ambient.istio.io/redirection says that an agent holds the pod: only enabled makes it reachable by HBONE', () => {
    const protocol = (annotations: Texts, labels: Texts = ambient) =>
      workloadOf(pod({ labels, annotations })).tunnelProtocol;
    expect(protocol(held)).toBe('HBONE');
    expect(protocol({ 'ambient.istio.io/redirection': 'pending' })).toBe('NONE');
    expect(protocol({})).toBe('NONE');
    // A status, not a wish: whoever writes it by hand without the label gains nothing.
    expect(protocol(held, {})).toBe('NONE');
  });

  it('networking.istio.io/tunnel: http is a workload that ends HBONE itself', () => {
    expect(workloadOf(pod({ labels: { 'networking.istio.io/tunnel': 'http' } }))).toMatchObject({
      tunnelProtocol: 'HBONE',
      nativeTunnel: true,
    });
    expect(workloadOf(machine({ labels: { 'networking.istio.io/tunnel': 'http' } })).nativeTunnel).toBe(true);
    expect(workloadOf(pod({ labels: { 'networking.istio.io/tunnel': 'x' } })).nativeTunnel).toBe(false);
  });

  it('security.istio.io/tlsMode is of sidecars: such a pod is not taken to speak HBONE, and a warning says so', () => {
    const labels = { 'security.istio.io/tlsMode': 'istio' };
    expect(workloadOf(pod({ labels })).tunnelProtocol).toBe('NONE');
    expect(warningsOf(pod({ labels }))[0]).toContain('security.istio.io/tlsMode');
    expect(warningsOf(pod({ labels: { ...ambient, ...labels }, annotations: held }))).toEqual([]);
  });
});

describe('labels of waypoints', () => {
  it('istio.io/use-waypoint on service, pod, namespace, service entry and workload entry names it, none takes it away', () => {
    const all = gateway({ labels: { 'istio.io/waypoint-for': 'all' } });
    const name = 'w.shop.svc.cluster.local';
    const none = { 'istio.io/use-waypoint': 'none' };
    for (const make of [service, pod, serviceEntry, machine] as const) {
      const bound = (labels: Texts, around: Texts) => {
        const object = make === serviceEntry || make === machine ? make({}, { labels }) : make({ labels });
        const made = among(object, [all, namespace(around)]);
        return [...made.services, ...made.workloads].map(waypointText);
      };
      expect([make.name, bound(useW, {})]).toEqual([make.name, [name]]);
      expect([make.name, bound({}, useW)]).toEqual([make.name, [name]]);
      expect([make.name, bound(none, useW)]).toEqual([make.name, [undefined]]);
      expect([make.name, bound({}, {})]).toEqual([make.name, [undefined]]);
    }
  });

  it('istio.io/use-waypoint on an endpoint that stands in a service entry is for that endpoint', () => {
    const all = gateway({ labels: { 'istio.io/waypoint-for': 'all' } });
    const entry = serviceEntry({ endpoints: [{ address: '1.2.3.4', labels: useW }, { address: '1.2.3.5' }] });
    expect(among(entry, [all]).workloads.map(waypointText)).toEqual(['w.shop.svc.cluster.local', undefined]);
  });

  it('istio.io/use-waypoint-namespace finds it elsewhere, where its listener lets this namespace in', () => {
    const labels = { ...useW, 'istio.io/use-waypoint-namespace': 'infra' };
    const allowing = (from: string, selector?: unknown) => ({
      listeners: [
        { name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes: { namespaces: { from, selector } } },
      ],
    });
    const bound = (spec: object, around: Texts = {}) =>
      waypointText(
        serviceOf(service({ labels }), [gateway({ namespace: 'infra' }, { ...spec }), namespace(around)]),
      );
    expect(bound(allowing('All'))).toBe('w.infra.svc.cluster.local');
    expect(bound(allowing('Selector', { matchLabels: { team: 'shop' } }), { team: 'shop' })).toBe(
      'w.infra.svc.cluster.local',
    );
    const refused = 'x-w.x-infra.not-allowed.invalid';
    expect(bound(allowing('Selector', { matchLabels: { team: 'shop' } }))).toBe(refused);
    expect(bound(allowing('Selector'))).toBe(refused);
    expect(bound(allowing('Same'))).toBe(refused);
    expect(bound(allowing('None'))).toBe(refused);
    expect(bound({})).toBe(refused);
  });

  it('istio.io/waypoint-for on Gateway or GatewayClass says which traffic it takes: service is the default', () => {
    const bound = (own: Texts, ofClass: Texts = {}) => {
      const others = [gateway({ labels: own }), gatewayClass({ labels: ofClass })];
      return [service({ labels: useW }), pod({ labels: useW })].map((each) => {
        const { services, workloads } = among(each, others);
        return waypointText(services[0] ?? workloads[0] ?? { waypoint: undefined }) !== undefined;
      });
    };
    const label = (value: string) => ({ 'istio.io/waypoint-for': value });
    expect(bound({})).toEqual([true, false]);
    expect(bound(label('service'))).toEqual([true, false]);
    expect(bound(label('workload'))).toEqual([false, true]);
    expect(bound(label('all'))).toEqual([true, true]);
    expect(bound(label('none'))).toEqual([false, false]);
    expect(bound({}, label('workload'))).toEqual([false, true]);
    expect(bound(label('all'), label('none'))).toEqual([true, true]);
    // A word that nobody knows must not let traffic around the waypoint.
    expect(bound(label('sevrice'))).toEqual([true, true]);
    expect(warningsOf(gateway({ labels: label('sevrice') }))[0]).toContain('sevrice');
  });

  it('istio.io/ingress-use-waypoint on service or namespace sends ingress traffic through it too', () => {
    const ingress = (own: Texts, around: Texts) =>
      serviceOf(service({ labels: { ...useW, ...own } }), [gateway(), namespace(around)]).ingressUseWaypoint;
    const yes = { 'istio.io/ingress-use-waypoint': 'true' };
    expect([ingress(yes, {}), ingress({}, yes), ingress({}, {})]).toEqual([true, true, false]);
    expect(ingress({ 'istio.io/ingress-use-waypoint': 'false' }, yes)).toBe(false);
    expect(serviceOf(service({ labels: yes })).ingressUseWaypoint).toBe(false);
  });

  it('istio.io/use-waypoint-canary with istio.io/use-waypoint-canary-weight and -canary-namespace shares the traffic', () => {
    const canary = { ...useW, 'istio.io/use-waypoint-canary': 'new' };
    const gateways = [gateway(), gateway({ name: 'new' })];
    const shares = (labels: Texts, weight: string | undefined, others = gateways) => {
      const annotations = weight === undefined ? {} : { 'istio.io/use-waypoint-canary-weight': weight };
      return serviceOf(service({ labels, annotations }), others).weightedWaypoints.map((each) => [
        waypointText({ waypoint: each.destination }),
        each.weight,
      ]);
    };
    expect(shares(canary, '10')).toEqual([
      ['w.shop.svc.cluster.local', 90],
      ['new.shop.svc.cluster.local', 10],
    ]);
    expect(shares(canary, '100')).toEqual([['new.shop.svc.cluster.local', 100]]);
    for (const weight of ['0', '101', '-1', 'half', undefined])
      expect([weight, shares(canary, weight)]).toEqual([weight, []]);
    expect(warningsOf(service({ labels: canary }), gateways)[0]).toContain('use-waypoint-canary-weight');
    // A canary that is not there is refused, as its share of the traffic must not go around it.
    expect(shares(canary, '10', [gateway()])[1]).toEqual(['new.shop.svc.cluster.local', 10]);
    const away = { ...canary, 'istio.io/use-waypoint-canary-namespace': 'infra' };
    expect(shares(away, '10', [gateway(), gateway({ name: 'new', namespace: 'infra' })])[1]).toEqual([
      'x-new.x-infra.not-allowed.invalid',
      10,
    ]);
    const around = namespace(canary, 'shop', { 'istio.io/use-waypoint-canary-weight': '25' });
    expect(serviceOf(service(), [...gateways, around]).weightedWaypoints.map(({ weight }) => weight)).toEqual(
      [75, 25],
    );
  });

  it('gateway.istio.io/managed and gateway.networking.k8s.io/gateway-name mark what is a gateway itself: it has no waypoint', () => {
    const all = gateway({ labels: { 'istio.io/waypoint-for': 'all' } });
    const around = [all, namespace(useW)];
    const marked = { 'gateway.networking.k8s.io/gateway-name': 'w' };
    for (const labels of [marked, { 'gateway.istio.io/managed': 'istio.io-mesh-controller' }]) {
      expect(workloadOf(pod({ labels }), around).waypoint).toBeUndefined();
      expect(serviceOf(service({ labels }), around).waypoint).toBeUndefined();
    }
    // A name that no Gateway has opts nobody out.
    const made = { 'gateway.networking.k8s.io/gateway-name': 'mine' };
    expect(workloadOf(pod({ labels: made }), around).waypoint).toBeDefined();
  });

  it('ambient.istio.io/waypoint-inbound-binding on Gateway or GatewayClass is the application tunnel of its pods', () => {
    const tunnel = (own: Texts, ofClass: Texts = {}) =>
      workloadOf(pod({ labels: { 'gateway.networking.k8s.io/gateway-name': 'w' } }), [
        gateway({ annotations: own }),
        gatewayClass({ annotations: ofClass }),
      ]).applicationTunnel;
    const binding = (value: string) => ({ 'ambient.istio.io/waypoint-inbound-binding': value });
    expect(tunnel(binding('PROXY/15088'))).toEqual({ protocol: 'PROXY', port: 15088 });
    expect(tunnel(binding('PROXY'))).toEqual({ protocol: 'PROXY', port: 0 });
    expect(tunnel(binding('NONE/9'), binding('PROXY'))).toEqual({ protocol: 'NONE', port: 9 });
    expect(tunnel({}, binding('PROXY/15088'))).toEqual({ protocol: 'PROXY', port: 15088 });
    expect(tunnel({})).toBeUndefined();
    for (const wrong of ['HTTP/80', 'PROXY/99999', 'PROXY/1/2', '']) {
      expect([wrong, tunnel(binding(wrong))]).toEqual([wrong, undefined]);
      expect(warningsOf(gateway({ annotations: binding(wrong) }))[0]).toContain('waypoint-inbound-binding');
    }
    expect(workloadOf(pod(), [gateway({ annotations: binding('PROXY') })]).applicationTunnel).toBeUndefined();
  });

  it('ambient.istio.io/xfcc-include-client-identity on a Gateway makes its waypoint write the client identity', () => {
    const writes = (annotations: Texts) =>
      gatewaySettings(gateway({ annotations }), undefined).writesClientIdentity;
    expect(writes({ 'ambient.istio.io/xfcc-include-client-identity': 'true' })).toBe(true);
    expect([writes({}), writes({ 'ambient.istio.io/xfcc-include-client-identity': 'false' })]).toEqual([
      false,
      false,
    ]);
  });
});

describe('labels of place and name', () => {
  it('topology.kubernetes.io/region, topology.kubernetes.io/zone and topology.istio.io/subzone of node or pod are the locality', () => {
    const ofNode = node({
      'topology.kubernetes.io/region': 'eu',
      'topology.kubernetes.io/zone': 'eu-1',
      'topology.istio.io/subzone': 'rack-3',
    });
    expect(workloadOf(pod(), [ofNode]).locality).toEqual({ region: 'eu', zone: 'eu-1', subzone: 'rack-3' });
    const own = pod({ labels: { 'topology.istio.io/subzone': 'rack-4' } });
    expect(workloadOf(own, [ofNode]).locality).toEqual({ region: 'eu', zone: 'eu-1', subzone: 'rack-4' });
    expect(workloadOf(pod()).locality).toEqual({ region: '', zone: '', subzone: '' });
  });

  it('topology.istio.io/network of pod, node, namespace or the root namespace names the network, in that order', () => {
    const label = (network: string) => ({ 'topology.istio.io/network': network });
    const others = [node(label('of-node')), namespace(label('of-namespace'))];
    const root = namespace(label('of-root'), 'istio-system');
    const networkOf = (labels: Texts, around: Parameters<typeof workloadOf>[1], names = mesh({})) =>
      workloadOf(pod({ labels }), around, names).network;
    expect(networkOf(label('own'), others)).toBe('own');
    expect(networkOf({}, others)).toBe('of-node');
    expect(networkOf({}, [namespace(label('of-namespace')), root])).toBe('of-namespace');
    expect(networkOf({}, [root])).toBe('of-root');
    expect(networkOf({}, [root], mesh({ network: 'set' }))).toBe('set');
    expect(networkOf({}, [])).toBe('');
  });

  it('istio.io/global asks for other clusters, which are not read: a warning says that nothing is exported', () => {
    const labels = { 'istio.io/global': 'true' };
    expect(warningsOf(service({ labels }))[0]).toContain('istio.io/global');
    expect(serviceOf(service({ labels }))).toEqual(serviceOf(service()));
  });

  it.each([
    [
      'service.istio.io/canonical-name',
      { 'service.istio.io/canonical-name': 'c', app: 'a' },
      { canonicalName: 'c' },
    ],
    [
      'service.istio.io/canonical-revision',
      { 'service.istio.io/canonical-revision': 'r', version: 'v' },
      { canonicalRevision: 'r' },
    ],
    [
      'service.istio.io/workload-name',
      { 'service.istio.io/workload-name': 'n' },
      { workloadName: 'n', canonicalName: 'n' },
    ],
    ['app', { app: 'a' }, { canonicalName: 'a', canonicalRevision: 'latest' }],
    ['version', { version: 'v' }, { canonicalRevision: 'v' }],
  ])('%s names a workload in metrics and logs', (_, labels, expected) => {
    expect(workloadOf(pod({ labels }))).toMatchObject(expected);
    expect(workloadOf(machine({}, { labels }))).toMatchObject(expected);
  });
});

describe('annotations of services', () => {
  const distribution = (value: string) => ({ 'networking.istio.io/traffic-distribution': value });

  it('networking.istio.io/traffic-distribution on service, service entry or namespace prefers what is near', () => {
    const close = { mode: 'FAILOVER', routingPreference: ['NETWORK', 'REGION', 'ZONE'] };
    const around = namespace({}, 'shop', distribution('PreferClose'));
    expect(serviceOf(service({ annotations: distribution('PreferClose') })).loadBalancing).toMatchObject(
      close,
    );
    expect(serviceOf(service({ annotations: distribution('prefersamezone') })).loadBalancing).toMatchObject(
      close,
    );
    expect(
      serviceOf(serviceEntry({}, { annotations: distribution('PreferClose') })).loadBalancing,
    ).toMatchObject(close);
    expect(serviceOf(service(), [around]).loadBalancing).toMatchObject(close);
    expect(
      serviceOf(service({ annotations: distribution('PreferSameNode') }), [around]).loadBalancing
        .routingPreference,
    ).toHaveLength(5);
    expect(serviceOf(service({ annotations: distribution('Any') }), [around]).loadBalancing.mode).toBe(
      'UNSPECIFIED_MODE',
    );
    const field = service(
      { annotations: distribution('PreferSameNode') },
      { trafficDistribution: 'PreferClose' },
    );
    expect(serviceOf(field).loadBalancing).toMatchObject(close);
    expect(warningsOf(service({ annotations: distribution('Near') }))[0]).toContain('"Near"');
  });

  it('networking.istio.io/exportTo on a service narrows who sees it', () => {
    const visibility = (value: string) =>
      serviceOf(service({ annotations: { 'networking.istio.io/exportTo': value } })).visibility;
    expect(['*', '', '.', 'shop', '.,*', '~', '., shop'].map(visibility)).toEqual([
      'PUBLIC',
      'PUBLIC',
      'NAMESPACE',
      'NAMESPACE',
      'PUBLIC',
      'NAMESPACE',
      'NAMESPACE',
    ]);
    expect(visibility('.,bank')).toBe('PUBLIC');
    expect(warningsOf(service({ annotations: { 'networking.istio.io/exportTo': '.,bank' } }))[0]).toContain(
      'bank',
    );
  });

  it('networking.istio.io/enable-autoallocate-ip: false leaves a service entry without a made-up address', () => {
    const entry = (labels: Texts) => serviceOf(serviceEntry({}, { labels })).addresses;
    expect(entry({})).toHaveLength(2);
    expect(entry({ 'networking.istio.io/enable-autoallocate-ip': 'false' })).toEqual([]);
    expect(entry({ 'networking.istio.io/enable-autoallocate-ip': 'true' })).toHaveLength(2);
  });
});

describe('hadal.io/same-node', () => {
  const tunnel = { 'hadal.io/same-node': 'tunnel' };
  const direct = { 'hadal.io/same-node': 'direct' };
  const wishOf = (own: { labels?: Texts; annotations?: Texts }, around = namespace()) =>
    sameNodeWish(workloadOf(pod(own), [around]));

  it('on a pod, as a label or an annotation, counts before its namespace', () => {
    expect(wishOf({})).toBeUndefined();
    expect(wishOf({ labels: tunnel })).toEqual({ mode: 'tunnel', from: 'workload' });
    expect(wishOf({ annotations: direct })).toEqual({ mode: 'direct', from: 'workload' });
    expect(wishOf({ labels: tunnel, annotations: direct })?.mode).toBe('tunnel');
    expect(wishOf({}, namespace(direct))).toEqual({ mode: 'direct', from: 'namespace' });
    expect(wishOf({}, namespace({}, 'shop', tunnel))).toEqual({ mode: 'tunnel', from: 'namespace' });
    expect(wishOf({ labels: tunnel }, namespace(direct))).toEqual({ mode: 'tunnel', from: 'workload' });
  });

  it('with a word that is none is a warning, and counts as missing', () => {
    const wrong = { 'hadal.io/same-node': 'yes' };
    expect(wishOf({ labels: wrong }, namespace(direct))?.from).toBe('namespace');
    expect(warningsOf(pod({ annotations: wrong }))).toEqual([
      expect.stringContaining('"yes"; tunnel or direct is meant'),
    ]);
    expect(warningsOf(namespace(wrong))).toEqual([
      expect.stringContaining('"yes"; tunnel or direct is meant'),
    ]);
  });
});

describe('annotations of capture', () => {
  const settings = (annotations: Texts) => podCaptureSettings(pod({ annotations }));

  it('ambient.istio.io/bypass-inbound-capture: true leaves plain connections to the application', () => {
    expect(settings({ 'ambient.istio.io/bypass-inbound-capture': 'true' }).bypassInbound).toBe(true);
    expect(settings({ 'ambient.istio.io/bypass-inbound-capture': 'false' }).bypassInbound).toBe(false);
    expect(settings({}).bypassInbound).toBe(false);
    const odd = settings({ 'ambient.istio.io/bypass-inbound-capture': 'yes' });
    expect([odd.bypassInbound, odd.warnings.length]).toEqual([false, 1]);
  });

  it('ambient.istio.io/dns-capture: true or false counts before what the agent is set to', () => {
    const dns = (value: string) => settings({ 'ambient.istio.io/dns-capture': value }).captureDns;
    expect([dns('true'), dns('false'), dns('maybe'), settings({}).captureDns]).toEqual([
      true,
      false,
      undefined,
      undefined,
    ]);
  });

  it('hadal.io/turbo: enabled asks to send past TCP, and nothing else does', () => {
    const turbo = (value: string) => settings({ 'hadal.io/turbo': value });
    expect([turbo('enabled').turbo, turbo('disabled').turbo, settings({}).turbo]).toEqual([
      true,
      false,
      false,
    ]);
    expect([turbo('true').turbo, turbo('true').warnings.length]).toEqual([false, 1]);
  });

  it('istio.io/reroute-virtual-interfaces lists interfaces whose traffic is outbound; kubevirtInterfaces is its old name', () => {
    const list = (annotations: Texts) => settings(annotations).virtualInterfaces;
    expect(list({ 'istio.io/reroute-virtual-interfaces': 'net1, docker0,net1,' })).toEqual([
      'net1',
      'docker0',
    ]);
    expect(list({ 'traffic.sidecar.istio.io/kubevirtInterfaces': 'net1' })).toEqual(['net1']);
    expect(
      list({
        'istio.io/reroute-virtual-interfaces': 'a',
        'traffic.sidecar.istio.io/kubevirtInterfaces': 'b',
      }),
    ).toEqual(['a']);
    const odd = settings({ 'istio.io/reroute-virtual-interfaces': 'net1,a/b' });
    expect([odd.virtualInterfaces, odd.warnings.length]).toEqual([['net1'], 1]);
    expect(warningsOf(pod({ annotations: { 'istio.io/reroute-virtual-interfaces': 'a/b' } }))).toHaveLength(
      1,
    );
  });
});
