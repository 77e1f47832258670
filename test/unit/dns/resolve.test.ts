import { describe, expect, it } from 'vitest';
import type { DnsRecord } from '../../../src/dns/reply.ts';
import { type DnsClient, type ResolveSettings, resolve } from '../../../src/dns/resolve.ts';
import { createService, type ServiceFields } from '../../../src/model/service.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload, type WorkloadFields } from '../../../src/model/workload.ts';
import { query } from './messages.ts';

const domain = 'cluster.local';
const at = (network: string, ...addresses: string[]) =>
  addresses.map((text) => {
    const [address = '', length] = text.split('/');
    return { network, address, length: length === undefined ? undefined : Number(length) };
  });
const kubernetes = (name: string, namespace: string, fields: Partial<ServiceFields> = {}) =>
  createService({
    name,
    namespace,
    hostname: `${name}.${namespace}.svc.${domain}`,
    canonical: true,
    ...fields,
  });
const entry = (hostname: string, namespace: string, fields: Partial<ServiceFields> = {}) =>
  createService({ name: hostname, namespace, hostname, ...fields });
const endpoint = (name: string, service: string, fields: Partial<WorkloadFields> = {}) =>
  createWorkload({ uid: name, name, namespace: 'shop', services: [{ service, ports: [] }], ...fields });

const stock = `shop/stock.shop.svc.${domain}`;
const snapshot = createSnapshot({
  workloads: [
    endpoint('stock-0', stock, { addresses: ['10.0.0.1', 'fd00::1'] }),
    endpoint('stock-1', stock, { addresses: ['10.0.0.2'] }),
    endpoint('stock-ill', stock, { addresses: ['10.0.0.3'], status: 'UNHEALTHY' }),
    endpoint('stock-far', stock, { addresses: ['10.0.0.4'], network: 'far' }),
    endpoint('named', 'shop/named.example', { hostname: 'real.example' }),
  ],
  services: [
    kubernetes('catalog', 'shop', {
      addresses: [...at('', '10.96.0.1', 'fd96::1'), ...at('far', '10.97.0.1')],
      ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11', name: 'http' }],
    }),
    kubernetes('only4', 'shop', { addresses: at('', '10.96.0.4') }),
    kubernetes('stock', 'shop', {
      ports: [{ servicePort: 70, targetPort: 7070, appProtocol: 'TCP', name: 'stock' }],
    }),
    kubernetes('empty', 'shop'),
    kubernetes('secret', 'other', { addresses: at('', '10.96.0.7'), visibility: 'NAMESPACE' }),
    entry('api.example', 'shop', { addresses: at('', '240.240.0.1') }),
    entry('api.example', 'other', { addresses: at('', '240.240.0.2') }),
    entry('twice.example', 'x', { addresses: at('', '240.240.1.1') }),
    entry('twice.example', 'y', { addresses: at('', '240.240.1.2'), canonical: true }),
    entry('twice.example', 'z', { addresses: at('', '240.240.1.3') }),
    entry('*.wild.example', 'shop', { addresses: at('', '240.240.0.9') }),
    entry('*.deep.wild.example', 'shop', { addresses: at('', '240.240.0.10') }),
    entry('range.example', 'shop', { addresses: at('', '192.0.2.0/24') }),
    entry('pass.example', 'shop', {
      loadBalancing: { mode: 'PASSTHROUGH', routingPreference: [], healthPolicy: 'ALLOW_ALL' },
    }),
    entry('named.example', 'shop'),
  ],
  policies: [],
});
const aliases = new Map([
  [`old.shop.svc.${domain}`, `catalog.shop.svc.${domain}`],
  [`away.shop.svc.${domain}`, 'www.example.org'],
  [`loop.shop.svc.${domain}`, `loop.shop.svc.${domain}`],
]);
const names = {
  servicesNamed: (hostname: string) => snapshot.servicesNamed(hostname),
  endpointsOf: (service: string) => snapshot.endpointsOf(service),
  aliasesNamed: (hostname: string) => {
    const target = aliases.get(hostname);
    return target === undefined ? [] : [{ namespace: 'shop', hostname, target }];
  },
};

const settings: ResolveSettings = { clusterDomain: domain, preferredNamespace: '' };
const client = (
  fields: Partial<WorkloadFields> = {},
  search = [`shop.svc.${domain}`, `svc.${domain}`, domain],
  ndots = 5,
): DnsClient => ({
  workload: createWorkload({
    uid: 'client',
    namespace: 'shop',
    addresses: ['10.0.0.9', 'fd00::9'],
    ...fields,
  }),
  configuration: { search, ndots },
});

