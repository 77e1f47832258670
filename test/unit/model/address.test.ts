import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalAddress, isLocalOnly, parseAddress } from '../../../src/model/address.ts';
import { cidrContains, createCidr, parseCidr } from '../../../src/model/cidr.ts';

describe('parseAddress', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1', 4],
    ['255.255.255.255', '255.255.255.255', 4],
    ['::ffff:10.0.0.1', '10.0.0.1', 4],
    ['::FFFF:a00:1', '10.0.0.1', 4],
    ['0:0:0:0:0:ffff:10.0.0.1', '10.0.0.1', 4],
    ['::', '::', 6],
    ['::1', '::1', 6],
    ['::10.0.0.1', '::a00:1', 6],
    ['FD00:0:0::1', 'fd00::1', 6],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3', 6],
    ['1:0:0:2:0:0:3:4', '1::2:0:0:3:4', 6],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7', 6],
    ['1::2:3:4:5:6:7', '1:0:2:3:4:5:6:7', 6],
  ])('reads %s as %s', (text, canonical, family) => {
    expect(parseAddress(text)).toMatchObject({ text: canonical, family });
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.1 ',
    '1:2:3',
    ':::',
    '1::2::3',
    'fe80::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
    '12345::',
    '[::1]',
    '1:2:3:4:5:6:7::8:9',
    '::ffff:1.2.3.4.5',
    ':1:2:3:4:5:6:7',
    '1:2:3:4::5:6:7:8',
    '::1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:8::',
    '1:2:3:4:5:6:7:',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('agrees with Node on what an address is', () => {
    const nearly = fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:.'), maxLength: 40 });
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), nearly, fc.string()), (text) => {
        expect(parseAddress(text) !== undefined).toBe(isIPv4(text) || (isIPv6(text) && !text.includes('%')));
      }),
      { numRuns: 5000 },
    );
  });

  it('writes IPv6 as the URL standard does', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const parsed = parseAddress(text);
        fc.pre(parsed?.family === 6);
        expect(`[${parsed?.text}]`).toBe(new URL(`http://[${text}]/`).hostname);
      }),
      { numRuns: 2000 },
    );
  });

  it('reads its own text back to the same value', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (value) => {
        const groups = Array.from({ length: 8 }, (_, index) =>
          ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
        );
        const first = parseAddress(groups.join(':'));
        expect(parseAddress(first?.text ?? '')).toEqual(first);
        expect(first?.family === 4 ? (0xffffn << 32n) | first.value : first?.value).toBe(value);
      }),
    );
  });

  it('knows addresses that never leave a pod', () => {
    const isLocal = (text: string) => {
      const parsed = parseAddress(text);
      return parsed !== undefined && isLocalOnly(parsed);
    };
    expect(['127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::', '::ffff:127.0.0.1'].map(isLocal)).not.toContain(
      false,
    );
    expect(['10.0.0.1', '128.0.0.1', '::2', '0.0.0.1'].map(isLocal)).not.toContain(true);
  });
});

describe('ranges', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.0.0.1', '10.0.0.1/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['fd00:1:2::/48', 'fd00:1:2::/48'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
    ['::/0', '::/0'],
  ])('reads %s as %s', (text, canonical) => {
    expect(parseCidr(text)?.text).toBe(canonical);
  });

  it.each([
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    'fd00::/129',
    '/8',
    '::ffff:10.0.0.0/8',
    '10.0.0.0/8/8',
  ])('refuses %j', (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  it('holds exactly the addresses that share its prefix', () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(address, address, fc.nat(128), (left, right, length) => {
        const [base, other] = [parseAddress(left), parseAddress(right)];
        const cidr = base && createCidr(base, length);
        fc.pre(cidr !== undefined && base !== undefined && other !== undefined);
        const bits = (value: bigint, family: number) =>
          value
            .toString(2)
            .padStart(family === 4 ? 32 : 128, '0')
            .slice(0, length);
        const isSame =
          base.family === other.family && bits(base.value, base.family) === bits(other.value, other.family);
        expect(cidrContains(cidr, other)).toBe(isSame);
        expect(cidrContains(cidr, base)).toBe(true);
        expect(parseCidr(cidr.text)).toEqual(cidr);
      }),
      { numRuns: 2000 },
    );
  });

  it('never breaks, whatever it is given', () => {
    fc.assert(fc.property(fc.string(), (text) => [parseCidr(text), canonicalAddress(text)].length === 2));
  });
});
