import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAuthorization, createMatch, policyKey } from '../../../src/model/authorization.ts';
import { createService, serviceKey } from '../../../src/model/service.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { Authorization } from '../../../src/proto/authorization.gen.ts';
import { DeltaDiscoveryResponse } from '../../../src/proto/discovery.gen.ts';
import { Address, Workload } from '../../../src/proto/workload.gen.ts';
import {
  convertResource,
  decodeResource,
  encodeAuthorization,
  encodeServiceAddress,
  encodeWorkloadAddress,
  problemsText,
} from '../../../src/xds/codec.ts';
import { workloadToMessage } from '../../../src/xds/codec-message.ts';
import { addressType, authorizationType, workloadType } from '../../../src/xds/type-urls.ts';
import { policy, service, workload } from '../model/arbitraries.ts';

const vectors: Record<string, string> = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../fixtures/wire/vectors.json', import.meta.url)), 'utf8'),
);
const vector = (name: string) => Buffer.from(vectors[name] ?? '', 'hex');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const front = createWorkload({
  uid: 'c1//Pod/shop/front-1',
  name: 'front-1',
  namespace: 'shop',
  addresses: ['10.0.1.1', 'fd00::1'],
  hostname: 'db.example.com',
  network: 'east',
  networkMode: 'HOST_NETWORK',
  tunnelProtocol: 'HBONE',
  nativeTunnel: true,
  trustDomain: 'td2',
  serviceAccount: 'front',
  node: 'node-a',
  canonicalName: 'front',
  canonicalRevision: 'v1',
  workloadType: 'POD',
  workloadName: 'front-1',
  status: 'UNHEALTHY',
  clusterId: 'c1',
  locality: { region: 'r', zone: 'z', subzone: 's' },
  capacity: 300,
  waypoint: {
    destination: { kind: 'hostname', namespace: 'shop', hostname: 'gate.shop.svc' },
    hboneMtlsPort: 15_008,
  },
  networkGateway: {
    destination: { kind: 'address', network: 'west', address: '192.0.2.1' },
    hboneMtlsPort: 0,
  },
  applicationTunnel: { protocol: 'PROXY', port: 15_088 },
  services: [
    {
      service: 'shop/front.shop.svc',
      ports: [
        { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP2' },
        { servicePort: 443, targetPort: 8443, appProtocol: 'TLS' },
      ],
    },
    { service: 'shop/other.shop.svc', ports: [] },
  ],
  authorizationPolicies: ['shop/only-front', 'root/deny'],
  extensions: ['one'],
});

const frontService = createService({
  name: 'front',
  namespace: 'shop',
  hostname: 'front.shop.svc',
  addresses: [
    { network: 'east', address: '10.96.0.1', length: undefined },
    { network: '', address: '10.97.0.0', length: 16 },
    { network: '', address: '::', length: 0 },
  ],
  ports: [
    { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' },
    { servicePort: 9000, targetPort: 0, appProtocol: 'GRPC' },
  ],
  subjectAltNames: ['spiffe://td2/ns/a/sa/b'],
  waypoint: { destination: { kind: 'address', network: '', address: '10.96.0.9' }, hboneMtlsPort: 0 },
  weightedWaypoints: [
    {
      destination: {
        destination: { kind: 'hostname', namespace: 'shop', hostname: 'blue.shop.svc' },
        hboneMtlsPort: 0,
      },
      weight: 70,
    },
  ],
  loadBalancing: {
    routingPreference: ['NETWORK', 'REGION', 'ZONE'],
    mode: 'FAILOVER',
    healthPolicy: 'ALLOW_ALL',
  },
  ipFamilies: 'DUAL',
  canonical: true,
  ingressUseWaypoint: true,
  visibility: 'NAMESPACE',
  extensions: ['two'],
});

const onlyFront = createAuthorization({
  name: 'only-front',
  namespace: 'shop',
  scope: 'WORKLOAD_SELECTOR',
  action: 'DENY',
  dryRun: true,
  rules: [
    {
      clauses: [
        {
          matches: [
            createMatch({
              namespaces: [{ kind: 'exact', value: 'shop' }],
              notNamespaces: [{ kind: 'prefix', value: 'kube-' }],
              principals: [{ kind: 'suffix', value: '/sa/front' }],
              notPrincipals: [{ kind: 'presence' }],
              sourceIps: [{ address: '10.0.0.0', length: 8 }],
              notSourceIps: [{ address: '0.0.0.0', length: 0 }],
              destinationIps: [{ address: 'fd00::', length: 16 }],
              notDestinationIps: [{ address: '10.0.0.1', length: 32 }],
              destinationPorts: [80, 443],
              notDestinationPorts: [8080],
              serviceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }],
              notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'back' }],
            }),
          ],
        },
        { matches: [] },
      ],
    },
    { clauses: [] },
  ],
});

