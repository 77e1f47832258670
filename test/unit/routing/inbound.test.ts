import { describe, expect, it } from 'vitest';
import { createAuthorization, createMatch, type MatchFields } from '../../../src/model/authorization.ts';
import { createService } from '../../../src/model/service.ts';
import {
  address,
  byAddress,
  byName,
  catalogKey,
  catalogPod,
  catalogService,
  denyAll,
  enrolled,
  front,
  inbound,
  pod,
  port,
} from './bookshop.ts';

const policyOf = (action: 'ALLOW' | 'DENY', ...matches: MatchFields[]) =>
  createAuthorization({
    name: 'p',
    namespace: 'shop',
    scope: 'NAMESPACE',
    action,
    rules: [{ clauses: [{ matches: matches.map(createMatch) }] }],
  });
const plaintext = { channel: 'plaintext', peerIdentity: '' } as const;

describe('a tunnelled connection', () => {
  it('is delivered to the pod on the port of the authority', () => {
    expect(inbound({})).toMatchObject({
      reason: 0,
      status: 200,
      upstreamAddress: '10.0.2.1',
      upstreamPort: 8080,
      proxyProtocol: undefined,
      loopback: false,
      policy: undefined,
      service: catalogKey,
    });
  });

  it('answers with the baggage of the pod and is labelled with both ends', () => {
    const judgement = inbound({});
    expect(judgement.baggage).toContain('k8s.deployment.name=catalog');
    expect(judgement.labels).toMatchObject({
      reporter: 'destination',
      source_workload: 'front',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
      destination_workload: 'catalog',
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/catalog',
      destination_service_name: 'catalog',
      connection_security_policy: 'mutual_tls',
    });
  });

  it('may come to any address of the pod, also one that only its namespace knows', () => {
    expect(inbound({}, { authority: '[fd00:2::1]:8080' })).toMatchObject({
      upstreamAddress: 'fd00:2::1',
      status: 200,
    });
    const destination = { ...enrolled(catalogPod(1)), addresses: ['10.0.8.8'] };
    expect(inbound({}, { destination, authority: '10.0.8.8:1' })).toMatchObject({
      upstreamAddress: '10.0.8.8',
    });
  });
});

describe('a bad request', () => {
  it.each([
    ['an authority that cannot be read', { authority: 'nonsense' }, 'BAD_AUTHORITY', 400],
    ['an authority with user info', { authority: 'u@10.0.2.1:80' }, 'BAD_AUTHORITY', 400],
    ['an authority of another pod', { authority: '10.0.2.2:8080' }, 'IP_MISMATCH', 400],
    ['an authority of loopback', { authority: '127.0.0.1:8080' }, 'IP_MISMATCH', 400],
    ["the agent's own port", { authority: '10.0.2.1:15008' }, 'SELF_CALL', 503],
    ['a host name that no service has', { authority: 'nobody.shop.svc:80' }, 'UNKNOWN_DESTINATION', 503],
    [
      'a port that the service does not have',
      { authority: 'catalog.shop.svc.cluster.local:81' },
      'NO_SUCH_PORT',
      503,
    ],
    ['a peer without identity', { peerIdentity: '' }, 'PEER_IDENTITY', 401],
    [
      'a peer whose identity is no workload',
      { peerIdentity: 'spiffe://cluster.local/node/a' },
      'PEER_IDENTITY',
      401,
    ],
    [
      'a peer of a foreign trust domain',
      { peerIdentity: 'spiffe://evil/ns/shop/sa/front' },
      'TRUST_DOMAIN',
      401,
    ],
    ['a peer without address', { peerAddress: '' }, 'INTERNAL', 503],
  ])('is %s', (_, question, reasonName, status) => {
    expect(inbound({}, question)).toMatchObject({ reasonName, status, upstreamAddress: '', upstreamPort: 0 });
  });

  it('is one to a pod that the mesh does not know, or knows by another account', () => {
    expect(inbound({ workloads: [front] })).toMatchObject({ reasonName: 'UNKNOWN_WORKLOAD', status: 503 });
    const destination = { ...enrolled(catalogPod(1)), serviceAccount: 'other' };
    expect(inbound({}, { destination })).toMatchObject({ reasonName: 'IDENTITY_MISMATCH', status: 503 });
  });

  it('is none from a trust domain that is accepted besides the own', () => {
    const peerIdentity = 'spiffe://td2/ns/shop/sa/front';
    expect(inbound({}, { peerIdentity }, { trustDomains: ['td2'] }).status).toBe(200);
  });
});

