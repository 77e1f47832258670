import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressFromValue, isLocalOnly, parseAddress } from '../../src/model/address.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfObject } from '../../src/native/types.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const path = fileURLToPath(new URL('../../build/bpf/test/address.bpf.o', import.meta.url));

describe.skipIf(podWorldUnavailable !== undefined)('an address in the kernel', () => {
  let object: BpfObject;

  beforeAll(() => {
    object = nativeAddon().openObject(path);
    object.load();
  });
  afterAll(() => object?.close());

  function bytesOf(text: string): Uint8Array {
    const address = parseAddress(text) ?? addressFromValue(6, 0n);
    const value = address.family === 4 ? (0xffffn << 32n) | address.value : address.value;
    return Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
  }

  function ask(first: string, second: string): { isIpv4: boolean; isLocalOnly: boolean; isEqual: boolean } {
    const packet = Buffer.concat([bytesOf(first), bytesOf(second)]);
    const { returnValue } = object.program('hadal_test_address').testRun({ packet });
    return {
      isIpv4: (returnValue & 1) !== 0,
      isLocalOnly: (returnValue & 2) !== 0,
      isEqual: (returnValue & 4) !== 0,
    };
  }

  it.each([
    '0.0.0.0',
    '0.0.0.1',
    '10.0.0.1',
    '126.255.255.255',
    '127.0.0.0',
    '127.0.0.1',
    '127.255.255.255',
    '128.0.0.0',
    '255.255.255.255',
    '::',
    '::1',
    '::2',
    '::7f00:1',
    '1::',
    '0:1::1',
    'fd00::1',
    'fe80::1',
    '::fffe:127.0.0.1',
    '::ffff:0:127.0.0.1',
  ])('%s is local, IPv4 and equal as TypeScript says', (text) => {
    const address = parseAddress(text);
    expect(ask(text, text)).toEqual({
      isIpv4: address?.family === 4,
      isLocalOnly: address !== undefined && isLocalOnly(address),
      isEqual: true,
    });
  });

  it.each([
    ['10.0.0.1', '10.0.0.2'],
    ['fd00::1', 'fd00:0:0:1::1'],
    ['::1', '1::1'],
    ['fd00::1:0:1', 'fd00::1'],
  ])('%s is not %s', (first, second) => {
    expect(ask(first, second).isEqual).toBe(false);
  });
});
