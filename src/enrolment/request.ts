import { isDeepStrictEqual } from 'node:util';
import { HadalError } from '../base/errors.ts';
import { canonicalAddress } from '../model/address.ts';
import type { TrafficExclusions } from '../model/traffic-exclusions.ts';
import { exclusionFields, parseExclusions, sameExclusions } from './request-exclusions.ts';

/** What a pod's annotations say of its capture. They may change while the pod runs: the same pod is then asked for again. */
export interface CaptureWishes {
  /** `ambient.istio.io/dns-capture`; undefined when it has none. */
  readonly dnsCapture?: boolean;
  /** `ambient.istio.io/bypass-inbound-capture`: plain connections reach the application, and no policy holds for them. */
  readonly bypassInbound?: boolean;
  /** `istio.io/reroute-virtual-interfaces`: interfaces behind which a machine runs that the pod holds. */
  readonly virtualInterfaces?: readonly string[];
  /** `hadal.io/turbo`: connections with pods of the node that wish it too may go past TCP. */
  readonly turbo?: boolean;
  /** `traffic.sidecar.istio.io/...`: ports and ranges that are left alone. */
  readonly exclusions?: TrafficExclusions;
}

/** What a CNI plugin says of a pod that starts: the JSON of Istio's `/cmdadd` with uid, service account and cgroup added. */
export interface AddRequest extends CaptureWishes {
  /** Kubernetes' uid of the pod: a pod made again under the same name is another pod. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Path that opens the pod's network namespace: `/run/netns/<name>` or `/proc/<pid>/ns/net`. */
  readonly netns: string;
  /** Canonical addresses as the request gave them; those seen in the namespace count besides. */
  readonly addresses: readonly string[];
  /** Path of the pod's cgroup, '' when not told. */
  readonly cgroup: string;
}

/** A pod with other wishes, and all else as it was. */
export function withWishes<T extends CaptureWishes>(
  pod: T,
  { dnsCapture, bypassInbound, virtualInterfaces, turbo, exclusions }: CaptureWishes,
): Omit<T, keyof CaptureWishes> & CaptureWishes {
  const {
    dnsCapture: _dns,
    bypassInbound: _bypass,
    virtualInterfaces: _interfaces,
    turbo: _turbo,
    exclusions: _exclusions,
    ...rest
  } = pod;
  return {
    ...rest,
    ...(dnsCapture === undefined ? {} : { dnsCapture }),
    ...(bypassInbound === undefined ? {} : { bypassInbound }),
    ...(virtualInterfaces === undefined ? {} : { virtualInterfaces }),
    ...(turbo === undefined ? {} : { turbo }),
    ...(exclusions === undefined ? {} : { exclusions }),
  };
}

export function sameInterfaces(left: CaptureWishes, right: CaptureWishes): boolean {
  return isDeepStrictEqual(left.virtualInterfaces ?? [], right.virtualInterfaces ?? []);
}

export function sameWishes(left: CaptureWishes, right: CaptureWishes): boolean {
  return (
    left.dnsCapture === right.dnsCapture &&
    (left.bypassInbound ?? false) === (right.bypassInbound ?? false) &&
    (left.turbo ?? false) === (right.turbo ?? false) &&
    sameInterfaces(left, right) &&
    sameExclusions(left.exclusions, right.exclusions)
  );
}

/** `deleted`: the pod ends and everything of it is closed. `left`: it runs on outside the mesh and keeps its open connections. */
export const removeReasons = ['deleted', 'left'] as const;
export type RemoveReason = (typeof removeReasons)[number];

export interface RemoveRequest {
  /** '' when the request names the pod by name and namespace alone. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly reason: RemoveReason;
}

/** Names in the JSON are case-sensitive and these, no others: a misspelt field must not be ignored. */
const addFields = [
  'Netns',
  'PodName',
  'PodNamespace',
  'PodUID',
  'ServiceAccount',
  'Cgroup',
  'IPs',
  'DnsCapture',
  'BypassInboundCapture',
  'VirtualInterfaces',
  'Turbo',
  ...exclusionFields,
] as const;
const removeFields = [
  'PodName',
  'PodNamespace',
  'PodUID',
  'Reason',
  'Netns',
  'ServiceAccount',
  'Cgroup',
  'IPs',
] as const;

const labelPattern = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const subdomainPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const uidPattern = /^[A-Za-z0-9._-]{1,128}$/;
const interfacePattern = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;
const mostAddresses = 16;
const mostInterfaces = 16;

export function parseAddRequest(body: unknown): AddRequest {
  const fields = objectOf(body, '/cmdadd', addFields);
  const exclusions = parseExclusions(fields);
  return {
    uid: uid(fields, true),
    name: subdomain(fields, 'PodName'),
    namespace: label(fields, 'PodNamespace'),
    serviceAccount: subdomain(fields, 'ServiceAccount'),
    netns: absolutePath(fields, 'Netns'),
    addresses: addresses(fields.IPs),
    cgroup: fields.Cgroup === undefined || fields.Cgroup === '' ? '' : absolutePath(fields, 'Cgroup'),
    ...(fields.DnsCapture === undefined ? {} : { dnsCapture: flag(fields, 'DnsCapture') }),
    ...(fields.BypassInboundCapture === undefined
      ? {}
      : { bypassInbound: flag(fields, 'BypassInboundCapture') }),
    ...(fields.VirtualInterfaces === undefined
      ? {}
      : { virtualInterfaces: interfaceNames(fields.VirtualInterfaces) }),
    ...(fields.Turbo === undefined ? {} : { turbo: flag(fields, 'Turbo') }),
    ...(exclusions === undefined ? {} : { exclusions }),
  };
}

export function parseRemoveRequest(body: unknown): RemoveRequest {
  const fields = objectOf(body, '/cmddel', removeFields);
  const reason = fields.Reason ?? 'deleted';
  if (!isRemoveReason(reason)) {
    throw invalid('Reason', `is ${shown(reason)}; one of ${removeReasons.join(', ')} is meant`);
  }
  const hasName = fields.PodName !== undefined || fields.PodNamespace !== undefined;
  if (fields.PodUID === undefined && !hasName) {
    throw invalid('PodUID', 'is missing; name the pod by PodUID, or by PodName and PodNamespace');
  }
  return {
    uid: uid(fields, false),
    name: hasName ? subdomain(fields, 'PodName') : '',
    namespace: hasName ? label(fields, 'PodNamespace') : '',
    reason,
  };
}

type Fields = Readonly<Record<string, unknown>>;

function invalid(field: string, problem: string): HadalError<'ERR_ENROLMENT_REQUEST'> {
  return new HadalError('ERR_ENROLMENT_REQUEST', `field ${field} ${problem}`, { details: { field } });
}

function shown(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value) ?? typeof value).slice(0, 80);
}

