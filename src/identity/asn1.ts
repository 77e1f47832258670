/**
 * The few ASN.1 shapes that certificates and requests are made of, over node-forge's encoder. node-forge's strings hold one byte
 * per character; nothing outside this folder sees them.
 */
import asn1 from 'node-forge/lib/asn1.js';
import pem from 'node-forge/lib/pem.js';
import { HadalError } from '../base/errors.ts';

export type Asn1 = ReturnType<typeof asn1.create>;

const { Class, Type } = asn1;
export const asn1Types = Type;
/** Certificates nest less than 20 deep; what nests deeper is an attack on the parser. */
const maxDepth = 32;

export const oids = {
  extensionRequest: '1.2.840.113549.1.9.14',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  sha384WithRsa: '1.2.840.113549.1.1.12',
  sha512WithRsa: '1.2.840.113549.1.1.13',
  ed25519: '1.3.101.112',
} as const;

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function binary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Throws on anything but one complete value. */
export function decode(der: Uint8Array): Asn1 {
  // With decodeBitStrings a key whose bytes happen to look like ASN.1 would be taken apart.
  return asn1.fromDer(binary(der), { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth });
}

export function encode(value: Asn1): Buffer {
  return bytesOf(asn1.toDer(value).getBytes());
}

export function sequence(...values: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, values);
}

export function set(...values: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, values);
}

export function oid(dotted: string): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(dotted).getBytes());
}

export function integer(value: number): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.INTEGER, false, asn1.integerToDer(value).getBytes());
}

/** The bytes of a positive INTEGER, most significant first; the first bit must be 0. */
export function integerBytes(bytes: Uint8Array): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.INTEGER, false, binary(bytes));
}

export function boolean(value: boolean): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.BOOLEAN, false, value ? '\xff' : '\x00');
}

export function nothing(): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.NULL, false, '');
}

export function utf8(text: string): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.UTF8, false, Buffer.from(text, 'utf8').toString('latin1'));
}

export function octets(bytes: Uint8Array): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.OCTETSTRING, false, binary(bytes));
}

/** A BIT STRING; the last `unused` bits of `bytes` do not count. */
export function bits(bytes: Uint8Array, unused = 0): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.BITSTRING, false, String.fromCharCode(unused) + binary(bytes));
}

/** `[tag] EXPLICIT`. */
export function explicit(tag: number, ...values: Asn1[]): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, values);
}

/** `[tag] IMPLICIT` of a string type. */
export function implicit(tag: number, bytes: Uint8Array): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, binary(bytes));
}

/** RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050. */
export function time(at: Date): Asn1 {
  return at.getUTCFullYear() < 2050
    ? asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, asn1.dateToUtcTime(at))
    : asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(at));
}

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Asn1;
}

export function extension({ oid: id, critical, value }: Extension): Asn1 {
  return critical
    ? sequence(oid(id), boolean(true), octets(encode(value)))
    : sequence(oid(id), octets(encode(value)));
}

/** Reads a value that came from outside; each step says what it expected. */
export class Asn1Reader {
  readonly #value: Asn1;
  readonly #what: string;

  constructor(value: Asn1, what: string) {
    this.#value = value;
    this.#what = what;
  }

  get value(): Asn1 {
    return this.#value;
  }

  isContext(tag: number): boolean {
    return this.#value.tagClass === Class.CONTEXT_SPECIFIC && this.#value.type === (tag as asn1Type);
  }

  /** The members of a SEQUENCE, SET or `[tag]`. */
  members(kind: 'sequence' | 'set' | number): Asn1Reader[] {
    const constructed = this.#value.value;
    const fits =
      typeof kind === 'number'
        ? this.isContext(kind)
        : this.#is(kind === 'sequence' ? Type.SEQUENCE : Type.SET);
    if (!fits || !Array.isArray(constructed)) {
      throw this.#unexpected(typeof kind === 'number' ? `[${kind}]` : kind.toUpperCase());
    }
    return constructed.map((member) => new Asn1Reader(member, this.#what));
  }

  oid(): string {
    return asn1.derToOid(this.#primitive(Type.OID, 'OBJECT IDENTIFIER'));
  }

  integer(): number {
    return asn1.derToInteger(this.#primitive(Type.INTEGER, 'INTEGER'));
  }

  boolean(): boolean | undefined {
    return this.#is(Type.BOOLEAN) ? this.#value.value !== '\x00' : undefined;
  }

  octets(): Buffer {
    return bytesOf(this.#primitive(Type.OCTETSTRING, 'OCTET STRING'));
  }

  /** A BIT STRING of whole bytes. */
  bits(): Buffer {
    const text = this.#primitive(Type.BITSTRING, 'BIT STRING');
    if (text.charCodeAt(0) !== 0) throw this.#unexpected('BIT STRING of whole bytes');
    return bytesOf(text.slice(1));
  }

  /** The bytes of a primitive value, whatever its tag. */
  bytes(): Buffer {
    if (typeof this.#value.value !== 'string') throw this.#unexpected('a primitive value');
    return bytesOf(this.#value.value);
  }

  #is(type: asn1Type): boolean {
    return this.#value.tagClass === Class.UNIVERSAL && this.#value.type === type;
  }

  #primitive(type: asn1Type, name: string): string {
    if (!this.#is(type) || typeof this.#value.value !== 'string') throw this.#unexpected(name);
    return this.#value.value;
  }

  #unexpected(wanted: string): HadalError {
    const { tagClass, type } = this.#value;
    return new HadalError(
      'ERR_ASN1',
      `${this.#what}: expected ${wanted}, found class ${tagClass} type ${type}`,
    );
  }
}

type asn1Type = Parameters<typeof asn1.create>[1];

/** One PEM block around `der`. */
export function toPem(label: string, der: Uint8Array): string {
  return pem
    .encode({ type: label, body: binary(der) } as Parameters<typeof pem.encode>[0], { maxline: 64 })
    .replaceAll('\r\n', '\n');
}

/** The blocks of a PEM text with this label, each as DER. Empty when there is none. */
export function fromPem(text: string, label: string | readonly string[]): Buffer[] {
  const labels = typeof label === 'string' ? [label] : label;
  if (!text.includes('-----BEGIN ')) return [];
  return pem
    .decode(text)
    .filter(({ type }) => labels.includes(type))
    .map(({ body }) => bytesOf(body));
}
