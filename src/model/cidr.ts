import { addressFromValue, type IpAddress, parseAddress } from './address.ts';

/** A range of addresses; its base has no bits below the prefix. */
export interface Cidr {
  readonly base: IpAddress;
  readonly length: number;
  /** Canonical `address/length`. */
  readonly text: string;
}

function bitsOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

/** Undefined when the length does not fit the family. Bits below the prefix are cleared. */
export function createCidr(address: IpAddress, length: number): Cidr | undefined {
  const bits = bitsOf(address.family);
  if (!Number.isInteger(length) || length < 0 || length > bits) {
    return undefined;
  }
  const shift = BigInt(bits - length);
  const base = addressFromValue(address.family, (address.value >> shift) << shift);
  return Object.freeze({ base, length, text: `${base.text}/${length}` });
}

/** `10.0.0.0/8`; a plain address is the range of itself alone. An IPv4-mapped range counts its length from the IPv4 part. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) {
    return undefined;
  }
  if (slash < 0) {
    return createCidr(address, bitsOf(address.family));
  }
  const length = text.slice(slash + 1);
  if (!/^(?:0|[1-9]\d{0,2})$/.test(length)) {
    return undefined;
  }
  const isMapped = address.family === 4 && text.slice(0, slash).includes(':');
  return createCidr(address, Number(length) - (isMapped ? 96 : 0));
}

export function cidrContains(cidr: Cidr, address: IpAddress): boolean {
  if (cidr.base.family !== address.family) {
    return false;
  }
  const shift = BigInt(bitsOf(address.family) - cidr.length);
  return address.value >> shift === cidr.base.value >> shift;
}