describe('a host name as authority', () => {
  const authority = 'catalog.shop.svc.cluster.local:80';

  it('leads to the port of the endpoint, else of the service', () => {
    expect(inbound({}, { authority })).toMatchObject({
      upstreamPort: 8080,
      upstreamAddress: '10.0.2.1',
      status: 200,
    });
    const ports = [port(80, 9090)];
    const workloads = [front, catalogPod(1, { services: [{ service: catalogKey, ports }] })];
    expect(inbound({ workloads }, { authority }).upstreamPort).toBe(9090);
    const stranger = [front, catalogPod(1, { services: [] })];
    expect(inbound({ workloads: stranger }, { authority }).upstreamPort).toBe(8080);
  });

  it('is read in any case', () => {
    expect(inbound({}, { authority: 'Catalog.Shop.svc.cluster.local.:80' }).status).toBe(200);
  });

  it('goes to the address of the family by which the peer came', () => {
    expect(inbound({}, { authority, peerAddress: 'fd00:1::1' }).upstreamAddress).toBe('fd00:2::1');
  });

  it("prefers the service of the pod's own namespace", () => {
    const foreign = createService({ ...catalogService(), namespace: 'a', ports: [port(80, 1)] });
    expect(inbound({ services: [foreign, catalogService()] }, { authority }).upstreamPort).toBe(8080);
  });

  it("may not lead to the agent's own port", () => {
    const services = [catalogService({ ports: [port(80, 15_008)] })];
    const workloads = [front, catalogPod(1, { services: [] })];
    expect(inbound({ services, workloads }, { authority })).toMatchObject({
      reasonName: 'SELF_CALL',
      status: 503,
    });
  });

  it('was carried by a gateway, so the source tells of itself by baggage', () => {
    const baggage = 'k8s.deployment.name=far,k8s.namespace.name=bank,service.name=far-app';
    expect(inbound({}, { authority, baggage }).labels).toMatchObject({
      source_workload: 'far',
      source_workload_namespace: 'bank',
      source_app: 'far-app',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
    });
  });
});

