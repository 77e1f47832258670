import { type IpAddress, parseAddress } from './address.ts';

/** What `host:port` names: an address, or a host name in lower case. */
export type Authority =
  | { readonly kind: 'address'; readonly address: IpAddress; readonly port: number }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number };

const portPattern = /^(?:0|[1-9]\d{0,4})$/;
const labelPattern = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
const longestHostname = 253;

/** 1 to 65535 in plain decimal. */
export function parsePort(text: string): number | undefined {
  const port = portPattern.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

/** Lower-case name without trailing dot; undefined when a name server could not know it. */
export function canonicalHostname(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  // A name whose last label is a number would be read as an address by resolvers.
  const isName = labels.every((label) => labelPattern.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '');
  return isName && name.length <= longestHostname ? name : undefined;
}

/** `:authority` of a CONNECT. No user info, no default port, IPv6 in brackets. */
export function parseAuthority(text: string): Authority | undefined {
  const colon = text.lastIndexOf(':');
  if (colon <= 0 || text.length > longestHostname + 8) {
    return undefined;
  }
  const host = text.slice(0, colon);
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) {
    return undefined;
  }
  if (host.startsWith('[') && host.endsWith(']')) {
    const inner = host.slice(1, -1);
    const address = inner.includes(':') ? parseAddress(inner) : undefined;
    return address === undefined ? undefined : Object.freeze({ kind: 'address', address, port });
  }
  const address = host.includes(':') ? undefined : parseAddress(host);
  if (address !== undefined) {
    return Object.freeze({ kind: 'address', address, port });
  }
  const hostname = canonicalHostname(host);
  return hostname === undefined ? undefined : Object.freeze({ kind: 'hostname', hostname, port });
}

/** `host:port`, an IPv6 address in brackets. */
export function formatAuthority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
