/**
 * Certificates that their authorities took back: X.509 revocation lists, read for what TypeScript itself connects to and holds. The
 * native tunnel reads the same text by itself. Where no list of an issuer is known, its certificates pass.
 */
import { type KeyObject, verify, type X509Certificate } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import { type Asn1, Asn1Reader, asn1Types, decode, encode, fromPem, oids } from './asn1.ts';
import { subjectOf, uriNames } from './chain.ts';

interface RevocationList {
  readonly serialNumbers: ReadonlySet<string>;
  readonly nextUpdate: Date | undefined;
  readonly signed: Buffer;
  readonly algorithm: ListAlgorithm;
  readonly signature: Buffer;
}

interface ListAlgorithm {
  readonly keyType: string;
  /** For node:crypto; undefined where the algorithm has its own. */
  readonly digest: string | undefined;
}

/** How a list may be signed. Wider than what our own authority signs with: other authorities make lists too. */
const algorithms: Readonly<Record<string, ListAlgorithm>> = {
  [oids.ecdsaWithSha256]: { keyType: 'ec', digest: 'sha256' },
  [oids.ecdsaWithSha384]: { keyType: 'ec', digest: 'sha384' },
  [oids.ecdsaWithSha512]: { keyType: 'ec', digest: 'sha512' },
  [oids.sha256WithRsa]: { keyType: 'rsa', digest: 'sha256' },
  [oids.sha384WithRsa]: { keyType: 'rsa', digest: 'sha384' },
  [oids.sha512WithRsa]: { keyType: 'rsa', digest: 'sha512' },
  [oids.ed25519]: { keyType: 'ed25519', digest: undefined },
};

export class RevocationLists {
  static readonly none = new RevocationLists([]);
  readonly #lists: readonly RevocationList[];

  /** PEM with any number of X509 CRLs, or none. Throws ERR_IDENTITY_REVOCATION for what cannot be read. */
  static parse(pem: string): RevocationLists {
    try {
      const ders = fromPem(pem, 'X509 CRL');
      if (ders.length === 0 && pem.trim() !== '')
        throw new HadalError('ERR_ASN1', 'it holds no X509 CRL in PEM');
      return new RevocationLists(ders.map(readList));
    } catch (error) {
      throw HadalError.from(error, 'ERR_IDENTITY_REVOCATION', 'reading the revocation lists');
    }
  }

  private constructor(lists: readonly RevocationList[]) {
    this.#lists = lists;
  }

  /** Certificates on all lists together. */
  get size(): number {
    return this.#lists.reduce((sum, { serialNumbers }) => sum + serialNumbers.size, 0);
  }

  /** The first moment at which one of them should have been replaced. It is honoured on, since later is not never. */
  get nextUpdate(): Date | undefined {
    const times = this.#lists.flatMap(({ nextUpdate }) =>
      nextUpdate === undefined ? [] : [nextUpdate.getTime()],
    );
    return times.length === 0 ? undefined : new Date(Math.min(...times));
  }

  /** Which certificate of a path (leaf first, root last) is revoked, in words. */
  findRevoked(path: readonly X509Certificate[]): string | undefined {
    for (const [index, certificate] of path.slice(0, -1).entries()) {
      const issuer = path[index + 1];
      if (issuer === undefined || !this.#revokes(certificate, issuer.publicKey)) continue;
      const name = uriNames(certificate)[0] ?? subjectOf(certificate);
      return `the certificate of ${name} with serial number ${certificate.serialNumber} was revoked`;
    }
    return undefined;
  }

  /** A list that the issuer did not sign takes nobody off the net. */
  #revokes(certificate: X509Certificate, issuer: KeyObject): boolean {
    const serial = plain(certificate.serialNumber);
    return this.#lists.some((list) => {
      if (!list.serialNumbers.has(serial)) return false;
      const { keyType, digest } = list.algorithm;
      return keyType === issuer.asymmetricKeyType && verify(digest, list.signed, issuer, list.signature);
    });
  }
}

/** What is known now; one for all that connects. */
export class KnownRevocations {
  lists: RevocationLists = RevocationLists.none;
}

/** RFC 5280, 5.1. */
function readList(der: Buffer): RevocationList {
  const [info, algorithm, signature] = new Asn1Reader(decode(der), 'revocation list').members('sequence');
  const [oid] = algorithm?.members('sequence') ?? [];
  if (info === undefined || signature === undefined || oid === undefined) {
    throw new HadalError('ERR_ASN1', 'fields of a revocation list are missing');
  }
  const fields = info.members('sequence');
  const hasVersion = fields[0]?.value.type === asn1Types.INTEGER;
  // Version, signature, issuer, thisUpdate; then what may be missing.
  const rest = fields.slice(hasVersion ? 4 : 3);
  const isTime = (field: Asn1Reader | undefined) =>
    field?.value.type === asn1Types.UTCTIME || field?.value.type === asn1Types.GENERALIZEDTIME;
  const next = isTime(rest[0]) ? rest.shift() : undefined;
  const entries = rest[0]?.isContext(0) === false ? rest[0].members('sequence') : [];
  return {
    serialNumbers: new Set(entries.map(serialOf)),
    nextUpdate: next === undefined ? undefined : timeOf(next.value),
    // Encoded again: equal for DER, and what is not DER then fails the signature.
    signed: encode(info.value),
    algorithm: algorithmOf(oid.oid()),
    signature: signature.bits(),
  };
}

/** A list that nobody here can check would revoke nobody, and say nothing about it. */
function algorithmOf(id: string): ListAlgorithm {
  const known = algorithms[id];
  if (known !== undefined) return known;
  throw new HadalError(
    'ERR_IDENTITY_REVOCATION',
    `a list is signed with algorithm ${id}, which cannot be checked here; have it signed with ECDSA or RSA (PKCS #1 v1.5) and SHA-256, SHA-384 or SHA-512, or with Ed25519`,
  );
}

function serialOf(entry: Asn1Reader): string {
  const [serial] = entry.members('sequence');
  if (serial?.value.type !== asn1Types.INTEGER)
    throw new HadalError('ERR_ASN1', 'an entry without serial number');
  return plain(serial.bytes().toString('hex'));
}

function timeOf(value: Asn1): Date {
  const text = String(value.value);
  const [, year = '', rest = ''] =
    (value.type === asn1Types.UTCTIME ? /^(\d\d)(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text) ?? [];
  const century = year.length === 4 ? '' : Number(year) < 50 ? '20' : '19';
  const digits = rest.match(/\d\d/g) ?? [];
  const [month, day, hour, minute, second] = digits;
  return new Date(`${century}${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** Upper-case hexadecimal without leading zeros. */
function plain(hex: string): string {
  return hex.toUpperCase().replace(/^0+(?=.)/, '');
}
