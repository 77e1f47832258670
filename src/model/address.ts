/** An IP address. IPv4-mapped IPv6 (`::ffff:a.b.c.d`) is IPv4 here: the two are one host for every rule of the mesh. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
  /** Canonical: dotted quad, or RFC 5952. Equal addresses have equal text. */
  readonly text: string;
}

const octetPattern = /^(?:0|[1-9]\d{0,2})$/;
const groupPattern = /^[0-9a-fA-F]{1,4}$/;
const longestText = 45;
const mappedPrefix = 0xffffn;

/** Undefined when it is not an address; zone ids, leading zeros and short forms such as `10.1` are not accepted. */
export function parseAddress(text: string): IpAddress | undefined {
  if (text.length > longestText) {
    return undefined;
  }
  if (!text.includes(':')) {
    const value = parseIpv4Value(text);
    return value === undefined ? undefined : ipv4(value);
  }
  const value = parseIpv6Value(text);
  if (value === undefined) {
    return undefined;
  }
  return value >> 32n === mappedPrefix ? ipv4(value & 0xffff_ffffn) : ipv6(value);
}

/** The one text form of an address; undefined when it is none. */
export function canonicalAddress(text: string): string | undefined {
  return parseAddress(text)?.text;
}

/** 127.0.0.0/8, `::1`, 0.0.0.0 and `::`: never another host. */
export function isLocalOnly(address: IpAddress): boolean {
  return address.family === 4
    ? address.value >> 24n === 127n || address.value === 0n
    : address.value === 1n || address.value === 0n;
}

/** Canonical text of the 16 bytes at `offset`, in network order, IPv4 mapped: how the kernel and the tunnel write addresses. */
export function readAddressBytes(view: DataView, offset: number): string {
  const value = (view.getBigUint64(offset) << 64n) | view.getBigUint64(offset + 8);
  return (value >> 32n === mappedPrefix ? ipv4(value & 0xffff_ffffn) : ipv6(value)).text;
}

export function writeAddressBytes(view: DataView, offset: number, { family, value }: IpAddress): void {
  const mapped = family === 4 ? (mappedPrefix << 32n) | value : value;
  view.setBigUint64(offset, mapped >> 64n);
  view.setBigUint64(offset + 8, mapped & 0xffff_ffff_ffff_ffffn);
}

/** Address from its number, masked to the family's size by the caller. */
export function addressFromValue(family: 4 | 6, value: bigint): IpAddress {
  return family === 4 ? ipv4(value) : ipv6(value);
}

function ipv4(value: bigint): IpAddress {
  const number = Number(value);
  const text = [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255].join('.');
  return Object.freeze({ family: 4, value, text });
}

function ipv6(value: bigint): IpAddress {
  return Object.freeze({ family: 6, value, text: formatIpv6(value) });
}

function parseIpv4Value(text: string): bigint | undefined {
  const octets = text.split('.');
  if (octets.length !== 4) {
    return undefined;
  }
  let value = 0;
  for (const octet of octets) {
    if (!octetPattern.test(octet) || Number(octet) > 255) {
      return undefined;
    }
    value = value * 256 + Number(octet);
  }
  return BigInt(value);
}

function parseIpv6Value(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) {
    return undefined;
  }
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 1 ? [] : parseGroups(halves[1] ?? '', true);
  if (head === undefined || tail === undefined) {
    return undefined;
  }
  const missing = 8 - head.length - tail.length;
  // `::` stands for at least one group.
  if (halves.length === 1 ? missing !== 0 : missing < 1) {
    return undefined;
  }
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** Groups of one side of `::`; a dotted quad may stand for the last two at the very end. */
function parseGroups(text: string, isEnd: boolean): number[] | undefined {
  if (text === '') {
    return [];
  }
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (isEnd && index === parts.length - 1 && part.includes('.')) {
      const quad = parseIpv4Value(part);
      if (quad === undefined) {
        return undefined;
      }
      groups.push(Number(quad >> 16n), Number(quad & 0xffffn));
    } else if (groupPattern.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

/** RFC 5952: lower case, the longest run of at least two zero groups becomes `::`, the first of equals. */
function formatIpv6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    Number((value >> BigInt(112 - index * 16)) & 0xffffn),
  );
  let bestStart = 0;
  let bestLength = 0;
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) {
      length++;
    }
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestLength < 2) {
    return hex.join(':');
  }
  return `${hex.slice(0, bestStart).join(':')}::${hex.slice(bestStart + bestLength).join(':')}`;
}
