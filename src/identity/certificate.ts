/** X.509 v3 certificates: building and signing one. */
import { createHash, type KeyObject, randomBytes } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import {
  type Asn1,
  Asn1Reader,
  bits,
  boolean,
  decode,
  type Extension,
  encode,
  explicit,
  extension,
  implicit,
  integer,
  integerBytes,
  octets,
  oid,
  oids,
  sequence,
  set,
  time,
  toPem,
  utf8,
} from './asn1.ts';
import { uriSubjectAltName } from './csr.ts';
import { publicDer, signatureAlgorithm, signBytes } from './keys.ts';

export interface Issuer {
  /** Encoded subject of the issuing certificate. */
  readonly name: Asn1;
  readonly key: KeyObject;
  /** SubjectKeyIdentifier of the issuing certificate. */
  readonly keyIdentifier: Buffer;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A workload's certificate in PEM: empty subject, `identity` as critical URI SAN, for servers and clients. */
export async function issueLeaf(
  issuer: Issuer,
  identity: string,
  subjectKey: KeyObject,
  validity: Validity,
): Promise<string> {
  const rsa = subjectKey.asymmetricKeyType === 'rsa';
  return signCertificate(issuer, sequence(), subjectKey, validity, [
    {
      oid: oids.keyUsage,
      critical: true,
      value: keyUsage(rsa ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature']),
    },
    {
      oid: oids.extendedKeyUsage,
      critical: false,
      value: sequence(oid(oids.serverAuth), oid(oids.clientAuth)),
    },
    { oid: oids.basicConstraints, critical: true, value: sequence() },
    { oid: oids.authorityKeyIdentifier, critical: false, value: sequence(implicit(0, issuer.keyIdentifier)) },
    { oid: oids.subjectAltName, critical: true, value: uriSubjectAltName(identity) },
  ]);
}

export interface ServerNames {
  readonly dnsNames: readonly string[];
  /** As text. */
  readonly addresses: readonly string[];
}

/** A TLS server's certificate in PEM, found by DNS name or address, which no client has to know a SPIFFE id for. */
export async function issueServer(
  issuer: Issuer,
  { dnsNames, addresses }: ServerNames,
  subjectKey: KeyObject,
  validity: Validity,
): Promise<string> {
  const names = [
    ...dnsNames.map((name) => implicit(2, Buffer.from(name, 'ascii'))),
    ...addresses.map((address) => implicit(7, addressOctets(address))),
  ];
  return signCertificate(issuer, sequence(), subjectKey, validity, [
    { oid: oids.keyUsage, critical: true, value: keyUsage(['digitalSignature']) },
    { oid: oids.extendedKeyUsage, critical: false, value: sequence(oid(oids.serverAuth)) },
    { oid: oids.basicConstraints, critical: true, value: sequence() },
    { oid: oids.authorityKeyIdentifier, critical: false, value: sequence(implicit(0, issuer.keyIdentifier)) },
    { oid: oids.subjectAltName, critical: true, value: sequence(...names) },
  ]);
}

/** 4 bytes or 16. */
function addressOctets(address: string): Buffer {
  const parsed = parseAddress(address);
  if (parsed === undefined) {
    throw new HadalError(
      'ERR_IDENTITY_CERTIFICATE',
      `${JSON.stringify(address)} is no address that a certificate could name`,
    );
  }
  const digits = parsed.family === 4 ? 8 : 32;
  return Buffer.from(parsed.value.toString(16).padStart(digits, '0'), 'hex');
}

/** A self-signed root in PEM. */
export async function issueRoot(organization: string, key: KeyObject, validity: Validity): Promise<string> {
  const name = distinguishedName([
    [oids.organization, organization],
    [oids.commonName, 'Hadal root CA'],
  ]);
  const identifier = keyIdentifier(key);
  return signCertificate({ name, key, keyIdentifier: identifier }, name, key, validity, [
    { oid: oids.keyUsage, critical: true, value: keyUsage(['keyCertSign', 'cRLSign']) },
    { oid: oids.basicConstraints, critical: true, value: sequence(boolean(true)) },
    { oid: oids.subjectKeyIdentifier, critical: false, value: octets(identifier) },
  ]);
}

async function signCertificate(
  issuer: Issuer,
  subject: Asn1,
  subjectKey: KeyObject,
  { notBefore, notAfter }: Validity,
  extensions: readonly Extension[],
): Promise<string> {
  const { identifier, digest } = signatureAlgorithm(issuer.key);
  const tbs = sequence(
    explicit(0, integer(2)),
    integerBytes(serialNumber()),
    identifier,
    issuer.name,
    sequence(time(notBefore), time(notAfter)),
    subject,
    decode(publicDer(subjectKey)),
    explicit(3, sequence(...extensions.map(extension))),
  );
  const signature = await signBytes(issuer.key, digest, encode(tbs));
  return toPem('CERTIFICATE', encode(sequence(tbs, identifier, bits(signature))));
}

/** What of an issuing certificate goes into those it signs. */
export function issuerOf(certificateDer: Buffer, key: KeyObject): Issuer {
  const [tbs] = new Asn1Reader(decode(certificateDer), 'certificate').members('sequence');
  const fields = tbs?.members('sequence') ?? [];
  // Version 1 certificates lack the [0]; an authority's is version 3, but then its other fields still count from here.
  const first = fields[0]?.isContext(0) === true ? 1 : 0;
  const name = fields[first + 4];
  if (name === undefined) throw new TypeError('certificate without subject');
  const extensions = fields.find((field) => field.isContext(3));
  return { name: name.value, key, keyIdentifier: subjectKeyIdentifier(extensions) ?? keyIdentifier(key) };
}

function subjectKeyIdentifier(extensions: Asn1Reader | undefined): Buffer | undefined {
  for (const list of extensions?.members(3) ?? []) {
    for (const entry of list.members('sequence')) {
      const fields = entry.members('sequence');
      if (fields[0]?.oid() !== oids.subjectKeyIdentifier) continue;
      const value = fields.at(-1);
      if (value !== undefined) return new Asn1Reader(decode(value.octets()), 'SubjectKeyIdentifier').octets();
    }
  }
  return undefined;
}

/** RFC 7093, method 1: the first 160 bits of the SHA-256 of the key's bits. */
function keyIdentifier(key: KeyObject): Buffer {
  const [, keyBits] = new Asn1Reader(decode(publicDer(key)), 'public key').members('sequence');
  if (keyBits === undefined) throw new TypeError('public key without bits');
  return createHash('sha256').update(keyBits.bits()).digest().subarray(0, 20);
}

/** 127 random bits, positive, never 0 in the first byte, so DER stays minimal. */
function serialNumber(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

function distinguishedName(parts: readonly (readonly [string, string])[]): Asn1 {
  return sequence(...parts.map(([id, text]) => set(sequence(oid(id), utf8(text)))));
}

const keyUsageBits = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;

function keyUsage(uses: readonly (keyof typeof keyUsageBits)[]): Asn1 {
  const positions = uses.map((use) => keyUsageBits[use]);
  const byte = positions.reduce<number>((sum, position) => sum | (0x80 >> position), 0);
  return bits(Buffer.of(byte), 7 - Math.max(...positions));
}
