/** A certificate as an agent uses it: what an authority returned, checked against what was asked. */
import { createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import {
  bundleOf,
  findPath,
  isSelfSigned,
  readCertificates,
  servesBothSides,
  subjectOf,
  uriNames,
} from './chain.ts';
import { keyFromPem, keyToPem, publicDer } from './keys.ts';
import type { SignedCertificate } from './signer.ts';

/** The shape of `TlsIdentity` in src/native/types.ts, which takes it as it is. */
export interface WorkloadIdentity {
  readonly identity: string;
  readonly certificateChain: string;
  readonly privateKey: string;
  readonly roots: string;
  readonly trustDomains: readonly string[];
}

/** One certificate of a chain, for people and `/config_dump`. */
export interface CertificateDescription {
  readonly subject: string;
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
  readonly pem: string;
}

export interface WorkloadCertificate {
  readonly identity: string;
  readonly key: KeyObject;
  /** Leaf first, then intermediates. */
  readonly chain: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Throws ERR_IDENTITY_ANSWER unless the chain is for `identity` and `key` and leads to one of its roots. */
export function checkCertificate(
  identity: string,
  key: KeyObject,
  signed: SignedCertificate,
  at: Date,
): WorkloadCertificate {
  const wrong = (why: string) =>
    new HadalError('ERR_IDENTITY_ANSWER', `the authority's answer for ${identity} is not usable: ${why}`);
  const [leaf, ...intermediates] = signed.chain.flatMap((pem) =>
    readCertificates(pem, `the certificate for ${identity}`),
  );
  const roots = readCertificates(signed.roots, `the roots for ${identity}`);
  if (leaf === undefined) throw wrong('it holds no certificate');
  if (roots.length === 0) throw wrong('it holds no root');
  const names = uriNames(leaf);
  if (names.length !== 1 || names[0] !== identity) {
    throw wrong(`the certificate names ${names.join(', ') || 'no URI'}`);
  }
  if (leaf.ca) throw wrong('it may sign others');
  if (!publicDer(createPublicKey(key)).equals(publicDer(leaf.publicKey)))
    throw wrong('it is for another key');
  if (!servesBothSides(leaf)) throw wrong('its extended key usage lacks serverAuth or clientAuth');
  let why = '';
  const path = findPath(leaf, intermediates, roots, at, (reason) => {
    why = reason;
  });
  if (path === undefined) throw wrong(why);
  // A chain ends where any certificate on its path does.
  const notAfter = new Date(Math.min(...path.map((certificate) => certificate.validToDate.getTime())));
  const chain = [leaf, ...intermediates.filter((certificate) => !isSelfSigned(certificate))];
  return { identity, key, chain, roots, notBefore: leaf.validFromDate, notAfter };
}

export function toWorkloadIdentity(
  certificate: WorkloadCertificate,
  trustDomains: readonly string[],
): WorkloadIdentity {
  return Object.freeze({
    identity: certificate.identity,
    certificateChain: bundleOf(certificate.chain),
    privateKey: keyToPem(certificate.key),
    roots: bundleOf(certificate.roots),
    trustDomains,
  });
}

export function describeCertificate(certificate: X509Certificate): CertificateDescription {
  return {
    subject: uriNames(certificate)[0] ?? subjectOf(certificate),
    // istioctl prints it as a decimal number.
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: certificate.validFromDate.toISOString(),
    expirationTime: certificate.validToDate.toISOString(),
    pem: bundleOf([certificate]),
  };
}

/** Reads back what `toWorkloadIdentity` made, with all checks again. */
export function fromWorkloadIdentity(
  kept: Omit<WorkloadIdentity, 'trustDomains'>,
  at: Date,
): WorkloadCertificate {
  const key = keyFromPem(kept.privateKey, `the kept key of ${kept.identity}`);
  return checkCertificate(kept.identity, key, { chain: [kept.certificateChain], roots: kept.roots }, at);
}
