/** Ports and ranges that a pod takes out of its capture, as /cmdadd tells them and as they are kept on disk. */
import { isDeepStrictEqual } from 'node:util';
import { HadalError } from '../base/errors.ts';
import { parsePort } from '../model/authority.ts';
import { parseCidr } from '../model/cidr.ts';
import {
  createTrafficExclusions,
  mostExclusions,
  type TrafficExclusions,
} from '../model/traffic-exclusions.ts';

const portFields = {
  ExcludeOutboundPorts: 'excludeOutboundPorts',
  IncludeOutboundPorts: 'includeOutboundPorts',
  ExcludeInboundPorts: 'excludeInboundPorts',
  IncludeInboundPorts: 'includeInboundPorts',
} as const;

const rangeFields = {
  ExcludeOutboundIPRanges: 'excludeOutboundRanges',
  IncludeOutboundIPRanges: 'includeOutboundRanges',
} as const;

export const exclusionFields = Object.freeze([...Object.keys(portFields), ...Object.keys(rangeFields)]);

/** Undefined: none of the fields is there. */
export function parseExclusions(fields: Readonly<Record<string, unknown>>): TrafficExclusions | undefined {
  if (exclusionFields.every((name) => fields[name] === undefined)) return undefined;
  const ports = Object.entries(portFields).map(([name, key]) => [
    key,
    listOf(fields[name], name, isPort, 'a port from 1 to 65535'),
  ]);
  const ranges = Object.entries(rangeFields).map(([name, key]) => [
    key,
    listOf(fields[name], name, isRange, 'a range such as 10.0.0.0/8'),
  ]);
  return createTrafficExclusions(
    Object.fromEntries([...ports, ...ranges].filter(([, value]) => value !== undefined)),
  );
}

/** As `parseExclusions` reads them. */
export function exclusionRequest(exclusions: TrafficExclusions): Readonly<Record<string, unknown>> {
  const fields = Object.entries({ ...portFields, ...rangeFields });
  return Object.fromEntries(
    fields.map(([name, key]) => [name, exclusions[key]]).filter(([, value]) => value !== undefined),
  );
}

export function sameExclusions(
  left: TrafficExclusions | undefined,
  right: TrafficExclusions | undefined,
): boolean {
  return isDeepStrictEqual(fieldsOf(left), fieldsOf(right));
}

/** What JSON makes of them, which has no undefined, is read as they were. */
export function isStoredExclusions(value: unknown): value is TrafficExclusions {
  if (typeof value !== 'object' || value === null) return false;
  const kept = value as Record<string, unknown>;
  const isListOf = (is: (each: unknown) => boolean) => (key: string) =>
    kept[key] === undefined || (Array.isArray(kept[key]) && kept[key].every(is));
  return (
    Object.values(portFields).every(isListOf(isPort)) && Object.values(rangeFields).every(isListOf(isRange))
  );
}

function fieldsOf(exclusions: TrafficExclusions | undefined) {
  return createTrafficExclusions(exclusions ?? {});
}

function listOf<T>(
  value: unknown,
  field: string,
  is: (each: unknown) => each is T,
  what: string,
): readonly T[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalid(field, 'is no list');
  if (value.length > mostExclusions)
    throw invalid(field, `has ${value.length} entries; at most ${mostExclusions} are taken`);
  value.forEach((each: unknown, index) => {
    if (!is(each)) throw invalid(`${field}[${index}]`, `is ${shown(each)}; ${what} is required`);
  });
  return value as T[];
}

function isPort(value: unknown): value is number {
  return typeof value === 'number' && parsePort(String(value)) !== undefined;
}

function isRange(value: unknown): value is string {
  return typeof value === 'string' && parseCidr(value) !== undefined;
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 80);
}

function invalid(field: string, problem: string): HadalError<'ERR_ENROLMENT_REQUEST'> {
  return new HadalError('ERR_ENROLMENT_REQUEST', `field ${field} ${problem}`, { details: { field } });
}
