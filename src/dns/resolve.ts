/** What the agent says to a query, and when it passes the query on. Pure. */
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import type { Endpoint } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { dashed, type FoundName, type FoundService, findName, type NameTable } from './find-name.ts';
import { classInternet, type Query, type Question, recordTypes, responseCodes } from './query.ts';
import { type DnsRecord, emptyReply, type Reply } from './reply.ts';
import type { ResolverConfiguration } from './resolv-conf.ts';

export interface ResolveSettings {
  readonly clusterDomain: string;
  readonly preferredNamespace: string;
}

export interface DnsClient {
  readonly workload: Workload;
  readonly configuration: Pick<ResolverConfiguration, 'search' | 'ndots'>;
}

export type Resolution =
  | { readonly kind: 'reply'; readonly reply: Reply }
  /** The nameserver that was asked knows. */
  | { readonly kind: 'forward' }
  /** It knows `target`, whose addresses stand behind the records here. */
  | { readonly kind: 'follow'; readonly records: readonly DnsRecord[]; readonly target: string };

const ttl = 30;
const mostAliases = 8;
const forward: Resolution = Object.freeze({ kind: 'forward' });
const updateOrWorse = (opcode: number) => opcode !== 0;

/** `client` undefined: the pod's own workload is not known. `random` from 0 to 1. */
export function resolve(
  snapshot: NameTable,
  client: DnsClient | undefined,
  query: Query,
  settings: ResolveSettings,
  random: () => number = Math.random,
): Resolution {
  const { question, opcode, edns } = query;
  if (updateOrWorse(opcode)) return { kind: 'reply', reply: emptyReply(responseCodes.NOTIMP) };
  if (edns !== undefined && edns.version > 0)
    return { kind: 'reply', reply: emptyReply(responseCodes.BADVERS) };
  if (client === undefined) return { kind: 'reply', reply: emptyReply(responseCodes.SERVFAIL) };
  if (question.class !== classInternet || question.name === '') return forward;
  return new Resolving(snapshot, client, settings, random).resolve(question);
}

class Resolving {
  readonly #snapshot: NameTable;
  readonly #client: DnsClient;
  readonly #settings: ResolveSettings;
  readonly #random: () => number;

  constructor(snapshot: NameTable, client: DnsClient, settings: ResolveSettings, random: () => number) {
    this.#snapshot = snapshot;
    this.#client = client;
    this.#settings = settings;
    this.#random = random;
  }

  resolve({ type, name, labels }: Question): Resolution {
    switch (type) {
      case recordTypes.A:
        return this.#addresses(name, 4);
      case recordTypes.AAAA:
        return this.#addresses(name, 6);
      case recordTypes.SRV:
        return this.#ports(name, labels);
      case recordTypes.SVCB:
      case recordTypes.HTTPS:
        return this.#serviceBindings(name);
      default:
        return forward;
    }
  }

