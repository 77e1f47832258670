import fc from 'fast-check';
import { canonicalAddress } from '../../../src/model/address.ts';
import {
  type AddressMatch,
  type Authorization,
  authorizationActions,
  authorizationScopes,
  createAuthorization,
  createMatch,
  type StringMatch,
} from '../../../src/model/authorization.ts';
import { parseCidr } from '../../../src/model/cidr.ts';
import type { GatewayAddress, NetworkAddress } from '../../../src/model/gateway-address.ts';
import {
  createService,
  healthPolicies,
  ipFamilySettings,
  loadBalancingModes,
  loadBalancingScopes,
  type Service,
  visibilities,
} from '../../../src/model/service.ts';
import {
  applicationProtocols,
  applicationTunnelProtocols,
  createWorkload,
  networkModes,
  type Port,
  tunnelProtocols,
  type Workload,
  workloadStatuses,
  workloadTypes,
} from '../../../src/model/workload.ts';

/** Plain objects only: resources are never made without prototype. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

/** Random but valid values of the mesh, with names from a small set so that they meet each other. */

export const label: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'shop', 'bank-1');
export const addressText: fc.Arbitrary<string> = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map((text) => canonicalAddress(text) ?? '0.0.0.0');
const host = fc.constantFrom('a.shop.svc', 'b.shop.svc', 'example.com');
const port = fc.integer({ min: 1, max: 65_535 });

export const portArbitrary: fc.Arbitrary<Port> = record({
  servicePort: port,
  targetPort: fc.oneof(fc.constant(0), port),
  appProtocol: fc.constantFrom(...applicationProtocols),
  name: fc.option(fc.constantFrom('http', 'grpc-web', 'p80'), { nil: undefined }),
}).map(({ name, ...port }) => ({ ...port, ...(name !== undefined && { name }) }));

const ports = fc.uniqueArray(portArbitrary, { maxLength: 3, selector: ({ servicePort }) => servicePort });

export const cidrText: fc.Arbitrary<{ address: string; length: number }> = fc
  .tuple(addressText, fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => ({ address: parseCidr(`${address}/${length}`)?.base.text ?? address, length }));

export const networkAddress: fc.Arbitrary<NetworkAddress> = fc.oneof(
  record({ network: fc.constantFrom('', 'net-1'), address: addressText, length: fc.constant(undefined) }),
  record({ network: fc.constantFrom('', 'net-1'), range: cidrText }).map(({ network, range }) => ({
    network,
    ...range,
  })),
);

const gateway: fc.Arbitrary<GatewayAddress> = record({
  destination: fc.oneof(
    record({ kind: fc.constant('hostname' as const), namespace: label, hostname: host }),
    record({
      kind: fc.constant('address' as const),
      network: fc.constantFrom('', 'net-1'),
      address: addressText,
    }),
  ),
  hboneMtlsPort: fc.constantFrom(0, 15_008),
});

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof(fc.constant(undefined), arbitrary);

export const workload: fc.Arbitrary<Workload> = record({
  uid: fc.uuid().map((id) => `cluster//Pod/shop/${id}`),
  name: label,
  namespace: label,
  addresses: fc.uniqueArray(addressText, { maxLength: 3 }),
  hostname: fc.constantFrom('', 'db.example.com'),
  network: fc.constantFrom('', 'net-1'),
  networkMode: fc.constantFrom(...networkModes),
  tunnelProtocol: fc.constantFrom(...tunnelProtocols),
  nativeTunnel: fc.boolean(),
  trustDomain: fc.constantFrom('cluster.local', 'td2'),
  serviceAccount: label,
  node: label,
  canonicalName: label,
  canonicalRevision: fc.constantFrom('', 'v1'),
  workloadType: fc.constantFrom(...workloadTypes),
  workloadName: label,
  status: fc.constantFrom(...workloadStatuses),
  clusterId: fc.constantFrom('Kubernetes', 'east'),
  locality: record({ region: label, zone: label, subzone: fc.constant('') }),
  capacity: fc.integer({ min: 0, max: 4_294_967_295 }),
  waypoint: maybe(gateway),
  networkGateway: maybe(gateway),
  applicationTunnel: maybe(
    record({
      protocol: fc.constantFrom(...applicationTunnelProtocols),
      port: fc.constantFrom(0, 15_088),
    }),
  ),
  services: fc.uniqueArray(
    record({ service: fc.tuple(label, host).map((parts) => parts.join('/')), ports }),
    { maxLength: 3, selector: ({ service }) => service },
  ),
  authorizationPolicies: fc.array(
    fc.tuple(label, label).map((parts) => parts.join('/')),
    { maxLength: 2 },
  ),
}).map(createWorkload);

