import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfMap, BpfObject } from '../../src/native/types.ts';
import { KernelFixture, kernelTestsUnavailable } from './fixture.ts';

const key = (number: number): Uint8Array => {
  const bytes = new Uint8Array(20);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return bytes;
};
const value = (number: number): Uint8Array => {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number), true);
  return bytes;
};
const slot = (number: number): Uint8Array => new Uint8Array(Uint32Array.of(number).buffer);
const pack = (parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const descriptorOf = (server: Server): number =>
  (server as unknown as { _handle: { fd: number } })._handle.fd;

describe.skipIf(kernelTestsUnavailable)('a BPF map', () => {
  const fixture = new KernelFixture();
  const addon = nativeAddon();
  let object: BpfObject;
  let pairs: BpfMap;
  let server: Server;

  beforeAll(async () => {
    object = addon.openObject(fixture.compile('basics'));
    object.load();
    server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
  });
  afterAll(() => {
    server?.close();
    object?.close();
    fixture.dispose();
  });
  beforeEach(() => {
    pairs = object.map('pairs');
    for (const existing of pairs.keys()) pairs.delete(existing);
  });

  it('describes itself', () => {
    expect(pairs).toMatchObject({ name: 'pairs', type: 'hash', keySize: 20, valueSize: 32, maxEntries: 64 });
    expect(pairs.keyType).toMatchObject({ kind: 'struct', name: 'pair_key' });
    expect(pairs.valueType).toMatchObject({ kind: 'struct', name: 'pair_value' });
    expect(pairs.id).toBeGreaterThan(0);
    expect(object.map('pairs').fd).not.toBe(pairs.fd);
  });

  it('gets, sets and deletes', () => {
    expect(pairs.get(key(1))).toBeUndefined();
    pairs.set(key(1), value(10));
    expect(pairs.get(key(1))).toEqual(value(10));
    expect(() => pairs.set(key(1), value(11), 'create')).toThrow(/File exists/);
    expect(() => pairs.set(key(2), value(11), 'replace')).toThrow(/No such file/);
    pairs.set(key(1), value(12), 'replace');
    pairs.set(key(2), value(13), 'create');
    expect(pairs.get(key(1))).toEqual(value(12));
    expect(pairs.delete(key(1))).toBe(true);
    expect(pairs.delete(key(1))).toBe(false);
    expect(() => pairs.set(key(1), value(1), 'maybe' as never)).toThrow(/'any', 'create' or 'replace'/);
  });

  it('takes views into larger buffers', () => {
    const large = new Uint8Array(100).fill(9);
    pairs.set(large.subarray(3, 23), large.subarray(40, 72));
    expect(pairs.get(new Uint8Array(20).fill(9))).toEqual(new Uint8Array(32).fill(9));
    expect(pairs.get(Buffer.alloc(20, 9))).toEqual(new Uint8Array(32).fill(9));
  });

  it('refuses keys and values of the wrong size or kind', () => {
    expect(() => pairs.get(new Uint8Array(19))).toThrow('map pairs: the key has 19 bytes, expected 20 bytes');
    expect(() => pairs.set(key(1), new Uint8Array(33))).toThrow('the value has 33 bytes, expected 32 bytes');
    expect(() => pairs.get('x' as never)).toThrow('key must be a Uint8Array, not a string');
    expect(() => pairs.get(new Uint16Array(10) as never)).toThrow('a typed array of another kind');
    const detached = new Uint8Array(20);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    expect(() => pairs.get(detached)).toThrow('the key has 0 bytes');
  });

  it('lists its keys and entries', () => {
    const wanted = new Map(Array.from({ length: 50 }, (_, i) => [i, i * 2]));
    for (const [k, v] of wanted) pairs.set(key(k), value(v));
    const numberOf = (bytes: Uint8Array): number =>
      new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    expect(
      pairs
        .keys()
        .map(numberOf)
        .sort((a, b) => a - b),
    ).toEqual([...wanted.keys()]);
    expect(new Map(pairs.entries().map(([k, v]) => [numberOf(k), numberOf(v)]))).toEqual(wanted);
    expect(pairs.keys()[0]).toHaveLength(20);
  });

  it('sets and deletes many, and says how many there was room for', () => {
    const count = 40;
    const keys = pack(Array.from({ length: count }, (_, i) => key(i)));
    const values = pack(Array.from({ length: count }, (_, i) => value(i)));
    expect(pairs.setBatch(keys, values)).toBe(count);
    expect(pairs.get(key(39))).toEqual(value(39));
    expect(pairs.deleteBatch(pack([key(0), key(1000), key(1), key(1001), key(2)]))).toBe(3);
    expect(pairs.keys()).toHaveLength(count - 3);
    const many = Array.from({ length: 100 }, (_, i) => i + 2000);
    const written = pairs.setBatch(pack(many.map(key)), pack(many.map(value)));
    expect(written).toBeLessThan(100);
    expect(pairs.keys()).toHaveLength(count - 3 + written);
    expect(() => pairs.setBatch(new Uint8Array(20), new Uint8Array(64))).toThrow(/not the same number/);
    expect(() => pairs.deleteBatch(new Uint8Array(21))).toThrow(/no whole number of keys/);
    expect(pairs.setBatch(new Uint8Array(0), new Uint8Array(0))).toBe(0);
    expect(pairs.deleteBatch(new Uint8Array(0))).toBe(0);
  });

  it('gives a per-CPU value one slot per CPU', () => {
    const counters = object.map('counters');
    expect(counters.valueSize).toBe(4);
    const all = new Uint8Array(8 * addon.cpuCount).fill(1);
    counters.set(slot(0), all);
    const read = counters.get(slot(0)) as Uint8Array;
    expect(read).toHaveLength(8 * addon.cpuCount);
    expect(read.subarray(0, 4)).toEqual(Uint8Array.of(1, 1, 1, 1));
    expect(() => counters.set(slot(0), new Uint8Array(4))).toThrow(/one slot per CPU/);
    expect(counters.entries()).toHaveLength(4);
    expect(counters.keys()).toHaveLength(4);
    expect(() => counters.delete(slot(0))).toThrow(/cannot delete a key/);
  });

  it('works where the kernel has no batch calls for its type', () => {
    const ranges = object.map('ranges');
    const prefix = (...address: number[]): Uint8Array => Uint8Array.of(32, 0, 0, 0, ...address);
    expect(ranges.setBatch(pack([prefix(10, 0, 0, 1), prefix(10, 0, 0, 2)]), pack([slot(1), slot(2)]))).toBe(
      2,
    );
    expect(ranges.entries()).toHaveLength(2);
    expect(ranges.deleteBatch(pack([prefix(10, 0, 0, 1), prefix(10, 0, 0, 9), prefix(10, 0, 0, 2)]))).toBe(2);
  });

  it('holds sockets by their descriptor', () => {
    const listeners = object.map('listeners');
    listeners.setSocket(slot(1), descriptorOf(server));
    expect(listeners.delete(slot(1))).toBe(true);
    expect(listeners.delete(slot(1))).toBe(false);
    expect(() => listeners.setSocket(slot(9), descriptorOf(server))).toThrow(/cannot put socket/);
    expect(() => pairs.setSocket(key(1), descriptorOf(server))).toThrow('map pairs holds no sockets');
    expect(() => listeners.setSocket(slot(0), -1)).toThrow(/whole number from 0/);
  });

  it('keeps a value for a socket', () => {
    const marked = object.map('marked');
    const fd = descriptorOf(server);
    expect(marked.getForSocket(fd)).toBeUndefined();
    marked.setForSocket(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(marked.getForSocket(fd)).toEqual(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(marked.deleteForSocket(fd)).toBe(true);
    expect(marked.deleteForSocket(fd)).toBe(false);
    expect(() => marked.setForSocket(fd, new Uint8Array(4))).toThrow(/expected 8 bytes/);
    expect(() => pairs.getForSocket(fd)).toThrow('map pairs is no sk_storage');
    expect(() => marked.setForSocket(0x7ffffff, new Uint8Array(8))).toThrow(/Bad file descriptor/);
  });

  it('comes back from its pin with its types', () => {
    const path = `${fixture.bpffs()}/pairs`;
    pairs.set(key(5), value(6));
    pairs.pin(path);
    expect(() => pairs.pin(path)).toThrow(/File exists/);
    const again = addon.openPinnedMap(path);
    expect(again.id).toBe(pairs.id);
    expect(again.get(key(5))).toEqual(value(6));
    expect(again.keyType).toEqual(pairs.keyType);
    expect(again.valueType).toEqual(pairs.valueType);
    again.close();
    expect(() => addon.openPinnedLink(path)).toThrow(/pins a map, expected a link/);
    expect(() => addon.openPinnedProgram(path)).toThrow(/pins a map, expected a program/);
    expect(() => addon.openPinnedMap(`${path}x`)).toThrow(/No such file/);
  });

  it('says what is wrong with a place for a pin', () => {
    expect(() => pairs.pin(`${fixture.directory()}/x`)).toThrow(/not on a bpf file system/);
    expect(() => pairs.pin(`${fixture.bpffs()}/no/such`)).toThrow(/its directory does not exist/);
  });
});
