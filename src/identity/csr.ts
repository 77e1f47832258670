/** PKCS#10 requests: made by an agent for one SPIFFE id, read and checked by the authority. */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import {
  type Asn1,
  Asn1Reader,
  bits,
  decode,
  encode,
  explicit,
  extension,
  fromPem,
  implicit,
  integer,
  oid,
  oids,
  sequence,
  set,
  toPem,
} from './asn1.ts';
import { digestOfSignature, publicDer, signatureAlgorithm, signBytes, whyWeakKey } from './keys.ts';

/** Requests are well under 1 KiB with ECDSA, 3 KiB with RSA-8192; a longer one is not parsed. */
const maxRequestBytes = 16 * 1024;
const uriTag = 6;
const sanTags = [0, 1, 2, 3, 4, 5, uriTag, 7, 8];

/** A SubjectAltName that holds one URI. */
export function uriSubjectAltName(uri: string): Asn1 {
  return sequence(implicit(uriTag, Buffer.from(uri, 'ascii')));
}

/** A PEM request with an empty subject and `identity` as its only, critical SAN. */
export async function createCsr(identity: string, key: KeyObject): Promise<string> {
  const { identifier, digest } = signatureAlgorithm(key);
  const san = extension({ oid: oids.subjectAltName, critical: true, value: uriSubjectAltName(identity) });
  const info = sequence(
    integer(0),
    sequence(),
    decode(publicDer(key)),
    explicit(0, sequence(oid(oids.extensionRequest), set(sequence(san)))),
  );
  const signature = await signBytes(key, digest, encode(info));
  return toPem('CERTIFICATE REQUEST', encode(sequence(info, identifier, bits(signature))));
}

export interface CertificateRequest {
  readonly publicKey: KeyObject;
  /** URIs of its SubjectAltName. */
  readonly uris: readonly string[];
  /** Whether the SAN names anything that is not a URI. */
  readonly otherNames: boolean;
}

/** Reads one PEM request and checks the key's strength and the signature, the proof that the sender holds the key. */
export function readCsr(pem: string): CertificateRequest {
  if (pem.length > maxRequestBytes) throw refused(`it has ${pem.length} bytes, more than ${maxRequestBytes}`);
  const parsed = parse(pem);
  const weak = whyWeakKey(parsed.publicKey);
  if (weak !== undefined) throw refused(`its key is not accepted: ${weak}`);
  const algorithm = digestOfSignature(parsed.signatureOid);
  if (algorithm === undefined || algorithm.keyType !== parsed.publicKey.asymmetricKeyType) {
    throw refused(
      `its signature algorithm ${parsed.signatureOid} is not accepted for a key of type ${parsed.publicKey.asymmetricKeyType}`,
    );
  }
  if (!verify(algorithm.digest, parsed.signed, parsed.publicKey, parsed.signature)) {
    throw refused('its signature does not fit its key');
  }
  return { publicKey: parsed.publicKey, uris: parsed.uris, otherNames: parsed.otherNames };
}

interface ParsedRequest extends CertificateRequest {
  readonly signed: Buffer;
  readonly signatureOid: string;
  readonly signature: Buffer;
}

function parse(pem: string): ParsedRequest {
  try {
    const [der, ...more] = fromPem(pem, ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST']);
    if (der === undefined || more.length > 0)
      throw new HadalError('ERR_ASN1', 'expected one CERTIFICATE REQUEST in PEM');
    const [info, algorithm, signature] = new Asn1Reader(decode(der), 'request').members('sequence');
    const [version, subject, spki, attributes] = info?.members('sequence') ?? [];
    const [signatureOid] = algorithm?.members('sequence') ?? [];
    if (!info || !signature || !version || !subject || !spki || !signatureOid) {
      throw new HadalError('ERR_ASN1', 'fields are missing');
    }
    if (version.integer() !== 0) throw new HadalError('ERR_ASN1', 'its version is not 1');
    return {
      // Encoded again: equal for DER, and what is not DER then fails the signature.
      signed: encode(info.value),
      publicKey: createPublicKey({ key: encode(spki.value), format: 'der', type: 'spki' }),
      signatureOid: signatureOid.oid(),
      signature: signature.bits(),
      ...subjectAltNames(attributes),
    };
  } catch (error) {
    throw refused(`it cannot be read: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

function subjectAltNames(
  attributes: Asn1Reader | undefined,
): Pick<CertificateRequest, 'uris' | 'otherNames'> {
  const uris: string[] = [];
  let otherNames = false;
  for (const names of attributes === undefined ? [] : requestedNames(attributes)) {
    for (const name of names.members('sequence')) {
      if (name.isContext(uriTag)) uris.push(name.bytes().toString('latin1'));
      else if (sanTags.some((tag) => name.isContext(tag))) otherNames = true;
      else throw new HadalError('ERR_ASN1', 'a name of its SubjectAltName has an unknown tag');
    }
  }
  return { uris, otherNames };
}

function* requestedNames(attributes: Asn1Reader): Generator<Asn1Reader> {
  for (const attribute of attributes.members(0)) {
    const [type, values] = attribute.members('sequence');
    if (type?.oid() !== oids.extensionRequest) continue;
    for (const extensions of values?.members('set') ?? []) {
      for (const entry of extensions.members('sequence')) {
        const fields = entry.members('sequence');
        const value = fields.at(-1);
        if (fields[0]?.oid() !== oids.subjectAltName || value === undefined) continue;
        yield new Asn1Reader(decode(value.octets()), 'SubjectAltName');
      }
    }
  }
}

function refused(why: string, cause?: unknown): HadalError<'ERR_IDENTITY_CSR'> {
  return new HadalError('ERR_IDENTITY_CSR', `certificate request refused: ${why}`, { cause });
}