/** What the codec says against bytes of a type. */
function problemsOf(typeUrl: string, bytes: Uint8Array): string {
  const decoded = decodeResource(typeUrl, bytes);
  return 'problems' in decoded ? problemsText(decoded.problems) : `no problem with ${decoded.name}`;
}

const addressOf = (fields: Parameters<typeof Workload.fromPartial>[0]) =>
  Address.encode({
    type: { $case: 'workload', value: Workload.fromPartial({ uid: 'u', ...fields }) },
  }).finish();
const policyOf = (fields: Parameters<typeof Authorization.fromPartial>[0]) =>
  Authorization.encode(Authorization.fromPartial({ name: 'p', namespace: 'n', ...fields })).finish();

describe("bytes of Google's encoder", () => {
  it('are read with every field', () => {
    expect(decodeResource(addressType, vector('workload'))).toEqual({
      kind: 'workloads',
      name: 'c1//Pod/shop/front-1',
      value: front,
    });
    expect(decodeResource(addressType, vector('service'))).toEqual({
      kind: 'services',
      name: 'shop/front.shop.svc',
      value: frontService,
    });
    expect(decodeResource(authorizationType, vector('policy'))).toEqual({
      kind: 'policies',
      name: 'shop/only-front',
      value: onlyFront,
    });
  });

  it('are written the same', () => {
    expect(hex(encodeWorkloadAddress(front))).toBe(vectors.workload);
    // Clearing the bits below a prefix is all that reading changes.
    const addresses = frontService.addresses.map((each) =>
      each.address === '::' ? { ...each, address: 'fd00:96::' } : each,
    );
    expect(hex(encodeServiceAddress({ ...frontService, addresses }))).toBe(vectors.service);
    expect(hex(encodeAuthorization(onlyFront))).toBe(vectors.policy);
  });

  it('are responses, too', () => {
    const response = DeltaDiscoveryResponse.decode(vector('response'));
    expect(response).toMatchObject({
      systemVersionInfo: '7',
      typeUrl: addressType,
      nonce: 'n1',
      removedResources: ['gone', 'shop/gone.shop.svc'],
      resources: [{ version: 'v1', name: front.uid, aliases: ['east/10.0.1.1'] }],
    });
    expect(hex(DeltaDiscoveryResponse.encode(response).finish())).toBe(vectors.response);
    const [resource] = response.resources;
    expect(convertResource(addressType, resource!)).toMatchObject({
      value: createWorkload({ uid: front.uid }),
    });
  });

  it('get the defaults of the wire where they are silent', () => {
    const smallest = createWorkload({ uid: 'u' });
    expect(smallest).toMatchObject({
      trustDomain: 'cluster.local',
      serviceAccount: 'default',
      clusterId: 'Kubernetes',
      capacity: 1,
    });
    const none = Address.encode({ type: { $case: 'workload', value: Workload.fromPartial({ uid: 'u' }) } });
    expect(decodeResource(addressType, none.finish())).toMatchObject({ value: smallest });
    expect(decodeResource(addressType, vector('smallest workload'))).toMatchObject({ value: smallest });
    expect(hex(encodeWorkloadAddress(smallest))).toBe(vectors['smallest workload']);
    const plain = createService({ namespace: 'shop', hostname: 'a.shop.svc' });
    expect(decodeResource(addressType, vector('smallest service'))).toMatchObject({ value: plain });
    expect(hex(encodeServiceAddress(plain))).toBe(vectors['smallest service']);
    expect(hex(encodeAuthorization(createAuthorization({ namespace: 'shop', name: 'p' })))).toBe(
      vectors['smallest policy'],
    );
  });
});