const told = (record: DnsRecord) => {
  switch (record.type) {
    case 'A':
    case 'AAAA':
      return record.address;
    case 'CNAME':
      return `${record.name} -> ${record.target}`;
    case 'SRV':
      return `${record.target}:${record.port}`;
    case 'SOA':
      return `SOA ${record.name}`;
  }
};

function ask(
  name: string,
  type = 'A',
  options: { client?: DnsClient | undefined; settings?: Partial<ResolveSettings> } = {},
) {
  const asking = 'client' in options ? options.client : client();
  const found = resolve(names, asking, query(name, type), { ...settings, ...options.settings }, () => 0.99);
  if (found.kind === 'reply') {
    const { reply } = found;
    return {
      code: reply.code,
      answers: reply.answers.map(told),
      authority: reply.authority.map(told),
      additional: reply.additional.map(told),
      authoritative: reply.authoritative,
      ttls: [...new Set(reply.answers.map(({ ttl }) => ttl))],
    };
  }
  return found.kind === 'follow' ? { follow: found.target, answers: found.records.map(told) } : 'forward';
}

const soa = (name: string) => ({ code: 0, answers: [], authority: [`SOA ${name}`], authoritative: true });

describe('a query', () => {
  it.each([
    ['the address of a service', `catalog.shop.svc.${domain}`, 'A', ['10.96.0.1']],
    ['its IPv6 address', `catalog.shop.svc.${domain}`, 'AAAA', ['fd96::1']],
    [
      'healthy endpoints of a headless service, in the client’s network',
      `stock.shop.svc.${domain}`,
      'A',
      ['10.0.0.1', '10.0.0.2'],
    ],
    ['an endpoint by its name', `stock-1.stock.shop.svc.${domain}`, 'A', ['10.0.0.2']],
    ['an endpoint by its address', `10-0-0-1.stock.shop.svc.${domain}`, 'AAAA', ['fd00::1']],
    ['a host outside', 'api.example', 'A', ['240.240.0.1']],
    ['a name below a wildcard', 'a.b.wild.example', 'A', ['240.240.0.9']],
    ['the longest wildcard', 'a.deep.wild.example', 'A', ['240.240.0.10']],
    ['one name of several namespaces: the canonical one', 'twice.example', 'A', ['240.240.1.2']],
  ])('for %s is answered', (_, name, type, answers) => {
    expect(ask(name, type)).toMatchObject({
      code: 0,
      answers,
      authority: [],
      authoritative: true,
      ttls: [30],
    });
  });

  it('prefers the client’s namespace, then the preferred one, then the canonical service', () => {
    expect(ask('twice.example', 'A', { settings: { preferredNamespace: 'z' } })).toMatchObject({
      answers: ['240.240.1.3'],
    });
    expect(ask('api.example', 'A', { client: client({ namespace: 'other' }) })).toMatchObject({
      answers: ['240.240.0.2'],
    });
    expect(
      ask('twice.example', 'A', {
        client: client({ namespace: 'x' }),
        settings: { preferredNamespace: 'z' },
      }),
    ).toMatchObject({ answers: ['240.240.1.1'] });
  });

  it.each([
    ['a name that nobody here has', 'www.example.org', 'A'],
    ['an unknown name of the cluster', `nobody.shop.svc.${domain}`, 'A'],
    ['a pod of the cluster', `10-0-0-1.shop.pod.${domain}`, 'A'],
    ['a service of another namespace that is not for all', `secret.other.svc.${domain}`, 'A'],
    ['the parent of a wildcard', 'wild.example', 'A'],
    ['other records of a known name', `catalog.shop.svc.${domain}`, 'TXT'],
    ['a service that is a range of addresses', 'range.example', 'A'],
    ['a service that goes where the name leads', 'pass.example', 'A'],
    ['a service whose endpoints are known by name alone', 'named.example', 'A'],
    ['a port whose name the mesh does not know', `_grpc._tcp.catalog.shop.svc.${domain}`, 'SRV'],
    ['a host outside without port names', '_http._tcp.api.example', 'SRV'],
  ])('for %s goes to the nameserver', (_, name, type) => {
    expect(ask(name, type)).toBe('forward');
  });

  it.each([
    ['the other family of a service', `only4.shop.svc.${domain}`, 'AAAA', domain],
    ['a headless service without endpoints', `empty.shop.svc.${domain}`, 'A', domain],
    ['the other family of a host outside', 'api.example', 'AAAA', 'api.example'],
    ['hints past the service’s address', 'api.example', 'UNKNOWN_65', 'api.example'],
    ['no port at all', `catalog.shop.svc.${domain}`, 'SRV', domain],
  ])('for %s is answered with nothing, and who says so', (_, name, type, zone) => {
    expect(ask(name, type)).toMatchObject(soa(zone));
  });

  it('is answered with addresses that its client can use', () => {
    const only4 = { client: client({ addresses: ['10.0.0.9'] }) };
    expect(ask(`catalog.shop.svc.${domain}`, 'AAAA', only4)).toMatchObject(soa(domain));
    const far = { client: client({ network: 'far' }) };
    expect(ask(`catalog.shop.svc.${domain}`, 'A', far)).toMatchObject({ answers: ['10.97.0.1'] });
    expect(ask(`stock.shop.svc.${domain}`, 'A', far)).toMatchObject({ answers: ['10.0.0.4'] });
  });

  it('for a port tells where it is, with the addresses', () => {
    expect(ask(`_http._tcp.catalog.shop.svc.${domain}`, 'SRV')).toMatchObject({
      answers: [`catalog.shop.svc.${domain}:80`],
      additional: ['10.96.0.1', 'fd96::1'],
    });
    expect(ask(`_stock._tcp.stock.shop.svc.${domain}`, 'SRV')).toMatchObject({
      answers: [`stock-0.stock.shop.svc.${domain}:7070`, `stock-1.stock.shop.svc.${domain}:7070`],
      additional: ['10.0.0.1', 'fd00::1', '10.0.0.2'],
    });
  });

  describe('under search domains', () => {
    it('finds what the client’s resolver meant, and says which name it is', () => {
      expect(ask(`api.example.shop.svc.${domain}`)).toMatchObject({
        answers: [`api.example.shop.svc.${domain} -> api.example`, '240.240.0.1'],
      });
      expect(ask('catalog')).toMatchObject({
        answers: [`catalog -> catalog.shop.svc.${domain}`, '10.96.0.1'],
      });
      expect(ask('catalog.shop')).toMatchObject({
        answers: [`catalog.shop -> catalog.shop.svc.${domain}`, '10.96.0.1'],
      });
    });

    it('follows those of the pod, not those that most pods have', () => {
      const own = { client: client({}, ['corp.example', `other.svc.${domain}`]) };
      expect(ask('catalog', 'A', own)).toBe('forward');
      expect(ask('api.example.corp.example', 'A', own)).toMatchObject({
        answers: ['api.example.corp.example -> api.example', '240.240.0.1'],
      });
    });

    it('counts dots as the pod says', () => {
      const few = { client: client({}, [`svc.${domain}`], 1) };
      expect(ask('catalog.shop', 'A', few)).toBe('forward');
      expect(ask('catalog.shop', 'A', { client: client({}, [`svc.${domain}`], 2) })).toMatchObject({
        code: 0,
      });
    });
  });

  describe('for an alias', () => {
    it('is followed inside the mesh', () => {
      expect(ask(`old.shop.svc.${domain}`)).toMatchObject({
        answers: [`old.shop.svc.${domain} -> catalog.shop.svc.${domain}`, '10.96.0.1'],
      });
    });

    it('is followed by the nameserver outside', () => {
      expect(ask(`away.shop.svc.${domain}`)).toEqual({
        follow: 'www.example.org',
        answers: [`away.shop.svc.${domain} -> www.example.org`],
      });
    });

    it('that leads to itself fails', () => {
      expect(ask(`loop.shop.svc.${domain}`)).toMatchObject({ code: 2, answers: [] });
    });
  });

  it('of an unknown pod fails, an UPDATE is not implemented, a later EDNS is not spoken', () => {
    expect(ask('catalog', 'A', { client: undefined })).toMatchObject({ code: 2, answers: [] });
    expect(resolve(names, client(), query('catalog', 'A', { opcode: 'UPDATE' }), settings)).toMatchObject({
      reply: { code: 4 },
    });
    const later = query('catalog', 'A', { udpBytes: 1232, ednsVersion: 1 });
    expect(resolve(names, client(), later, settings)).toMatchObject({ reply: { code: 16 } });
  });

  it('meets addresses in an order that differs', () => {
    const orders = new Set(
      Array.from({ length: 60 }, () => {
        const found = resolve(names, client(), query(`stock.shop.svc.${domain}`), settings);
        return found.kind === 'reply' ? found.reply.answers.map(told).join() : '';
      }),
    );
    expect(orders.size).toBe(2);
  });
});
