import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalHostname,
  formatAuthority,
  parseAuthority,
  parsePort,
} from '../../../src/model/authority.ts';
import { formatSpiffeId, isTrustDomain, parseSpiffeId } from '../../../src/model/spiffe-id.ts';
import { addressText } from './arbitraries.ts';

describe('SPIFFE ids', () => {
  it('reads the one form there is', () => {
    expect(parseSpiffeId('spiffe://cluster.local/ns/shop/sa/front')).toEqual({
      trustDomain: 'cluster.local',
      namespace: 'shop',
      serviceAccount: 'front',
    });
  });

  it.each([
    '',
    'cluster.local/ns/shop/sa/front',
    'SPIFFE://cluster.local/ns/shop/sa/front',
    'spiffe://cluster.local/ns/shop/sa/front/',
    'spiffe://cluster.local/ns/shop/sa/front/more',
    'spiffe://cluster.local/ns/shop/sa/',
    'spiffe://cluster.local/ns//sa/front',
    'spiffe:///ns/shop/sa/front',
    'spiffe://Cluster.local/ns/shop/sa/front',
    'spiffe://cluster.local/sa/front/ns/shop',
    'spiffe://cluster.local/ns/shop/sa/fr ont',
    'spiffe://cluster.local/ns/../sa/front',
    'spiffe://cluster.local/ns/shop/sa/front?x=1',
    'spiffe://cluster.local:80/ns/shop/sa/front',
    'spiffe://user@cluster.local/ns/shop/sa/front',
    'spiffe://cluster.local/ns/shop/sa/fr%6fnt',
    `spiffe://cluster.local/ns/shop/sa/${'x'.repeat(254)}`,
    'spiffe://cluster.local/ns/shop/sa/front\n',
  ])('refuses %j', (text) => {
    expect(parseSpiffeId(text)).toBeUndefined();
  });

  it('comes back from its text, and only its own text makes it', () => {
    const part = fc.string({ unit: fc.constantFrom(...'abz09-_.'), minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(part, part, part, (trustDomain, namespace, serviceAccount) => {
        fc.pre(![namespace, serviceAccount].some((each) => each === '.' || each === '..'));
        const id = { trustDomain, namespace, serviceAccount };
        expect(parseSpiffeId(formatSpiffeId(id))).toEqual(id);
      }),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string({ unit: fc.constantFrom(...'ab/.%? ') }).map((path) => `spiffe://td/ns${path}`),
        ),
        (text) => {
          const id = parseSpiffeId(text);
          expect(id === undefined || formatSpiffeId(id) === text).toBe(true);
        },
      ),
    );
  });

  it('knows trust domains', () => {
    expect(['cluster.local', 'td', 'a_b-c.9'].map(isTrustDomain)).not.toContain(false);
    expect(['', 'A', 'a/b', 'a b', 'a:1', 'x'.repeat(256)].map(isTrustDomain)).not.toContain(true);
  });
});

describe('authorities', () => {
  it.each([
    ['10.0.0.1:80', { kind: 'address', port: 80, address: { text: '10.0.0.1' } }],
    ['[fd00::1]:8080', { kind: 'address', port: 8080, address: { text: 'fd00::1' } }],
    ['[::ffff:10.0.0.1]:80', { kind: 'address', port: 80, address: { text: '10.0.0.1' } }],
    [
      'catalog.shop.svc.cluster.local:80',
      { kind: 'hostname', port: 80, hostname: 'catalog.shop.svc.cluster.local' },
    ],
    ['Catalog.Shop.svc.:80', { kind: 'hostname', port: 80, hostname: 'catalog.shop.svc' }],
    ['a:65535', { kind: 'hostname', port: 65_535, hostname: 'a' }],
  ])('reads %s', (text, expected) => {
    expect(parseAuthority(text)).toMatchObject(expected);
  });

  it.each([
    '',
    ':80',
    '10.0.0.1',
    '10.0.0.1:',
    '10.0.0.1:0',
    '10.0.0.1:65536',
    '10.0.0.1:080',
    '10.0.0.1:+80',
    '10.0.0.256:80',
    'fd00::1:80',
    '[fd00::1]',
    '[10.0.0.1]:80',
    '[fd00::1%eth0]:80',
    '[fd00::1]]:80',
    'user@host:80',
    'host/path:80',
    'ho st:80',
    '-host:80',
    'host-:80',
    'a..b:80',
    'host.123:80',
    `${'a'.repeat(64)}.com:80`,
    `${'a.'.repeat(130)}b:80`,
    'host:80\r\n',
  ])('refuses %j', (text) => {
    expect(parseAuthority(text)).toBeUndefined();
  });

  it('comes back from its text', () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    const host = fc.oneof(
      addressText,
      fc.domain().filter((name) => canonicalHostname(name) === name),
    );
    fc.assert(
      fc.property(host, port, (name, number) => {
        const parsed = parseAuthority(formatAuthority(name, number));
        const back = parsed?.kind === 'address' ? parsed.address.text : parsed?.hostname;
        expect([back, parsed?.port]).toEqual([name, number]);
      }),
    );
  });

  it('accepts nothing that writes back as something else, but for the forms named above', () => {
    const nearly = fc.string({ unit: fc.constantFrom(...'ab01.:[]-_@/ '), maxLength: 24 });
    fc.assert(
      fc.property(fc.oneof(nearly, fc.string()), (text) => {
        const parsed = parseAuthority(text);
        if (parsed?.kind === 'hostname') {
          expect(formatAuthority(parsed.hostname, parsed.port)).toBe(
            text.toLowerCase().replace(/\.(?=:\d+$)/, ''),
          );
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('reads ports in plain decimal only', () => {
    expect(['1', '80', '65535'].map(parsePort)).toEqual([1, 80, 65_535]);
    expect(['', '0', '-1', '65536', '1e3', '0x50', ' 80', '٣'].map(parsePort)).toEqual(
      new Array(8).fill(undefined),
    );
  });
});
