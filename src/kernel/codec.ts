/**
 * Structs of BPF maps and records as plain objects. Sizes and offsets come from the object's BTF, names from its members
 * (`pod_index` is `podIndex`), so nothing of the layout in bpf/shared is written twice. Members called `reserved...` stay zero.
 */
import { HadalError } from '../base/errors.ts';
import { parseAddress, readAddressBytes, writeAddressBytes } from '../model/address.ts';
import type { BtfMember, BtfType } from '../native/types.ts';

export interface StructCodec<T> {
  readonly size: number;
  encode(value: T): Uint8Array;
  encodeInto(value: T, bytes: Uint8Array, at: number): void;
  decode(bytes: Uint8Array, at?: number): T;
}

/** 8 byte members are bigint, `struct hadal_address` is text, all other integers are numbers. */
type Field = number | bigint | string;

interface Step {
  readonly name: string;
  readonly offset: number;
  readonly kind: 'u8' | 'u16' | 'u32' | 'u64' | 'address';
}

/** `names` are the members that TypeScript knows; a member that BTF has besides, or lacks, is refused. */
export function structCodec<T extends { [K in keyof T]: Field }>(
  type: BtfType,
  names: readonly (keyof T & string)[],
): StructCodec<T> {
  if (type.kind !== 'struct') throw layoutError(nameOf(type), `is ${type.kind}, not a struct`);
  const steps = type.members
    .filter(({ name }) => !name.startsWith('reserved'))
    .map((member) => stepOf(type.name, member));
  const missing = names.filter((name) => !steps.some((step) => step.name === name));
  const unknown = steps.filter((step) => !names.some((name) => name === step.name));
  if (missing.length > 0) throw layoutError(type.name, `lacks ${missing.join(', ')}`);
  if (unknown.length > 0)
    throw layoutError(type.name, `has ${unknown.map(({ name }) => name).join(', ')} besides`);
  return new BtfStructCodec<T>(type.size, steps);
}

/** A value that is one plain integer of 4 or 8 bytes. */
export function integerBytes(value: number | bigint, size: 4 | 8): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  if (size === 4) view.setUint32(0, Number(value), true);
  else view.setBigUint64(0, BigInt(value), true);
  return bytes;
}

class BtfStructCodec<T> implements StructCodec<T> {
  readonly size: number;
  readonly #steps: readonly Step[];

  constructor(size: number, steps: readonly Step[]) {
    this.size = size;
    this.#steps = steps;
  }

  encode(value: T): Uint8Array {
    const bytes = new Uint8Array(this.size);
    this.encodeInto(value, bytes, 0);
    return bytes;
  }

  encodeInto(value: T, bytes: Uint8Array, at: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, this.size);
    const fields = value as Record<string, Field>;
    for (const step of this.#steps) write(view, step, fields[step.name] ?? 0);
  }

  decode(bytes: Uint8Array, at = 0): T {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, this.size);
    const fields: Record<string, Field> = {};
    for (const step of this.#steps) fields[step.name] = read(view, step);
    return fields as T;
  }
}

function stepOf(struct: string, { name, offset, type }: BtfMember): Step {
  const known = camelCase(name);
  if (type.kind === 'struct' && type.name === 'hadal_address' && type.size === 16) {
    return { name: known, offset, kind: 'address' };
  }
  const kind = ({ 1: 'u8', 2: 'u16', 4: 'u32', 8: 'u64' } as const)[type.size];
  if ((type.kind !== 'int' && type.kind !== 'enum') || kind === undefined) {
    throw layoutError(struct, `member ${name} is ${type.kind} of ${type.size} bytes, which no codec knows`);
  }
  return { name: known, offset, kind };
}

function write(view: DataView, { offset, kind, name }: Step, value: Field): void {
  if (kind === 'address') {
    writeAddress(view, offset, name, String(value));
    return;
  }
  if (kind === 'u64') {
    view.setBigUint64(offset, BigInt(value), true);
    return;
  }
  const number = Number(value);
  const bytes = kind === 'u8' ? 1 : kind === 'u16' ? 2 : 4;
  if (!Number.isInteger(number) || number < 0 || number >= 2 ** (8 * bytes)) {
    throw new HadalError('ERR_KERNEL_VALUE', `${name} is ${value}, which does not fit ${bytes} bytes`);
  }
  if (kind === 'u8') view.setUint8(offset, number);
  else if (kind === 'u16') view.setUint16(offset, number, true);
  else view.setUint32(offset, number, true);
}

function read(view: DataView, { offset, kind }: Step): Field {
  switch (kind) {
    case 'u8':
      return view.getUint8(offset);
    case 'u16':
      return view.getUint16(offset, true);
    case 'u32':
      return view.getUint32(offset, true);
    case 'u64':
      return view.getBigUint64(offset, true);
    case 'address':
      return readAddressBytes(view, offset);
  }
}

function writeAddress(view: DataView, offset: number, name: string, text: string): void {
  const address = parseAddress(text);
  if (address === undefined)
    throw new HadalError('ERR_KERNEL_VALUE', `${name} is '${text}', which is no IP address`);
  writeAddressBytes(view, offset, address);
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function nameOf(type: BtfType): string {
  return 'name' in type ? type.name : type.kind;
}

function layoutError(struct: string, why: string): HadalError {
  return new HadalError(
    'ERR_KERNEL_LAYOUT',
    `struct ${struct} ${why}: the BPF objects and this program are of different versions; run npm run build`,
  );
}
