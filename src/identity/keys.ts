/** Private keys: made by node:crypto, kept as PKCS#8 PEM, never logged. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  type SignKeyObjectInput,
  sign,
} from 'node:crypto';
import { promisify } from 'node:util';
import { HadalError } from '../base/errors.ts';
import { type Asn1, nothing, oid, oids, sequence } from './asn1.ts';

const generate = promisify(generateKeyPair);
const minRsaBits = 2048;

/** ECDSA P-256, on the thread pool. */
export async function generateKey(): Promise<KeyObject> {
  const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
  return privateKey;
}

export function keyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** A private key in PEM: PKCS#8, or the older forms that cacerts secrets hold. */
export function keyFromPem(pem: string, source: string): KeyObject {
  if (/ENCRYPTED/.test(pem)) {
    throw new HadalError(
      'ERR_IDENTITY_KEY',
      `${source} is encrypted; give the key without passphrase (openssl pkcs8 -topk8 -nocrypt)`,
    );
  }
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw HadalError.from(error, 'ERR_IDENTITY_KEY', `${source} holds no private key that can be read`);
  }
}

export function publicDer(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key;
  return half.export({ type: 'spki', format: 'der' });
}

/** Undefined when the mesh takes the key: ECDSA P-256 or P-384, RSA from 2048 bits, Ed25519. Else why not. */
export function whyWeakKey(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType;
  const details = key.asymmetricKeyDetails;
  if (type === 'ed25519') return undefined;
  if (type === 'ec') {
    const curve = details?.namedCurve;
    if (curve === 'prime256v1' || curve === 'secp384r1') return undefined;
    return `its curve is ${curve ?? 'not a named one'}; use P-256 or P-384`;
  }
  if (type === 'rsa') {
    const length = details?.modulusLength ?? 0;
    return length >= minRsaBits
      ? undefined
      : `RSA of ${length} bits; use at least ${minRsaBits}, or ECDSA P-256`;
  }
  return `its type is ${type ?? 'unknown'}; use ECDSA P-256`;
}

interface SignatureAlgorithm {
  readonly identifier: Asn1;
  /** Digest for node:crypto; undefined where the algorithm has its own. */
  readonly digest: 'sha256' | 'sha384' | undefined;
}

/** With which algorithm `key` signs certificates and requests. */
export function signatureAlgorithm(key: KeyObject): SignatureAlgorithm {
  if (key.asymmetricKeyType === 'rsa')
    return { identifier: sequence(oid(oids.sha256WithRsa), nothing()), digest: 'sha256' };
  if (key.asymmetricKeyType === 'ed25519')
    return { identifier: sequence(oid(oids.ed25519)), digest: undefined };
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
    ? { identifier: sequence(oid(oids.ecdsaWithSha384)), digest: 'sha384' }
    : { identifier: sequence(oid(oids.ecdsaWithSha256)), digest: 'sha256' };
}

/** Digest that belongs to a signature algorithm's OID; undefined for one that is not accepted. */
export function digestOfSignature(
  id: string,
): { readonly digest: 'sha256' | 'sha384' | undefined; readonly keyType: string } | undefined {
  switch (id) {
    case oids.ecdsaWithSha256:
      return { digest: 'sha256', keyType: 'ec' };
    case oids.ecdsaWithSha384:
      return { digest: 'sha384', keyType: 'ec' };
    case oids.sha256WithRsa:
      return { digest: 'sha256', keyType: 'rsa' };
    case oids.ed25519:
      return { digest: undefined, keyType: 'ed25519' };
    default:
      return undefined;
  }
}

/** Signs on the thread pool: an RSA-4096 authority takes milliseconds each. */
export function signBytes(key: KeyObject, digest: string | undefined, bytes: Uint8Array): Promise<Buffer> {
  const input: SignKeyObjectInput = { key };
  return new Promise((resolve, reject) => {
    sign(digest, bytes, input, (error, signature) => (error ? reject(error) : resolve(signature)));
  });
}