export const service: fc.Arbitrary<Service> = record({
  name: label,
  namespace: label,
  hostname: host,
  addresses: fc.array(networkAddress, { maxLength: 3 }),
  ports,
  subjectAltNames: fc.array(fc.constant('spiffe://td2/ns/a/sa/b'), { maxLength: 1 }),
  waypoint: maybe(gateway),
  loadBalancing: record({
    routingPreference: fc.array(fc.constantFrom(...loadBalancingScopes.slice(1)), { maxLength: 3 }),
    mode: fc.constantFrom(...loadBalancingModes),
    healthPolicy: fc.constantFrom(...healthPolicies),
  }),
  ipFamilies: fc.constantFrom(...ipFamilySettings),
  canonical: fc.boolean(),
  ingressUseWaypoint: fc.boolean(),
  visibility: fc.constantFrom(...visibilities),
}).map(createService);

export const principalText: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom('cluster.local', 'td2'), label, label)
  .map(([trustDomain, namespace, account]) => `${trustDomain}/ns/${namespace}/sa/${account}`);

/** Matches of `texts` that sometimes hold: whole, cut at either end, or any. */
export function stringMatch(texts: fc.Arbitrary<string>): fc.Arbitrary<StringMatch> {
  const part = fc.tuple(texts, fc.integer({ min: 0, max: 8 }));
  return fc.oneof(
    texts.map((value) => ({ kind: 'exact' as const, value })),
    part.map(([value, length]) => ({ kind: 'prefix' as const, value: value.slice(0, length) })),
    part.map(([value, length]) => ({
      kind: 'suffix' as const,
      value: value.slice(value.length - Math.min(length, value.length)),
    })),
    fc.constant({ kind: 'presence' as const }),
  );
}

const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: 2 });
/** Fields are mostly empty, else hardly any match would ever hold. */
const few = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant([] as T[]) }, { weight: 1, arbitrary: some(arbitrary) });

/** Ranges around the few addresses that the policy tests use. */
export const nearbyAddress: fc.Arbitrary<string> = fc.constantFrom(
  '10.0.0.1',
  '10.0.1.7',
  'fd00::1',
  'fd00:0:0:1::9',
);
const nearbyRange: fc.Arbitrary<AddressMatch> = fc
  .tuple(nearbyAddress, fc.constantFrom(0, 8, 24, 32))
  .map(([address, length]) => ({ address: parseCidr(`${address}/${length}`)?.base.text ?? address, length }));

export const match = record({
  namespaces: few(stringMatch(label)),
  notNamespaces: few(stringMatch(label)),
  principals: few(
    stringMatch(
      fc.oneof(
        principalText,
        principalText.map((text) => `spiffe://${text}`),
      ),
    ),
  ),
  notPrincipals: few(stringMatch(principalText)),
  sourceIps: few(nearbyRange),
  notSourceIps: few(nearbyRange),
  destinationIps: few(nearbyRange),
  notDestinationIps: few(nearbyRange),
  destinationPorts: few(fc.constantFrom(80, 443)),
  notDestinationPorts: few(fc.constantFrom(80, 443)),
  serviceAccounts: few(record({ namespace: label, serviceAccount: label })),
  notServiceAccounts: few(record({ namespace: label, serviceAccount: label })),
}).map(createMatch);

export const policy: fc.Arbitrary<Authorization> = record({
  name: label,
  namespace: label,
  scope: fc.constantFrom(...authorizationScopes),
  action: fc.constantFrom(...authorizationActions),
  rules: some(record({ clauses: some(record({ matches: some(match) })) })),
  dryRun: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
}).map(createAuthorization);
