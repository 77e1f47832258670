import { canonicalAddress, parseAddress } from '../address.ts';
import { createCidr } from '../cidr.ts';
import type { GatewayAddress, NetworkAddress } from '../gateway-address.ts';
import { applicationProtocols, type Port } from '../workload.ts';
import { anyText, type Decoder, enumeration, integer, list, message, text } from './decoder.ts';

export const address: Decoder<string> = text('an IP address', canonicalAddress);

/** Host names are compared as they are, so there must be one way to write each; `*.example.com` names many. */
export const hostname: Decoder<string> = text('a host name in lower case', (given) =>
  /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(given) ? given : undefined,
);

/** One label of a Kubernetes name or several with dots: it becomes part of resource names and SPIFFE ids. */
export const resourceName: Decoder<string> = text('a name without slashes and spaces', (given) =>
  /^[A-Za-z0-9_.:-]{1,253}$/.test(given) ? given : undefined,
);

export const port: Decoder<number> = integer(1, 65_535);
/** 0: not given. */
export const portOrZero: Decoder<number> = integer(0, 65_535);

/** It becomes a label of a DNS name. */
const portName: Decoder<string> = text('a DNS label', (given) =>
  /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(given) ? given.toLowerCase() : undefined,
);

export const portMessage: Decoder<Port> = message(
  {
    servicePort: port,
    targetPort: portOrZero,
    appProtocol: enumeration(applicationProtocols),
    name: portName,
  },
  { name: 'Port', required: ['servicePort'] },
  ({ servicePort = 0, targetPort = 0, appProtocol = 'UNKNOWN', name = '' }) =>
    Object.freeze({ servicePort, targetPort, appProtocol, ...(name !== '' && { name }) }),
);

/** Ports, each service port once. */
export const ports: Decoder<readonly Port[]> = {
  schema: list(portMessage).schema,
  decode(value, path, problems) {
    const found = list(portMessage).decode(value, path, problems);
    const twice = found?.find(
      (each, index) => found.findIndex((other) => other.servicePort === each.servicePort) < index,
    );
    if (twice !== undefined) {
      problems.push({ path, message: `service port ${twice.servicePort} is given twice` });
      return undefined;
    }
    return found;
  },
};

const networkAddressMap: Decoder<NetworkAddress> = message(
  { network: anyText, address, length: integer(0, 128) },
  { name: 'NetworkAddress', required: ['address'] },
  ({ network = '', address: given = '', length }, wrong) =>
    createNetworkAddress(network, given, length) ??
    wrong('length', `${length} bits are more than an address of this family has`),
);

const networkAddressForms = 'an address, network/address or address/prefix length';

/** `10.0.0.1`, `network/10.0.0.1`, `10.0.0.0/16`, `network/10.0.0.0/16`, or a map of these parts. */
export const networkAddress: Decoder<NetworkAddress> = {
  schema: { anyOf: [{ type: 'string', description: networkAddressForms }, networkAddressMap.schema] },
  decode(value, path, problems) {
    return typeof value === 'string'
      ? text(networkAddressForms, parseNetworkAddress).decode(value, path, problems)
      : networkAddressMap.decode(value, path, problems);
  },
};

/** The part after the last slash is a length if what stands before it ends in an address. */
export function parseNetworkAddress(given: string): NetworkAddress | undefined {
  const parts = given.split('/');
  const last = parts.at(-1) ?? '';
  const beforeLast = parts.at(-2);
  if (beforeLast !== undefined && /^\d{1,3}$/.test(last) && parseAddress(beforeLast) !== undefined) {
    const isMapped = beforeLast.includes(':') && parseAddress(beforeLast)?.family === 4;
    return createNetworkAddress(parts.slice(0, -2).join('/'), beforeLast, Number(last) - (isMapped ? 96 : 0));
  }
  return createNetworkAddress(parts.slice(0, -1).join('/'), last, undefined);
}

/** Canonical, bits below the prefix cleared; undefined when the parts do not make an address. */
function createNetworkAddress(
  network: string,
  given: string,
  length: number | undefined,
): NetworkAddress | undefined {
  const parsed = parseAddress(given);
  if (parsed === undefined || length === undefined) {
    return parsed === undefined
      ? undefined
      : Object.freeze({ network, address: parsed.text, length: undefined });
  }
  const cidr = createCidr(parsed, length);
  return cidr === undefined ? undefined : Object.freeze({ network, address: cidr.base.text, length });
}

const namespacedHostname = message(
  { namespace: resourceName, hostname },
  { name: 'NamespacedHostname', required: ['namespace', 'hostname'] },
  ({ namespace = '', hostname: host = '' }) =>
    Object.freeze({ kind: 'hostname' as const, namespace, hostname: host }),
);

const singleAddress: Decoder<{
  readonly kind: 'address';
  readonly network: string;
  readonly address: string;
}> = {
  schema: networkAddress.schema,
  decode(value, path, problems) {
    const found = networkAddress.decode(value, path, problems);
    if (found?.length !== undefined) {
      problems.push({ path, message: 'expected one address, not a range' });
      return undefined;
    }
    return (
      found && Object.freeze({ kind: 'address' as const, network: found.network, address: found.address })
    );
  },
};

export const gatewayAddress: Decoder<GatewayAddress> = message(
  { hostname: namespacedHostname, address: singleAddress, hboneMtlsPort: portOrZero },
  { name: 'GatewayAddress' },
  ({ hostname: host, address: at, hboneMtlsPort = 0 }, wrong) => {
    const destination = host ?? at;
    if (destination === undefined || (host !== undefined && at !== undefined)) {
      return wrong('hostname', 'expected either hostname or address');
    }
    return Object.freeze({ destination, hboneMtlsPort });
  },
);

/** Named only: none of them is understood, and none narrows what the resource says. */
export const extensionNames: Decoder<readonly string[]> = list(
  message(
    { name: anyText, config: { schema: {}, decode: (value) => value ?? true } as Decoder<unknown> },
    { name: 'Extension' },
    ({ name = '' }) => name,
  ),
);

/** For messages in which an extension may be a condition: what is not understood must not be passed over. */
export const noExtensions: Decoder<readonly never[]> = {
  schema: { type: 'array', maxItems: 0 },
  decode(value, path, problems) {
    if (!Array.isArray(value) || value.length > 0) {
      problems.push({ path, message: 'extensions of policies are not understood; leave them out' });
      return undefined;
    }
    return [];
  },
};
