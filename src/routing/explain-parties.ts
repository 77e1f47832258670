/** The two ends of a connection that somebody asks about, as people write them. */
import { HadalError } from '../base/errors.ts';
import { type IpAddress, parseAddress } from '../model/address.ts';
import { parseAuthority } from '../model/authority.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { bestService } from './find-service.ts';

export type ExplainSource =
  | { readonly kind: 'workload'; readonly workload: Workload; readonly address: IpAddress }
  /** Somebody that the mesh does not know. */
  | { readonly kind: 'address'; readonly address: IpAddress };

export interface ExplainDestination {
  readonly address: IpAddress;
  readonly port: number;
}

/** `namespace/name`, a name that only one workload has, a uid, or an address. */
export function findSource(snapshot: MeshSnapshot, network: string, text: string): ExplainSource {
  const address = parseAddress(text);
  if (address !== undefined) {
    const workload = preferred(snapshot.workloadsAt(network, address.text))[0];
    return workload === undefined ? { kind: 'address', address } : { kind: 'workload', workload, address };
  }
  const workload = findWorkload(snapshot, text);
  const own = parseAddress(workload.addresses[0] ?? '');
  if (own === undefined) throw asked(`the source ${text} (${workload.uid}) has no address yet`);
  return { kind: 'workload', workload, address: own };
}

/** `address:port`, `service:port` (as in DNS, also shortened), or `namespace/workload:port`. */
export function findDestination(
  snapshot: MeshSnapshot,
  source: ExplainSource,
  text: string,
): ExplainDestination {
  const slash = text.indexOf('/');
  const parsed = parseAuthority(slash < 0 ? text : text.slice(slash + 1));
  if (parsed === undefined) {
    throw asked(
      `the destination ${JSON.stringify(text)} is not ADDRESS:PORT, SERVICE:PORT or NAMESPACE/WORKLOAD:PORT`,
    );
  }
  if (parsed.kind === 'address') return parsed;
  const { hostname, port } = parsed;
  if (slash >= 0) {
    const workload = findWorkload(snapshot, `${text.slice(0, slash)}/${hostname}`);
    return { address: firstAddress(workload.addresses, `workload ${workload.uid}`), port };
  }
  const namespace = source.kind === 'workload' ? source.workload.namespace : '';
  const service = findService(snapshot, hostname, namespace);
  if (service === undefined) {
    throw asked(`no service is called ${hostname}; hadal services lists them, an address does as well`);
  }
  const virtual = service.addresses.filter(({ length }) => length === undefined);
  // A headless service has none: callers get the addresses of its endpoints.
  const endpoints = snapshot.endpointsOf(serviceKey(service)).flatMap(({ workload }) => workload.addresses);
  const addresses = virtual.length > 0 ? virtual.map(({ address }) => address) : endpoints;
  return { address: firstAddress(addresses, `service ${serviceKey(service)}`), port };
}

function firstAddress(addresses: readonly string[], whose: string): IpAddress {
  const address = parseAddress(addresses[0] ?? '');
  if (address === undefined) throw asked(`${whose} has no address`);
  return address;
}

/** By its whole name, else by what a pod would make of a short one: name, name.namespace, name.namespace.svc. */
function findService(snapshot: MeshSnapshot, hostname: string, namespace: string): Service | undefined {
  const named = snapshot.servicesNamed(hostname);
  if (named.length > 0) return bestService(named, namespace);
  const [name = '', within = namespace, ...rest] = hostname.split('.');
  const isShort = rest.length === 0 || (rest.length === 1 && rest[0] === 'svc');
  if (!isShort) return undefined;
  return [...snapshot.services.values()].find(
    (service) => service.name === name && service.namespace === within,
  );
}

function findWorkload(snapshot: MeshSnapshot, text: string): Workload {
  const whole = snapshot.workloads.get(text);
  if (whole !== undefined) return whole;
  const [namespace, name] = text.includes('/') ? text.split('/') : [undefined, text];
  const within = [...snapshot.workloads.values()].filter(
    (workload) => namespace === undefined || workload.namespace === namespace,
  );
  const exact = within.filter((workload) => workload.name === name);
  // All pods of a Deployment are alike: any of them answers for it.
  const owned = within.filter((workload) => workload.workloadName === name);
  const found = exact.length > 0 ? exact : owned;
  const namespaces = [...new Set(found.map((workload) => workload.namespace))];
  if (namespaces.length > 1) {
    throw asked(`${text} is in several namespaces (${namespaces.join(', ')}); say NAMESPACE/${text}`);
  }
  const [first] = preferred(found);
  if (first === undefined) throw asked(`no workload is called ${text}; hadal workloads lists them`);
  return first;
}

/** In the mesh before out of it, healthy before not, then by uid, so that everybody answers the same. */
function preferred(workloads: readonly Workload[]): Workload[] {
  const rank = (workload: Workload) =>
    Number(workload.tunnelProtocol === 'HBONE') * 2 + Number(workload.status === 'HEALTHY');
  return workloads.toSorted((left, right) => rank(right) - rank(left) || (left.uid < right.uid ? -1 : 1));
}

function asked(why: string): HadalError<'ERR_REQUEST'> {
  return new HadalError('ERR_REQUEST', why);
}
