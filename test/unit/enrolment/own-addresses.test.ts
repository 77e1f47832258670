import { describe, expect, it } from 'vitest';
import { ownAddresses } from '../../../src/enrolment/own-addresses.ts';

const found = (...addresses: string[]) =>
  addresses.map((address) => ({ interfaceName: 'eth0', interfaceIndex: 2, address, prefixLength: 24 }));

describe('the addresses that a pod answers to', () => {
  it.each([
    [
      'follow the order of the request',
      ['fd00::5', '10.0.0.5'],
      ['127.0.0.1', '10.0.0.5', '::1', 'fd00::5'],
      ['fd00::5', '10.0.0.5'],
    ],
    [
      'have link-local ones last',
      ['10.0.0.5'],
      ['fe80::1', '10.0.0.5', '10.0.0.6'],
      ['10.0.0.5', '10.0.0.6', 'fe80::1'],
    ],
    ['are not what the namespace does not have', ['10.0.0.9'], ['10.0.0.5'], ['10.0.0.5']],
    [
      'are those of the request while there is none of the family',
      ['10.0.0.5', 'fd00::5'],
      ['fe80::1', '10.0.0.5'],
      ['10.0.0.5', 'fd00::5', 'fe80::1'],
    ],
    ['are none without any', [], ['127.0.0.1', '::1'], []],
  ])('%s', (_what, requested, present, expected) => {
    expect(ownAddresses(requested, found(...present))).toEqual(expected);
  });
});
