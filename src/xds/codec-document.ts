/**
 * Messages as their proto3 JSON form, with addresses as text: what the readers in src/model/wire take, so that a resource is
 * checked in one way, wherever it comes from. What is empty on the wire was not given.
 */
import { readAddressBytes } from '../model/address.ts';
import type * as policies from '../proto/authorization.gen.ts';
import type * as mesh from '../proto/workload.gen.ts';

type Document = Readonly<Record<string, unknown>>;

export function workloadDocument(message: mesh.Workload): Document {
  const { _unknownFields, services, addresses, waypoint, networkGateway, extensions, ...same } = message;
  return {
    ...same,
    uid: given(message.uid),
    addresses: addresses.map((bytes) => addressText(bytes)),
    locality: plain(message.locality),
    applicationTunnel: plain(message.applicationTunnel),
    waypoint: gatewayDocument(waypoint),
    networkGateway: gatewayDocument(networkGateway),
    services: Object.fromEntries(
      Array.from(services, ([name, { ports }]) => [name, { ports: portDocuments(ports) }]),
    ),
    extensions: extensions.map(({ name }) => ({ name })),
  };
}

export function serviceDocument(message: mesh.Service): Document {
  const { _unknownFields, addresses, ports, waypoint, weightedWaypoints, extensions, ...same } = message;
  return {
    ...same,
    namespace: given(message.namespace),
    hostname: given(message.hostname),
    addresses: addresses.map(networkAddressDocument),
    ports: portDocuments(ports),
    loadBalancing: plain(message.loadBalancing),
    waypoint: gatewayDocument(waypoint),
    weightedWaypoints: weightedWaypoints.map(({ destination, weight }) => ({
      destination: gatewayDocument(destination),
      weight,
    })),
    extensions: extensions.map(({ name }) => ({ name })),
  };
}

export function authorizationDocument(message: policies.Authorization): Document {
  const { _unknownFields, rules, extensions, ...same } = message;
  return {
    ...same,
    name: given(message.name),
    namespace: given(message.namespace),
    rules: rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map(matchDocument) })),
    })),
    extensions,
  };
}

function matchDocument(message: policies.Match): Document {
  return {
    namespaces: message.namespaces.map(stringMatchDocument),
    notNamespaces: message.notNamespaces.map(stringMatchDocument),
    principals: message.principals.map(stringMatchDocument),
    notPrincipals: message.notPrincipals.map(stringMatchDocument),
    sourceIps: message.sourceIps.map(rangeDocument),
    notSourceIps: message.notSourceIps.map(rangeDocument),
    destinationIps: message.destinationIps.map(rangeDocument),
    notDestinationIps: message.notDestinationIps.map(rangeDocument),
    destinationPorts: message.destinationPorts,
    notDestinationPorts: message.notDestinationPorts,
    serviceAccounts: message.serviceAccounts.map(accountDocument),
    notServiceAccounts: message.notServiceAccounts.map(accountDocument),
    extensions: message.extensions,
  };
}

function stringMatchDocument({ matchType }: policies.StringMatch): Document {
  if (matchType === undefined) return {};
  return { [matchType.$case]: matchType.$case === 'presence' ? {} : matchType.value };
}

function accountDocument({ namespace, serviceAccount }: policies.ServiceAccountMatch): Document {
  return { namespace: given(namespace), serviceAccount: given(serviceAccount) };
}

/** Here 0 is a length like any other: all addresses. */
function rangeDocument({ address, length }: policies.AddressRange): Document {
  return { address: given(addressText(address)), length: lengthOf(address, length) };
}

function networkAddressDocument({ network, address, length }: mesh.NetworkAddress): Document {
  return {
    network,
    address: given(addressText(address)),
    length: length === undefined ? undefined : lengthOf(address, length),
  };
}

function gatewayDocument(message: mesh.GatewayAddress | undefined): Document | undefined {
  if (message === undefined) return undefined;
  const { destination, hboneMtlsPort } = message;
  if (destination === undefined) return { hboneMtlsPort };
  if (destination.$case === 'address') {
    return { address: networkAddressDocument(destination.value), hboneMtlsPort };
  }
  const { namespace, hostname } = destination.value;
  return { hostname: { namespace: given(namespace), hostname: given(hostname) }, hboneMtlsPort };
}

/** Istio names a port once per protocol, so TCP and UDP of one number come as two; as in its agents the last one counts. */
function portDocuments(ports: readonly mesh.Port[]): Document[] {
  const byNumber = new Map(
    ports.map(({ servicePort, targetPort, appProtocol, name }) => [
      servicePort,
      { servicePort, targetPort, appProtocol, name: given(name) },
    ]),
  );
  return [...byNumber.values()];
}

/** A message in which nothing has to be told in another way. */
function plain(message: (object & { readonly _unknownFields?: unknown }) | undefined): Document | undefined {
  if (message === undefined) return undefined;
  const { _unknownFields, ...fields } = message;
  return fields;
}

function given(text: string): string | undefined {
  return text === '' ? undefined : text;
}

/** What is no address is shown in hexadecimal, and then refused as no address. */
function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length === 16) {
    return readAddressBytes(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  }
  return bytes.length === 0 ? '' : `0x${Buffer.from(bytes.subarray(0, 32)).toString('hex')}`;
}

/** Prefix length within the family that the address has here, where an IPv4-mapped one is IPv4. */
function lengthOf(address: Uint8Array, length: number): number {
  return address.length === 16 && !addressText(address).includes(':') ? length - 96 : length;
}
