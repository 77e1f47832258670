import type { Cidr } from './cidr.ts';
import { parseCidr } from './cidr.ts';
import { aliasKey, type DnsAlias } from './dns-alias.ts';
import type { NetworkAddress } from './gateway-address.ts';
import { type NamespaceOutboundPolicy, parseOutboundPolicy } from './outbound-policy.ts';
import { meshSameNodeExtension, meshSameNodeMode, type SameNodeMode } from './same-node.ts';
import { createService, type Service, serviceKey } from './service.ts';

/**
 * What holds for the mesh as a whole and Istio's protocol has no words for. It travels as a service that carries nothing, under
 * a name of its own: whoever does not know it sees a name without endpoints, on networks that nobody is on. Under istiod there
 * is none, and the agent's options say it.
 */
export interface MeshSettings {
  /** Ranges in which pods have their addresses. A destination inside one of the ranges that nobody knows is refused. */
  readonly podRanges: readonly string[];
  /** Ranges of services, those of addresses made up for hosts outside among them. */
  readonly serviceRanges: readonly string[];
  /** By namespace and host name. */
  readonly dnsAliases: readonly DnsAlias[];
  /** Of all whose labels, and whose namespace's, say nothing; undefined: the agents' options say it. */
  readonly sameNode: SameNodeMode | undefined;
  /** At most one for a namespace and one for the mesh. */
  readonly outboundPolicies: readonly NamespaceOutboundPolicy[];
  /** Namespaces in which workloads may say their own outbound policy. */
  readonly selectedNamespaces: readonly string[];
}

const place = Object.freeze({ namespace: 'hadal-system', hostname: 'mesh-settings.hadal.internal' });
/** The service under which they travel. */
export const meshSettingsKey = serviceKey(place);

/** No label and no option can name a network so. */
const podNetwork = '~pods';
const serviceNetwork = '~services';
const aliasExtension = 'hadal.mesh.v1.DnsAlias';
const policyExtension = 'hadal.mesh.v1.OutboundTrafficPolicy';
const selectedExtension = 'hadal.mesh.v1.OutboundTrafficPolicyByWorkload';

/** Frozen, canonical and in order: what means the same is equal. Ranges that are none are left out. */
export function createMeshSettings(fields: Partial<MeshSettings>): MeshSettings {
  const aliases = [...(fields.dnsAliases ?? [])].sort(inOrder(aliasKey));
  const byNamespace = new Map((fields.outboundPolicies ?? []).map((each) => [each.namespace, each]));
  return Object.freeze({
    podRanges: joinRanges(fields.podRanges ?? []),
    serviceRanges: joinRanges(fields.serviceRanges ?? []),
    dnsAliases: Object.freeze(aliases),
    sameNode: fields.sameNode,
    outboundPolicies: Object.freeze([...byNamespace.values()].sort(inOrder(({ namespace }) => namespace))),
    selectedNamespaces: Object.freeze([...new Set(fields.selectedNamespaces ?? [])].sort()),
  });
}

/** Undefined when there is nothing to say. */
export function meshSettingsService(settings: MeshSettings): Service | undefined {
  const addresses = [
    ...settings.podRanges.map((range) => networkRange(podNetwork, range)),
    ...settings.serviceRanges.map((range) => networkRange(serviceNetwork, range)),
  ];
  const { sameNode } = settings;
  const extensions = [
    ...settings.dnsAliases.map(
      ({ namespace, hostname, target }) => `${aliasExtension}/${namespace}/${hostname}/${target}`,
    ),
    ...settings.outboundPolicies.map(({ namespace, policy }) => `${policyExtension}/${namespace}/${policy}`),
    ...settings.selectedNamespaces.map((namespace) => `${selectedExtension}/${namespace}`),
    ...(sameNode === undefined ? [] : [meshSameNodeExtension(sameNode)]),
  ];
  if (addresses.length + extensions.length === 0) return undefined;
  return createService({ ...place, name: 'mesh-settings', visibility: 'NAMESPACE', addresses, extensions });
}

