import type { IpAddress } from './address.ts';
import { parsePort } from './authority.ts';
import { type Cidr, cidrContains, parseCidr } from './cidr.ts';

/**
 * Ports and ranges that a pod takes out of its capture, as Istio's sidecars know them. Canonical, without doubles and in order:
 * what means the same is equal.
 */
export interface TrafficExclusions {
  readonly excludeOutboundPorts: readonly number[];
  /** Captured whatever the address is; counts where `includeOutboundRanges` are given. */
  readonly includeOutboundPorts: readonly number[];
  readonly excludeOutboundRanges: readonly string[];
  /** Undefined: every range. */
  readonly includeOutboundRanges: readonly string[] | undefined;
  readonly excludeInboundPorts: readonly number[];
  /** Undefined: every port. Where they are given `excludeInboundPorts` say nothing. */
  readonly includeInboundPorts: readonly number[] | undefined;
}

export const noExclusions: TrafficExclusions = createTrafficExclusions({});

/** Of one list; the kernel's tables are shared by all pods of a node. */
export const mostExclusions = 64;

export function createTrafficExclusions(fields: Partial<TrafficExclusions>): TrafficExclusions {
  const ports = (given: readonly number[] = []) =>
    Object.freeze([...new Set(given)].sort((left, right) => left - right));
  const ranges = (given: readonly string[] = []) =>
    Object.freeze([...new Set(given.flatMap((text) => parseCidr(text)?.text ?? []))].sort());
  const { includeOutboundRanges, includeInboundPorts } = fields;
  return Object.freeze({
    excludeOutboundPorts: ports(fields.excludeOutboundPorts),
    includeOutboundPorts: includeOutboundRanges === undefined ? ports() : ports(fields.includeOutboundPorts),
    excludeOutboundRanges: ranges(fields.excludeOutboundRanges),
    includeOutboundRanges: includeOutboundRanges && ranges(includeOutboundRanges),
    excludeInboundPorts: includeInboundPorts === undefined ? ports(fields.excludeInboundPorts) : ports(),
    includeInboundPorts: includeInboundPorts && ports(includeInboundPorts),
  });
}

export function selectsOutbound(exclusions: TrafficExclusions): boolean {
  const { excludeOutboundPorts, excludeOutboundRanges, includeOutboundRanges } = exclusions;
  return (
    excludeOutboundPorts.length + excludeOutboundRanges.length > 0 || includeOutboundRanges !== undefined
  );
}

export function selectsInbound({ excludeInboundPorts, includeInboundPorts }: TrafficExclusions): boolean {
  return excludeInboundPorts.length > 0 || includeInboundPorts !== undefined;
}

/** Whether a connection of the pod to this destination is left alone. Of two words the excluding one counts. */
export function excludesOutbound(exclusions: TrafficExclusions, address: IpAddress, port: number): boolean {
  const { excludeOutboundPorts, excludeOutboundRanges, includeOutboundPorts, includeOutboundRanges } =
    exclusions;
  if (excludeOutboundPorts.includes(port) || isWithin(excludeOutboundRanges, address)) return true;
  if (includeOutboundRanges === undefined) return false;
  return !includeOutboundPorts.includes(port) && !isWithin(includeOutboundRanges, address);
}

/** Whether a connection in clear to this port of the pod reaches the application, past every policy. */
export function excludesInbound(exclusions: TrafficExclusions, port: number): boolean {
  const { excludeInboundPorts, includeInboundPorts } = exclusions;
  return includeInboundPorts === undefined
    ? excludeInboundPorts.includes(port)
    : !includeInboundPorts.includes(port);
}

/** For people: what is left alone, one phrase for each way. */
export function describeExclusions(exclusions: TrafficExclusions): string[] {
  const { excludeOutboundPorts, excludeOutboundRanges, includeOutboundPorts, includeOutboundRanges } =
    exclusions;
  const { excludeInboundPorts, includeInboundPorts } = exclusions;
  const excluded = [...excludeOutboundPorts.map((port) => `port ${port}`), ...excludeOutboundRanges];
  const included = [...includeOutboundPorts.map((port) => `port ${port}`), ...(includeOutboundRanges ?? [])];
  return [
    ...(excluded.length > 0 ? [`its own connections to ${excluded.join(', ')} are left alone`] : []),
    ...(includeOutboundRanges === undefined
      ? []
      : [`its own connections are left alone but for those to ${included.join(', ') || 'nothing'}`]),
    ...(excludeInboundPorts.length > 0
      ? [`connections in clear to port ${excludeInboundPorts.join(', ')} reach it past every policy`]
      : []),
    ...(includeInboundPorts === undefined
      ? []
      : [
          `connections in clear reach it past every policy, but for port ${includeInboundPorts.join(', ') || 'none'}`,
        ]),
  ];
}

/** A list as an annotation writes it. `all`: the asterisk. */
export interface ParsedList<T> {
  readonly all: boolean;
  readonly values: readonly T[];
  /** Words that are none. */
  readonly wrong: readonly string[];
}

export function parsePortList(text: string): ParsedList<number> {
  return parseList(text, parsePort);
}

export function parseRangeList(text: string): ParsedList<string> {
  return parseList(text, (word) => parseCidr(word)?.text);
}

function parseList<T>(text: string, parse: (word: string) => T | undefined): ParsedList<T> {
  const words = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  if (words.length === 1 && words[0] === '*') return { all: true, values: [], wrong: [] };
  const parsed = words.map((word) => ({ word, value: parse(word) }));
  return {
    all: false,
    values: [...new Set(parsed.flatMap(({ value }) => (value === undefined ? [] : [value])))],
    wrong: parsed.filter(({ value }) => value === undefined).map(({ word }) => word),
  };
}

function isWithin(ranges: readonly string[], address: IpAddress): boolean {
  return ranges.some((text) => {
    const range: Cidr | undefined = parseCidr(text);
    return range !== undefined && cidrContains(range, address);
  });
}