describe('resources', () => {
  it('come back as they were written', () => {
    const carried = workload.filter(({ tunnelProtocol }) => tunnelProtocol !== 'LEGACY_ISTIO_MTLS');
    fc.assert(
      fc.property(carried, (value) => {
        const decoded = { kind: 'workloads', name: value.uid, value };
        expect(decodeResource(addressType, encodeWorkloadAddress(value))).toEqual(decoded);
        const alone = Workload.encode(workloadToMessage(value)).finish();
        expect(decodeResource(workloadType, alone)).toEqual(decoded);
      }),
    );
    fc.assert(
      fc.property(service, (value) => {
        const decoded = { kind: 'services', name: serviceKey(value), value };
        expect(decodeResource(addressType, encodeServiceAddress(value))).toEqual(decoded);
      }),
    );
    fc.assert(
      fc.property(policy, (value) => {
        const decoded = { kind: 'policies', name: policyKey(value), value };
        expect(decodeResource(authorizationType, encodeAuthorization(value))).toEqual(decoded);
      }),
    );
  });

  it('are refused or read, and nothing is thrown, whatever the bytes', () => {
    const type = fc.constantFrom(addressType, workloadType, authorizationType, 'type.googleapis.com/x');
    const good = fc.oneof(
      workload.map(encodeWorkloadAddress),
      service.map(encodeServiceAddress),
      policy.map(encodeAuthorization),
    );
    const spoiled = fc.tuple(good, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
      const copy = Uint8Array.from(bytes);
      copy[at % Math.max(1, copy.length)] = byte;
      return copy;
    });
    const cut = fc.tuple(good, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1)));
    fc.assert(
      fc.property(type, fc.oneof(fc.uint8Array({ maxLength: 200 }), spoiled, cut), (typeUrl, bytes) => {
        const decoded = decodeResource(typeUrl, bytes);
        if ('problems' in decoded) expect(decoded.problems.length).toBeGreaterThan(0);
        else expect(decoded.name).not.toBe('');
      }),
      { numRuns: 2_000 },
    );
  });

  it('are refused by field, all reasons at once', () => {
    expect(problemsOf(addressType, addressOf({ uid: '' }))).toBe('uid: is missing');
    expect(problemsOf(addressType, addressOf({ addresses: [Uint8Array.of(1, 2, 3)] }))).toBe(
      'addresses[0]: expected an IP address, got "0x010203"',
    );
    expect(problemsOf(addressType, addressOf({ status: 9 as 0, tunnelProtocol: 7 as 0 }))).toBe(
      'tunnelProtocol: expected one of NONE, HBONE, LEGACY_ISTIO_MTLS, got 7, status: expected one of HEALTHY, UNHEALTHY, got 9',
    );
    expect(problemsOf(addressType, addressOf({ waypoint: { hboneMtlsPort: 1 } }))).toBe(
      'waypoint.hostname: expected either hostname or address',
    );
    expect(problemsOf(addressType, Uint8Array.of())).toBe('expected a workload or a service');
    expect(problemsOf(addressType, Uint8Array.of(0x0a, 0x7f))).toContain('its bytes cannot be read');
    expect(problemsOf('type.googleapis.com/x', Uint8Array.of())).toContain('are not known here');
  });

  it('that are workloads of the old tunnel are refused', () => {
    expect(problemsOf(addressType, addressOf({ namespace: 'shop', tunnelProtocol: 2 }))).toBe(
      'tunnelProtocol: LEGACY_ISTIO_MTLS is not supported',
    );
  });

  it('name a port once, the last of those that Istio sends for TCP and UDP', () => {
    const ports = [
      { servicePort: 53, targetPort: 53, appProtocol: 0 as const, name: '' },
      { servicePort: 53, targetPort: 5353, appProtocol: 0 as const, name: '' },
    ];
    const decoded = decodeResource(addressType, addressOf({ services: new Map([['a/b', { ports }]]) }));
    expect(decoded).toMatchObject({
      value: { services: [{ ports: [{ servicePort: 53, targetPort: 5353 }] }] },
    });
  });

  it('hold IPv4-mapped ranges as IPv4', () => {
    const mapped = Buffer.from('00000000000000000000ffff0a000000', 'hex');
    const matches = [{ sourceIps: [{ address: mapped, length: 104 }] }];
    expect(
      decodeResource(authorizationType, policyOf({ rules: [{ clauses: [{ matches }] }] })),
    ).toMatchObject({
      value: { rules: [{ clauses: [{ matches: [{ sourceIps: [{ address: '10.0.0.0', length: 8 }] }] }] }] },
    });
    const wide = [{ sourceIps: [{ address: mapped, length: 64 }] }];
    expect(problemsOf(authorizationType, policyOf({ rules: [{ clauses: [{ matches: wide }] }] }))).toContain(
      'rules[0].clauses[0].matches[0].sourceIps[0].length: expected a whole number from 0 to 128',
    );
  });

  it('may have fields that came later, but not if they are policies', () => {
    const later = new BinaryWriter()
      .uint32(99 << 3)
      .uint32(1)
      .finish();
    const workloadBytes = Buffer.concat([
      Workload.encode(Workload.fromPartial({ uid: 'u' })).finish(),
      later,
    ]);
    expect(problemsOf(workloadType, workloadBytes)).toBe('no problem with u');
    expect(problemsOf(authorizationType, Buffer.concat([policyOf({}), later]))).toBe(
      'field number 99 is not understood',
    );
  });

  it('that are policies are refused for what is not understood, at every depth', () => {
    const later = { 792: [Uint8Array.of(1)] };
    const at = (matches: object[], clause = {}, rule = {}) =>
      problemsOf(authorizationType, bytesOf([{ clauses: [{ matches, ...clause }], ...rule }]));
    const bytesOf = (rules: object[]) =>
      Authorization.encode({
        ...Authorization.fromPartial({ name: 'p', namespace: 'n' }),
        rules,
      } as Authorization).finish();
    const match = { ...emptyMatch(), _unknownFields: later };
    expect(at([match])).toBe('rules[0].clauses[0].matches[0]: field number 99 is not understood');
    expect(at([], { _unknownFields: later })).toBe('rules[0].clauses[0]: field number 99 is not understood');
    expect(at([], {}, { _unknownFields: later })).toBe('rules[0]: field number 99 is not understood');
    const exact = { matchType: undefined, _unknownFields: later };
    expect(at([{ ...emptyMatch(), principals: [exact] }])).toContain(
      'principals[0]: field number 99 is not understood',
    );
    const presence = { matchType: { $case: 'presence', value: { _unknownFields: later } } };
    expect(at([{ ...emptyMatch(), principals: [presence] }])).toBe(
      'rules[0].clauses[0].matches[0].principals[0].matchType: field number 99 is not understood',
    );
    const range = { address: Uint8Array.of(10, 0, 0, 0), length: 8, _unknownFields: later };
    expect(at([{ ...emptyMatch(), sourceIps: [range] }])).toContain('sourceIps[0]: field number 99');
    const account = { namespace: 'a', serviceAccount: 'b', _unknownFields: later };
    expect(at([{ ...emptyMatch(), serviceAccounts: [account] }])).toContain(
      'serviceAccounts[0]: field number 99',
    );
  });

  it('that are policies are refused for enums and extensions that are not understood, and fields of another type', () => {
    expect(problemsOf(authorizationType, policyOf({ action: 3 as 0 }))).toContain(
      'action: expected one of ALLOW, DENY, AUDIT, got 3',
    );
    expect(problemsOf(authorizationType, policyOf({ scope: -1 as 0 }))).toContain('scope: expected one of');
    expect(problemsOf(authorizationType, policyOf({ extensions: [{ name: 'x' }] }))).toContain(
      'extensions of policies are not understood',
    );
    // The field for rules as a number.
    const number = new BinaryWriter()
      .uint32(5 << 3)
      .uint32(1)
      .finish();
    expect(problemsOf(authorizationType, Buffer.concat([policyOf({}), number]))).toBe(
      'field number 5 is not understood',
    );
  });

  it('lose nothing to the tag 0, to the end of a group or to a field that reaches past its message', () => {
    const rule = Uint8Array.of(0x2a, 0x00);
    for (const end of [0x00, 0x0c]) {
      const bytes = Buffer.concat([policyOf({}), Uint8Array.of(end), rule]);
      expect(problemsOf(authorizationType, bytes)).toContain(`invalid tag ${end}`);
    }
    const past = Buffer.concat([policyOf({}), Uint8Array.of(0x2a, 0x02, 0x0a, 0x02, 0x12, 0x00)]);
    expect(problemsOf(authorizationType, past)).toContain('reaches past its message');
  });

  it('have keys that mean something else in JavaScript and are keys like others', () => {
    const services = new Map([['__proto__', { ports: [] }]]);
    expect(problemsOf(addressType, addressOf({ services }))).toContain(
      'services.__proto__: expected namespace/hostname as key',
    );
  });
});