describe('a waypoint', () => {
  const gate = (fields = {}) =>
    pod('gate', {
      addresses: ['10.0.3.1', 'fd00:3::1'],
      services: [{ service: 'shop/gate.shop.svc', ports: [] }],
      ...fields,
    });
  const gateService = createService({ name: 'gate', namespace: 'shop', hostname: 'gate.shop.svc' });
  const destination = enrolled(gate());
  const services = [catalogService({ waypoint: byName('gate.shop.svc') }), gateService];

  it('takes what is addressed to a service or workload that names it', () => {
    const workloads = [front, catalogPod(1), gate()];
    expect(inbound({ services, workloads }, { destination, authority: '10.96.0.1:80' })).toMatchObject({
      status: 200,
      upstreamAddress: '10.0.3.1',
      upstreamPort: 80,
    });
    const behind = [front, catalogPod(1, { waypoint: byAddress('10.0.3.1') }), gate()];
    expect(inbound({ workloads: behind }, { destination, authority: '10.0.2.1:80' }).status).toBe(200);
    const weighted = catalogService({
      weightedWaypoints: [{ destination: byName('gate.shop.svc'), weight: 1 }],
    });
    const question = { destination, authority: '10.96.0.1:80' };
    expect(inbound({ services: [weighted, gateService], workloads }, question).status).toBe(200);
  });

  it('does not take what names no waypoint or another one', () => {
    const workloads = [front, catalogPod(1), gate()];
    const question = { destination, authority: '10.96.0.1:80' };
    expect(inbound({ workloads }, question)).toMatchObject({ reasonName: 'IP_MISMATCH', status: 400 });
    const other = [catalogService({ waypoint: byName('other.shop.svc') }), gateService];
    expect(inbound({ services: other, workloads }, question).reasonName).toBe('IP_MISMATCH');
    expect(inbound({ services, workloads }, { ...question, ...plaintext }).reasonName).toBe('IP_MISMATCH');
  });

  it('gets a PROXY header over loopback where it has a tunnel end of its own', () => {
    const workloads = [front, gate({ applicationTunnel: { protocol: 'PROXY', port: 15_088 } })];
    expect(inbound({ workloads, services }, { destination, authority: '10.96.0.1:80' })).toMatchObject({
      status: 200,
      upstreamAddress: '10.0.3.1',
      upstreamPort: 15_088,
      loopback: true,
      proxyProtocol: { destinationAddress: '10.96.0.1', destinationPort: 80 },
    });
  });

  it('hears a virtual address for a host name: of the own network, IPv4 first', () => {
    const addresses = [address('10.9.9.9', 'east'), address('fd00:96::1'), address('10.96.0.1')];
    const workloads = [front, gate({ applicationTunnel: { protocol: 'PROXY', port: 0 } })];
    const question = { destination, authority: 'catalog.shop.svc.cluster.local:80' };
    const judge = (given: typeof addresses) =>
      inbound({ workloads, services: [catalogService({ addresses: given })] }, question);
    expect(judge(addresses)).toMatchObject({
      upstreamPort: 8080,
      proxyProtocol: { destinationAddress: '10.96.0.1', destinationPort: 80 },
    });
    expect(judge(addresses.slice(0, 2)).proxyProtocol?.destinationAddress).toBe('fd00:96::1');
    expect(judge([])).toMatchObject({ reasonName: 'UNKNOWN_DESTINATION', status: 503 });
  });

  it('gets no header and no loopback without PROXY, yet its own port', () => {
    const workloads = [front, gate({ applicationTunnel: { protocol: 'NONE', port: 15_088 } })];
    expect(inbound({ workloads }, { destination, authority: '10.96.0.1:80' })).toMatchObject({
      upstreamPort: 15_088,
      loopback: false,
      proxyProtocol: undefined,
    });
  });
});

describe('a connection in the clear', () => {
  it('comes in under the default policy, to its original destination', () => {
    const judgement = inbound({}, plaintext);
    expect(judgement).toMatchObject({
      status: 200,
      upstreamAddress: '10.0.2.1',
      upstreamPort: 8080,
      baggage: '',
    });
    expect(judgement.labels).toMatchObject({
      connection_security_policy: 'unknown',
      source_principal: 'unknown',
      destination_principal: 'unknown',
      source_workload: 'front',
    });
  });

  it('has no identity, whatever it says', () => {
    const policies = [policyOf('ALLOW', { principals: [{ kind: 'presence' }] })];
    expect(inbound({ policies }, { channel: 'plaintext' }).reasonName).toBe('POLICY_NOT_ALLOWED');
    expect(inbound({ policies }).reasonName).toBe('NONE');
  });

  it("may not reach the agent's port, another address or a host name", () => {
    expect(inbound({}, { ...plaintext, authority: '10.0.2.1:15008' }).reasonName).toBe('SELF_CALL');
    expect(inbound({}, { ...plaintext, authority: '10.0.2.2:80' }).reasonName).toBe('IP_MISMATCH');
    expect(inbound({}, { ...plaintext, authority: 'catalog.shop.svc.cluster.local:80' }).reasonName).toBe(
      'BAD_AUTHORITY',
    );
  });

  it('goes to the original port even if the workload has a tunnel end of its own', () => {
    const workloads = [front, catalogPod(1, { applicationTunnel: { protocol: 'PROXY', port: 15_088 } })];
    expect(inbound({ workloads }, plaintext)).toMatchObject({
      upstreamPort: 8080,
      loopback: false,
      proxyProtocol: undefined,
    });
  });
});