function objectOf(body: unknown, request: string, known: readonly string[]): Fields {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new HadalError('ERR_ENROLMENT_REQUEST', `the body of ${request} must be a JSON object`);
  }
  for (const name of Object.keys(body)) {
    if (known.includes(name)) continue;
    const meant = known.find((candidate) => candidate.toLowerCase() === name.toLowerCase());
    throw invalid(
      name,
      meant === undefined
        ? `is unknown; ${request} takes ${known.join(', ')}`
        : `is unknown; ${meant} is meant`,
    );
  }
  return body as Fields;
}

function text(fields: Fields, field: string): string {
  const value = fields[field];
  if (typeof value !== 'string' || value === '')
    throw invalid(field, `is ${shown(value)}; a text is required`);
  return value;
}

function flag(fields: Fields, field: string): boolean {
  const value = fields[field];
  if (typeof value !== 'boolean') throw invalid(field, `is ${shown(value)}; true or false is required`);
  return value;
}

function uid(fields: Fields, required: boolean): string {
  if (!required && fields.PodUID === undefined) return '';
  const value = text(fields, 'PodUID');
  if (!uidPattern.test(value))
    throw invalid('PodUID', `is ${shown(value)}; letters, digits, dot, dash and underscore are allowed`);
  return value;
}

function label(fields: Fields, field: string): string {
  const value = text(fields, field);
  if (!labelPattern.test(value))
    throw invalid(field, `is ${shown(value)}, which is no Kubernetes name of a namespace`);
  return value;
}

function subdomain(fields: Fields, field: string): string {
  const value = text(fields, field);
  if (value.length > 253 || !subdomainPattern.test(value))
    throw invalid(field, `is ${shown(value)}, which is no Kubernetes name`);
  return value;
}

function absolutePath(fields: Fields, field: string): string {
  const value = text(fields, field);
  if (!value.startsWith('/') || value.includes('\0') || value.length > 4095) {
    throw invalid(field, `is ${shown(value)}; an absolute path is required`);
  }
  return value;
}

/** `IPs: [{Interface, Address, Gateway}]`, the address with or without prefix length. */
function addresses(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid('IPs', `is ${shown(value)}; a list is required`);
  if (value.length > mostAddresses)
    throw invalid('IPs', `has ${value.length} entries; at most ${mostAddresses} are taken`);
  const found = value.map((entry: unknown, index) => {
    const address: unknown = typeof entry === 'object' && entry !== null ? (entry as Fields).Address : entry;
    const canonical =
      typeof address === 'string' ? canonicalAddress(address.split('/', 1)[0] ?? '') : undefined;
    if (canonical === undefined)
      throw invalid(`IPs[${index}].Address`, `is ${shown(address)}, which is no IP address`);
    return canonical;
  });
  return [...new Set(found)];
}

/** As `['tap0', 'br1']`. */
function interfaceNames(value: unknown): string[] {
  if (!Array.isArray(value)) throw invalid('VirtualInterfaces', `is ${shown(value)}; a list is required`);
  if (value.length > mostInterfaces)
    throw invalid('VirtualInterfaces', `has ${value.length} entries; at most ${mostInterfaces} are taken`);
  value.forEach((name: unknown, index) => {
    if (!isInterfaceName(name))
      throw invalid(`VirtualInterfaces[${index}]`, `is ${shown(name)}, which no interface can be called`);
  });
  return [...new Set(value as string[])];
}

/** Of the pod's own; lo is never a machine's. */
export function isInterfaceName(name: unknown): name is string {
  return typeof name === 'string' && interfacePattern.test(name) && name !== 'lo';
}

function isRemoveReason(value: unknown): value is RemoveReason {
  return (removeReasons as readonly unknown[]).includes(value);
}