describe('a resource of a response', () => {
  const resource = { typeUrl: addressType, value: encodeWorkloadAddress(front) };

  it('is taken under its own name', () => {
    expect(convertResource(addressType, { name: front.uid, resource })).toMatchObject({ value: front });
    expect(() => convertResource(addressType, { name: 'other', resource })).toThrow(
      'its own name is c1//Pod/shop/front-1',
    );
  });

  it('is refused when it is of another type, or missing', () => {
    expect(() => convertResource(authorizationType, { name: front.uid, resource })).toThrow(
      `it is ${addressType}, not ${authorizationType}`,
    );
    expect(() => convertResource(addressType, { name: 'a', resource: undefined })).toThrow(
      'nothing under this name',
    );
  });
});

/** A message with all of its fields, as the generated encoder wants them. */
function emptyMatch(): object {
  const lists = [
    'namespaces',
    'notNamespaces',
    'principals',
    'notPrincipals',
    'sourceIps',
    'notSourceIps',
    'destinationIps',
    'notDestinationIps',
    'destinationPorts',
    'notDestinationPorts',
    'serviceAccounts',
    'notServiceAccounts',
    'extensions',
  ];
  return Object.fromEntries(lists.map((name) => [name, name === 'destinationPorts' ? [80] : []]));
}
