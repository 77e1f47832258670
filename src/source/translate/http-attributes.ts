/** What of an AuthorizationPolicy only somebody who reads HTTP can check: a connection alone does not show it. */
import type { PolicyOperation, PolicyRule, PolicySource } from '../kubernetes/authorization-policy.ts';

const sourceAttributes = [
  'requestPrincipals',
  'notRequestPrincipals',
  // They come from a header, or from a proxy that speaks for others.
  'remoteIpBlocks',
  'notRemoteIpBlocks',
] as const satisfies readonly (keyof PolicySource)[];

const operationAttributes = [
  'hosts',
  'notHosts',
  'methods',
  'notMethods',
  'paths',
  'notPaths',
] as const satisfies readonly (keyof PolicyOperation)[];

/** Keys of `when` that a connection shows; any other is taken for one of HTTP, also one that nobody knows. */
export const connectionKeys = [
  'source.ip',
  'source.namespace',
  'source.principal',
  'destination.ip',
  'destination.port',
] as const;

export type ConnectionKey = (typeof connectionKeys)[number];

export function isConnectionKey(key: string): key is ConnectionKey {
  return (connectionKeys as readonly string[]).includes(key);
}

/** The names of all that a rule asks of HTTP, each once, sorted. */
export function httpAttributes({ from = [], to = [], when }: PolicyRule): string[] {
  const found = [
    ...from.flatMap(({ source }) => sourceAttributes.filter((name) => source[name].length > 0)),
    ...to.flatMap(({ operation }) => operationAttributes.filter((name) => operation[name].length > 0)),
    ...when.map(({ key }) => key).filter((key) => !isConnectionKey(key)),
  ];
  return [...new Set(found)].sort();
}
