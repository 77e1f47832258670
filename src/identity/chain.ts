/** Reading and checking certificates: bundles, names, and the path from a leaf to one of the roots. */
import { X509Certificate } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import { fromPem, oids, toPem } from './asn1.ts';

/** Longer paths are not followed. */
const maxPathLength = 8;

/** All certificates of a PEM bundle, in its order. `source` names it in the error. */
export function readCertificates(pem: string, source: string): X509Certificate[] {
  try {
    return fromPem(pem, ['CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE']).map(
      (der) => new X509Certificate(der),
    );
  } catch (error) {
    throw HadalError.from(
      error,
      'ERR_IDENTITY_CERTIFICATE',
      `${source} holds a certificate that cannot be read`,
    );
  }
}

/** A bundle in PEM, each certificate once. */
export function bundleOf(certificates: readonly X509Certificate[]): string {
  const seen = new Map(certificates.map((certificate) => [certificate.fingerprint256, certificate]));
  return [...seen.values()].map((certificate) => toPem('CERTIFICATE', certificate.raw)).join('');
}

export function subjectOf(certificate: X509Certificate): string {
  return certificate.subject === undefined || certificate.subject === ''
    ? '(no subject)'
    : certificate.subject.replaceAll('\n', ', ');
}

export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** URIs of the SubjectAltName. Names that Node had to quote, since they hold separators, are never ours and are left out. */
export function uriNames(certificate: X509Certificate): string[] {
  const names = certificate.subjectAltName ?? '';
  if (names.includes('"')) return [];
  return names
    .split(', ')
    .filter((name) => name.startsWith('URI:'))
    .map((name) => name.slice('URI:'.length));
}

/**
 * The path from `leaf` through `intermediates` to one of `roots`, root last; valid at `at`. Undefined when there is none, and
 * then `explain` hears why.
 */
export function findPath(
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  at: Date,
  explain: (why: string) => void = () => {},
): X509Certificate[] | undefined {
  const path = [leaf];
  for (let current = leaf; path.length <= maxPathLength; ) {
    const expired = whyNotValid(current, at);
    if (expired !== undefined) return void explain(expired);
    const root = roots.find(
      (candidate) => isIssuedBy(current, candidate) && whyNotValid(candidate, at) === undefined,
    );
    if (root !== undefined) return [...path, root];
    const next = intermediates.find(
      (candidate) => !path.includes(candidate) && isIssuedBy(current, candidate),
    );
    if (next === undefined) {
      return void explain(`no certificate in the chain or the roots issued ${describe(current)}`);
    }
    path.push(next);
    current = next;
  }
  return void explain(`the chain is longer than ${maxPathLength}`);
}

export function whyNotValid(certificate: X509Certificate, at: Date): string | undefined {
  if (at < certificate.validFromDate) {
    return `${describe(certificate)} is not valid before ${certificate.validFromDate.toISOString()}; is the clock right?`;
  }
  if (at > certificate.validToDate)
    return `${describe(certificate)} expired at ${certificate.validToDate.toISOString()}`;
  return undefined;
}

function describe(certificate: X509Certificate): string {
  return uriNames(certificate)[0] ?? subjectOf(certificate);
}

/** Whether the certificate is for TLS servers and clients both; HBONE needs it for both. */
export function servesBothSides(certificate: X509Certificate): boolean {
  const uses = certificate.keyUsage as string[] | undefined;
  return uses === undefined || (uses.includes(oids.serverAuth) && uses.includes(oids.clientAuth));
}