/** What such a service says; of any other, and of none, nothing. */
export function meshSettingsOf(service: Service | undefined): MeshSettings {
  if (service === undefined || serviceKey(service) !== meshSettingsKey) return noMeshSettings;
  const known = parsed.get(service);
  if (known !== undefined) return known;
  const ranges = (wanted: string) =>
    service.addresses
      .filter(({ network }) => network === wanted)
      .map(({ address, length }) => (length === undefined ? address : `${address}/${length}`));
  const settings = createMeshSettings({
    podRanges: ranges(podNetwork),
    serviceRanges: ranges(serviceNetwork),
    dnsAliases: service.extensions.flatMap(parseAlias),
    sameNode: meshSameNodeMode(service.extensions),
    outboundPolicies: service.extensions.flatMap(parsePolicy),
    selectedNamespaces: service.extensions.flatMap(parseSelected),
  });
  parsed.set(service, settings);
  return settings;
}

/** Ranges of the cluster that a mesh tells. */
export function meshRanges(mesh: { readonly services: ReadonlyMap<string, Service> }): readonly Cidr[] {
  const { podRanges, serviceRanges } = meshSettingsOf(mesh.services.get(meshSettingsKey));
  return [...podRanges, ...serviceRanges].map(parseCidr).filter((range) => range !== undefined);
}

/** What a name means that only means another one. */
export function aliasesNamed(
  mesh: { readonly services?: ReadonlyMap<string, Service> },
  hostname: string,
): readonly DnsAlias[] {
  const settings = meshSettingsOf(mesh.services?.get(meshSettingsKey));
  let byHostname = aliasesOf.get(settings);
  if (byHostname === undefined) {
    byHostname = Map.groupBy(settings.dnsAliases, (alias) => alias.hostname);
    aliasesOf.set(settings, byHostname);
  }
  return byHostname.get(hostname) ?? [];
}

/** Asked for with each query; settings are never changed. */
const aliasesOf = new WeakMap<MeshSettings, ReadonlyMap<string, readonly DnsAlias[]>>();

const noMeshSettings = createMeshSettings({});
/** Asked for with each judgement of an unknown address; services are never changed. */
const parsed = new WeakMap<Service, MeshSettings>();

function networkRange(network: string, range: string): NetworkAddress {
  const [address = '', length] = range.split('/');
  return Object.freeze({ network, address, length: Number(length) });
}

function parseAlias(extension: string): DnsAlias[] {
  const [kind, namespace, hostname, target, ...more] = extension.split('/');
  if (kind !== aliasExtension || more.length > 0 || !namespace || !hostname || !target) return [];
  return [Object.freeze({ namespace, hostname, target })];
}

function parsePolicy(extension: string): NamespaceOutboundPolicy[] {
  const [kind, namespace, text, ...more] = extension.split('/');
  const policy = parseOutboundPolicy(text);
  if (kind !== policyExtension || more.length > 0 || namespace === undefined || policy === undefined)
    return [];
  return [Object.freeze({ namespace, policy })];
}

function parseSelected(extension: string): string[] {
  const [kind, namespace, ...more] = extension.split('/');
  return kind === selectedExtension && namespace && more.length === 0 ? [namespace] : [];
}

function inOrder<T>(keyOf: (value: T) => string): (left: T, right: T) => number {
  return (left, right) => (keyOf(left) < keyOf(right) ? -1 : 1);
}

/** Ranges inside others are left out, and halves that make a whole are joined: a cluster of a thousand nodes has a few ranges. */
function joinRanges(texts: readonly string[]): readonly string[] {
  const parsed = texts.map((text) => parseCidr(text.trim())).filter((cidr) => cidr !== undefined);
  const sorted = parsed.sort(
    (left, right) =>
      left.base.family - right.base.family ||
      (left.base.value < right.base.value ? -1 : Number(left.base.value > right.base.value)) ||
      left.length - right.length,
  );
  const joined: Cidr[] = [];
  for (const cidr of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && holds(last, cidr)) continue;
    joined.push(cidr);
    while (mergeLast(joined));
  }
  return Object.freeze(joined.map(({ text }) => text));
}

function holds(outer: Cidr, inner: Cidr): boolean {
  return outer.length <= inner.length && parentAt(inner, outer.length)?.text === outer.text;
}

function parentAt(cidr: Cidr, length: number): Cidr | undefined {
  return parseCidr(`${cidr.base.text}/${length}`);
}

/** Joins the last two when they are the halves of one range. */
function mergeLast(joined: Cidr[]): boolean {
  const [left, right] = joined.slice(-2);
  if (left === undefined || right === undefined || left.length !== right.length || left.length === 0)
    return false;
  const whole = parentAt(left, left.length - 1);
  if (whole === undefined || whole.text !== parentAt(right, left.length - 1)?.text) return false;
  joined.splice(-2, 2, whole);
  return true;
}
