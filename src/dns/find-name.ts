/** Which service or endpoint a name means to a client. */
import type { DnsAlias } from '../model/dns-alias.ts';
import { aliasesNamed } from '../model/mesh-settings.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { Endpoint, MeshSnapshot } from '../model/snapshot.ts';
import type { ResolverConfiguration } from './resolv-conf.ts';

/** What names are looked up in. Istio's protocols tell no aliases: then the cluster's DNS answers for them. */
export type NameTable = Pick<MeshSnapshot, 'servicesNamed' | 'endpointsOf'> &
  Partial<Pick<MeshSnapshot, 'services'>> & { aliasesNamed?(hostname: string): readonly DnsAlias[] };

export interface NameScope {
  readonly snapshot: NameTable;
  /** Of the client. */
  readonly namespace: string;
  /** Its services count before others of the same name; '' for none. */
  readonly preferredNamespace: string;
}

export interface FoundService {
  /** The name under which it is known, which the asked name may be an alias of. */
  readonly name: string;
  readonly service: Service;
  /** A name of endpoints of a headless service; undefined when the service itself is meant. */
  readonly endpoints: readonly Endpoint[] | undefined;
}

export interface FoundAlias {
  readonly name: string;
  /** A name that means only this other one, as ExternalName services do. */
  readonly target: string;
}

export type FoundName = FoundService | FoundAlias;

/** Kubernetes' own search domains end in one another, three deep. Pods write their search lists, and all share one thread. */
const mostEnds = 3;
/** A wildcard has fewer labels; names may have 127. */
const mostWildcardLabels = 16;

/**
 * The name itself; then what is left when one of the client's search domains is taken off its end (its resolver adds them to
 * names with dots too, and then `example.com.shop.svc.cluster.local` means `example.com`); then, for a name with few dots, the
 * name under each search domain.
 */
export function findName(
  scope: NameScope,
  name: string,
  { search, ndots }: Pick<ResolverConfiguration, 'search' | 'ndots'>,
): FoundName | undefined {
  if (name === '') return undefined;
  const found = findExact(scope, name);
  if (found !== undefined) return found;
  const ends = search.filter((domain) => name.endsWith(`.${domain}`));
  for (const domain of ends.sort((left, right) => right.length - left.length).slice(0, mostEnds)) {
    const short = findExact(scope, name.slice(0, -domain.length - 1));
    if (short !== undefined) return short;
  }
  if (name.split('.').length - 1 >= ndots) return undefined;
  for (const domain of search) {
    const long = findExact(scope, `${name}.${domain}`);
    if (long !== undefined) return long;
  }
  return undefined;
}

/** No resources of these kinds with that name: a service before an endpoint of one, both before a wildcard. */
function findExact(scope: NameScope, name: string): FoundName | undefined {
  const service = bestNamed(scope, name);
  if (service !== undefined) return { name, service, endpoints: undefined };
  const aliases = scope.snapshot.aliasesNamed?.(name) ?? aliasesNamed(scope.snapshot, name);
  const target = aliases[0]?.target;
  if (target !== undefined) return { name, target };
  return findEndpoint(scope, name) ?? findWildcard(scope, name);
}

function findWildcard(scope: NameScope, name: string): FoundService | undefined {
  const labels = name.split('.').length;
  let dot = -1;
  for (let left = labels - 1; left > 0; left--) {
    dot = name.indexOf('.', dot + 1);
    if (left > mostWildcardLabels) continue;
    const service = bestNamed(scope, `*${name.slice(dot)}`);
    if (service !== undefined) return { name, service, endpoints: undefined };
  }
  return undefined;
}

/** `<pod>.<headless service>`, the pod by its name or by its address with dashes, as cluster DNS has them. */
function findEndpoint(scope: NameScope, name: string): FoundService | undefined {
  const dot = name.indexOf('.');
  const service = dot > 0 ? bestNamed(scope, name.slice(dot + 1)) : undefined;
  if (service === undefined || service.addresses.length > 0) return undefined;
  const label = name.slice(0, dot);
  const endpoints = scope.snapshot
    .endpointsOf(serviceKey(service))
    .filter(
      ({ workload }) => workload.name === label || workload.addresses.some((text) => dashed(text) === label),
    );
  return endpoints.length === 0 ? undefined : { name, service, endpoints };
}

/** The label under which cluster DNS knows an endpoint without a hostname. */
export function dashed(address: string): string {
  return address.replace(/[.:]/g, '-');
}

/** Of several services of one name: the client's own namespace, the preferred one, what the namespace's own name means, any. */
function bestNamed(
  { snapshot, namespace, preferredNamespace }: NameScope,
  hostname: string,
): Service | undefined {
  const named = snapshot.servicesNamed(hostname);
  // By far the most: each name is looked for in many forms.
  if (named.length === 0) return undefined;
  const rank = (service: Service) =>
    service.namespace === namespace
      ? 0
      : service.namespace === preferredNamespace
        ? 1
        : service.canonical
          ? 2
          : 3;
  return named
    .filter((service) => service.visibility === 'PUBLIC' || service.namespace === namespace)
    .toSorted(
      (left, right) => rank(left) - rank(right) || (serviceKey(left) < serviceKey(right) ? -1 : 1),
    )[0];
}