describe('policies', () => {
  it('refuse with 401 and name the policy', () => {
    expect(inbound({ policies: [denyAll] })).toMatchObject({
      reasonName: 'POLICY_DENIED',
      status: 401,
      policy: { name: 'shop/deny-all', rule: 0 },
    });
    expect(inbound({ policies: [denyAll] }, plaintext)).toMatchObject({
      reasonName: 'POLICY_DENIED',
      status: 401,
    });
  });

  it('refuse while one that the workload names is unknown', () => {
    const workloads = [front, catalogPod(1, { authorizationPolicies: ['shop/late'] })];
    expect(inbound({ workloads })).toMatchObject({ reasonName: 'UNKNOWN_POLICY', status: 401 });
  });

  it('see the port after it was mapped, and the address of the TCP peer', () => {
    const authority = 'catalog.shop.svc.cluster.local:80';
    expect(
      inbound({ policies: [policyOf('DENY', { destinationPorts: [8080] })] }, { authority }).reasonName,
    ).toBe('POLICY_DENIED');
    expect(
      inbound({ policies: [policyOf('DENY', { destinationPorts: [80] })] }, { authority }).reasonName,
    ).toBe('NONE');
    const fromFront = { sourceIps: [{ address: '10.0.1.1', length: 32 }] };
    expect(inbound({ policies: [policyOf('DENY', fromFront)] }).reasonName).toBe('POLICY_DENIED');
    expect(inbound({ policies: [policyOf('DENY', fromFront)] }, { peerAddress: '10.0.1.2' }).reasonName).toBe(
      'NONE',
    );
  });
});

describe('labels of an inbound connection', () => {
  const second = catalogService({ name: 'second', hostname: 'second.shop.svc', ports: [port(81, 8080)] });
  const workloads = [
    front,
    catalogPod(1, {
      services: [
        { service: catalogKey, ports: [port(80, 8080)] },
        { service: 'shop/second.shop.svc', ports: [port(81, 8080)] },
      ],
    }),
  ];
  const services = [catalogService(), second];

  it('take the service that the peer names, if the pod belongs to it', () => {
    expect(inbound({ workloads, services }, { forwardedHost: 'second.shop.svc' }).service).toBe(
      'shop/second.shop.svc',
    );
    expect(inbound({ workloads, services }, { forwardedHost: 'bank.shop.svc' }).service).toBe(catalogKey);
  });

  it('guess the service by port only', () => {
    expect(inbound({ workloads, services }, { authority: '10.0.2.1:9999' }).service).toBe('');
    expect(inbound({ workloads, services }, plaintext).service).toBe(catalogKey);
  });

  it('do not name a workload that cannot have the peer identity', () => {
    const peerIdentity = 'spiffe://cluster.local/ns/bank/sa/teller';
    const judgement = inbound({}, { peerIdentity, baggage: 'k8s.deployment.name=teller' });
    expect(judgement.labels).toMatchObject({ source_workload: 'teller', source_principal: peerIdentity });
  });

  it('take the word of a peer on another network', () => {
    const judgement = inbound({}, { forwardedNetwork: 'east', baggage: 'k8s.deployment.name=far' });
    expect(judgement.labels.source_workload).toBe('far');
  });
});

it('explains itself in order', () => {
  expect(inbound({ policies: [denyAll] }).explanation).toEqual([
    'spiffe://cluster.local/ns/shop/sa/front comes from 10.0.1.1 by a tunnel',
    'policies are asked for spiffe://cluster.local/ns/shop/sa/front from 10.0.1.1 to 10.0.2.1 port 8080',
    'DENY policy shop/deny-all matches by rule 1: refused',
    'refused: a DENY policy matches',
  ]);
});