  #addresses(asked: string, family: 4 | 6): Resolution {
    const records: DnsRecord[] = [];
    let name = asked;
    for (let step = 0; step < mostAliases; step++) {
      const found = this.#find(name);
      if (found === undefined) return step === 0 ? forward : { kind: 'follow', records, target: name };
      if (found.name !== name) records.push({ type: 'CNAME', name, ttl, target: found.name });
      name = found.name;
      if ('target' in found) {
        records.push({ type: 'CNAME', name, ttl, target: found.target });
        name = found.target;
        continue;
      }
      const addresses = this.#addressesOf(found);
      if (addresses === undefined)
        return records.length === 0 ? forward : { kind: 'follow', records, target: name };
      const own = this.#addressRecords(name, addresses, family);
      return this.#answer([...records, ...own], own.length === 0 ? name : undefined);
    }
    return { kind: 'reply', reply: emptyReply(responseCodes.SERVFAIL) };
  }

  /** `_http._tcp.catalog...`: the service's port of that name, and where its endpoints have it. */
  #ports(asked: string, [port = '', protocol = '', ...rest]: readonly string[]): Resolution {
    if (!port.startsWith('_') || protocol !== '_tcp' || rest.length === 0) return this.#emptyIfOurs(asked);
    const found = this.#find(rest.join('.'));
    if (found === undefined || 'target' in found || found.endpoints !== undefined) return forward;
    const { service, name } = found;
    const wanted = service.ports.find((each) => each.name === port.slice(1));
    // The mesh knows names of ports only from a control plane that tells them; the cluster's DNS knows them always.
    if (wanted === undefined) return forward;
    const owner = `${port}.${protocol}.${name}`;
    const alias: DnsRecord[] = owner === asked ? [] : [{ type: 'CNAME', name: asked, ttl, target: owner }];
    const srv = (target: string, number: number): DnsRecord => ({
      type: 'SRV',
      name: owner,
      ttl,
      weight: 100,
      port: number,
      target,
    });
    if (service.addresses.length > 0) {
      const addresses = this.#addressesOf(found);
      if (addresses === undefined) return forward;
      return this.#answer(
        [...alias, srv(name, wanted.servicePort)],
        undefined,
        this.#bothFamilies(name, addresses),
      );
    }
    const endpoints = this.#shuffled(this.#endpointsOf(service));
    const targets = endpoints.map((endpoint) => {
      const target = `${endpointLabel(endpoint)}.${service.hostname}`;
      const own = endpoint.ports.find((each) => each.servicePort === wanted.servicePort)?.targetPort;
      return {
        target,
        number: own || wanted.targetPort || wanted.servicePort,
        addresses: endpoint.workload.addresses,
      };
    });
    return this.#answer(
      [...alias, ...targets.map(({ target, number }) => srv(target, number))],
      targets.length === 0 ? name : undefined,
      targets.flatMap(({ target, addresses }) => this.#bothFamilies(target, addresses)),
    );
  }

  /** Hints of addresses in such records would lead past the service's own address. */
  #serviceBindings(name: string): Resolution {
    const found = this.#find(name);
    if (found === undefined || 'target' in found || this.#addressesOf(found) === undefined) return forward;
    return this.#answer([], found.name);
  }

  #emptyIfOurs(name: string): Resolution {
    return this.#find(name) === undefined ? forward : this.#answer([], name);
  }

  #find(name: string): FoundName | undefined {
    const { workload, configuration } = this.#client;
    const { preferredNamespace } = this.#settings;
    const scope = { snapshot: this.#snapshot, namespace: workload.namespace, preferredNamespace };
    return findName(scope, name, configuration);
  }

  /** In the client's network, of both families. Undefined where only the outside world knows. */
  #addressesOf({ service, endpoints }: FoundService): readonly string[] | undefined {
    if (endpoints === undefined && service.addresses.length > 0) {
      const single = service.addresses.filter(({ address, length }) => isSingle(address, length));
      // A service that is a range of addresses, or carries what goes to addresses known elsewhere.
      if (single.length === 0) return undefined;
      return single
        .filter(({ network }) => network === this.#client.workload.network)
        .map(({ address }) => address);
    }
    if (service.loadBalancing.mode === 'PASSTHROUGH') return undefined;
    const all = endpoints ?? this.#snapshot.endpointsOf(serviceKey(service));
    if (all.length > 0 && all.every(({ workload }) => workload.addresses.length === 0)) return undefined;
    return [...new Set(this.#near(all).flatMap(({ workload }) => workload.addresses))];
  }

  #endpointsOf(service: Service): readonly Endpoint[] {
    return this.#near(this.#snapshot.endpointsOf(serviceKey(service)));
  }

  #near(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    return endpoints.filter(({ workload }) => workload.network === this.#client.workload.network);
  }

  #bothFamilies(name: string, addresses: readonly string[]): DnsRecord[] {
    return [...this.#addressRecords(name, addresses, 4), ...this.#addressRecords(name, addresses, 6)];
  }

  /** A client without an address of the family could not reach them. */
  #addressRecords(name: string, addresses: readonly string[], family: 4 | 6): DnsRecord[] {
    const own = this.#client.workload.addresses;
    if (own.length > 0 && !own.some((address) => familyOf(address) === family)) return [];
    const type = family === 4 ? 'A' : 'AAAA';
    return this.#shuffled(addresses.filter((address) => familyOf(address) === family)).map((address) => ({
      type,
      name,
      ttl,
      address,
    }));
  }

  /** `empty`: the name that exists and has no such record. */
  #answer(
    answers: readonly DnsRecord[],
    empty: string | undefined,
    additional: readonly DnsRecord[] = [],
  ): Resolution {
    const authority: DnsRecord[] =
      empty === undefined ? [] : [{ type: 'SOA', name: this.#zoneOf(empty), ttl }];
    return {
      kind: 'reply',
      reply: { code: responseCodes.NOERROR, authoritative: true, answers, authority, additional },
    };
  }

  #zoneOf(name: string): string {
    const { clusterDomain } = this.#settings;
    return name.endsWith(`.${clusterDomain}`) ? clusterDomain : name;
  }

  #shuffled<T>(values: readonly T[]): T[] {
    const shuffled = [...values];
    for (let last = shuffled.length - 1; last > 0; last--) {
      const other = Math.floor(this.#random() * (last + 1));
      [shuffled[last], shuffled[other]] = [shuffled[other] as T, shuffled[last] as T];
    }
    return shuffled;
  }
}

function endpointLabel({ workload }: Endpoint): string {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(workload.name)
    ? workload.name
    : dashed(workload.addresses[0] ?? '');
}

function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

function isSingle(address: string, length: number | undefined): boolean {
  return length === undefined || length === (familyOf(address) === 4 ? 32 : 128);
}
