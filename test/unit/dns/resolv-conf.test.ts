import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseResolvConf } from '../../../src/dns/resolv-conf.ts';

it('a resolv.conf is read as C libraries read it', () => {
  const text = [
    '# comment',
    'nameserver 10.96.0.10',
    'nameserver fe80::1%eth0',
    'nameserver not.an.address',
    'search old.example',
    'search Shop.svc.cluster.local. svc.cluster.local\tcluster.local',
    'options timeout:1 ndots:5 rotate',
    'sortlist 10.0.0.0',
  ].join('\n');
  expect(parseResolvConf(text)).toEqual({
    nameservers: ['10.96.0.10', 'fe80::1'],
    search: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
    ndots: 5,
  });
});

it('an empty one looks names up as they are', () => {
  expect(parseResolvConf('')).toEqual({ nameservers: [], search: [], ndots: 1 });
  expect(parseResolvConf('domain shop.example ignored\noptions ndots:99\n')).toMatchObject({
    search: ['shop.example'],
    ndots: 15,
  });
});

it('nothing in it throws, and nothing in it is unbounded', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 2_000 }), (text) => {
      const { nameservers, search, ndots } = parseResolvConf(`${text}\n${'nameserver 10.0.0.1\n'.repeat(9)}`);
      expect(nameservers.length).toBeLessThanOrEqual(3);
      expect(search.length).toBeLessThanOrEqual(32);
      expect(ndots).toBeLessThanOrEqual(15);
    }),
  );
});
