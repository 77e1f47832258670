import { describe, expect, it } from 'vitest';
import { structCodec } from '../../../src/kernel/codec.ts';
import type { BtfMember, BtfType } from '../../../src/native/types.ts';

const int = (size: number): BtfType => ({
  kind: 'int',
  name: `u${size * 8}`,
  size,
  signed: false,
  bool: false,
});
const address: BtfType = { kind: 'struct', name: 'hadal_address', size: 16, members: [] };
const struct = (size: number, members: BtfMember[]): BtfType => ({
  kind: 'struct',
  name: 'hadal_thing',
  size,
  members,
});

const thing = struct(40, [
  { name: 'pod_index', offset: 0, type: int(4) },
  { name: 'port', offset: 4, type: int(2) },
  { name: 'kind', offset: 6, type: int(1) },
  { name: 'reserved', offset: 7, type: int(1) },
  { name: 'address', offset: 8, type: address },
  { name: 'bytes_sent', offset: 24, type: int(8) },
  { name: 'reserved2', offset: 32, type: { kind: 'array', size: 8, length: 8, element: int(1) } },
]);

interface Thing {
  readonly podIndex: number;
  readonly port: number;
  readonly kind: number;
  readonly address: string;
  readonly bytesSent: bigint;
}
const names = ['podIndex', 'port', 'kind', 'address', 'bytesSent'] as const;
const value: Thing = { podIndex: 7, port: 65_535, kind: 255, address: '10.1.2.3', bytesSent: 2n ** 63n };

describe('a struct of BTF as a plain object', () => {
  it('is written at the offsets of BTF, little endian, with reserved members zero', () => {
    const bytes = structCodec<Thing>(thing, names).encode(value);
    expect(Buffer.from(bytes).toString('hex')).toBe(
      [
        '07000000',
        'ffff',
        'ff',
        '00',
        '00000000000000000000ffff0a010203',
        '0000000000000080',
        '0000000000000000',
      ].join(''),
    );
  });

  it.each(['10.1.2.3', '0.0.0.0', '255.255.255.255', '::', '::1', 'fd00::1', '2001:db8::ff00:42:8329'])(
    'comes back as it was with address %s',
    (text) => {
      const codec = structCodec<Thing>(thing, names);
      expect(codec.decode(codec.encode({ ...value, address: text }))).toEqual({ ...value, address: text });
    },
  );

  it('reads a mapped address as IPv4, as the kernel means it', () => {
    const codec = structCodec<Thing>(thing, names);
    expect(codec.decode(codec.encode({ ...value, address: '::ffff:10.0.0.1' })).address).toBe('10.0.0.1');
  });

  it('is found inside a longer buffer', () => {
    const codec = structCodec<Thing>(thing, names);
    const packed = new Uint8Array(3 * codec.size);
    codec.encodeInto(value, packed, codec.size);
    expect(codec.decode(packed.subarray(codec.size / 2), codec.size / 2)).toEqual(value);
  });

  it('refuses a BTF that lacks a member, or has one besides', () => {
    expect(() => structCodec<{ other: number }>(thing, ['other'])).toThrow(/lacks other/);
    expect(() => structCodec<Pick<Thing, 'podIndex'>>(thing, ['podIndex'])).toThrow(
      /has port, kind, address, bytesSent besides/,
    );
    expect(() => structCodec<Thing>(int(4), names)).toThrow(/is int, not a struct/);
  });

  it('refuses what does not fit, by name and value', () => {
    const codec = structCodec<Thing>(thing, names);
    expect(() => codec.encode({ ...value, port: 65_536 })).toThrow(
      'port is 65536, which does not fit 2 bytes',
    );
    expect(() => codec.encode({ ...value, kind: -1 })).toThrow('kind is -1');
    expect(() => codec.encode({ ...value, address: '10.0.0' })).toThrow(
      "address is '10.0.0', which is no IP address",
    );
  });
});
