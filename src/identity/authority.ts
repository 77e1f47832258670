/** The certificate authority: signs workload certificates with a root or an intermediate key. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import { parseSpiffeId } from '../model/spiffe-id.ts';
import { type Issuer, issueLeaf, issuerOf, issueServer, type ServerNames } from './certificate.ts';
import { bundleOf, findPath, isSelfSigned, readCertificates, subjectOf, whyNotValid } from './chain.ts';
import { readCsr } from './csr.ts';
import { keyFromPem, publicDer, whyWeakKey } from './keys.ts';
import type { CertificateSigner, SignedCertificate, SigningRequest } from './signer.ts';

const minute = 60_000;
const day = 24 * 60 * minute;

export interface AuthorityOptions {
  /** Trust domains it signs for. */
  readonly trustDomains: readonly string[];
  /** When a request names none. Default 24 hours. */
  readonly defaultLifetimeMs?: number;
  /** Longer requests get this. Default 90 days. */
  readonly maxLifetimeMs?: number;
  /** How far before now a certificate begins, for nodes whose clock is behind. Default 2 minutes. */
  readonly clockSkewMs?: number;
  /** For tests. */
  readonly now?: () => number;
}

/** PEM texts in the layout of Istio's `cacerts` secret. */
export interface AuthorityMaterial {
  /** Named in errors: the directory. */
  readonly source: string;
  /** ca-cert.pem: the certificate that signs. */
  readonly certificate: string;
  /** ca-key.pem. */
  readonly privateKey: string;
  /** root-cert.pem: all roots, old and new during a rotation. */
  readonly roots: string;
  /** cert-chain.pem: from the signing certificate up; root optional. */
  readonly chain: string;
}

export class Authority implements CertificateSigner {
  readonly name: string;
  readonly #issuer: Issuer;
  readonly #certificate: X509Certificate;
  /** Below the root, signing certificate first. */
  readonly #intermediates: readonly X509Certificate[];
  readonly #roots: readonly X509Certificate[];
  readonly #rootsPem: string;
  readonly #pathEnd: number;
  readonly #root: X509Certificate;
  readonly #options: Required<AuthorityOptions>;

  constructor(material: AuthorityMaterial, options: AuthorityOptions) {
    // 1. Defaults.
    this.#options = {
      defaultLifetimeMs: day,
      maxLifetimeMs: 90 * day,
      clockSkewMs: 2 * minute,
      now: Date.now,
      ...options,
    };
    this.name = `authority of ${material.source}`;
    // 2. Read.
    const certificate = onlySigner(material);
    const key = keyFromPem(material.privateKey, `${material.source}/ca-key.pem`);
    this.#roots = readCertificates(material.roots, `${material.source}/root-cert.pem`);
    const chain = readCertificates(material.chain, `${material.source}/cert-chain.pem`);
    // 3. Validate.
    checkSigner(material.source, certificate, key);
    const path = pathToRoot(material.source, certificate, chain, this.#roots, new Date(this.#options.now()));
    // 4. Interpret.
    this.#certificate = certificate;
    this.#root = path.at(-1) ?? certificate;
    this.#intermediates = path.filter((link) => !isSelfSigned(link));
    this.#rootsPem = bundleOf(this.#roots);
    this.#pathEnd = Math.min(...path.map((link) => link.validToDate.getTime()));
    this.#issuer = issuerOf(certificate.raw, key);
  }

  /** PEM bundle of the roots that peers shall trust. */
  get roots(): string {
    return this.#rootsPem;
  }

  /** The certificate that signs. */
  get signer(): X509Certificate {
    return this.#certificate;
  }

  /** The root at the end of its own path. */
  get root(): X509Certificate {
    return this.#root;
  }

  /** Whether it would sign the same and give out the same roots. */
  equals(other: Authority): boolean {
    const prints = (list: readonly X509Certificate[]) =>
      list.map(({ fingerprint256 }) => fingerprint256).join();
    return (
      this.#certificate.fingerprint256 === other.#certificate.fingerprint256 &&
      this.#rootsPem === other.#rootsPem &&
      prints(this.#intermediates) === prints(other.#intermediates)
    );
  }

  /** When the first certificate on its own path ends; no leaf outlives it. */
  get expiresAt(): Date {
    return new Date(this.#pathEnd);
  }

  /** Who may ask for `identity` is the caller's to know; here only the request and the trust domain are judged. */
  async sign({ csr, identity, lifetimeMs }: SigningRequest): Promise<SignedCertificate> {
    const id = parseSpiffeId(identity);
    if (id === undefined) {
      throw refused(
        `${JSON.stringify(identity)} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>`,
      );
    }
    if (!this.#options.trustDomains.includes(id.trustDomain)) {
      throw refused(
        `${identity} is not of a trust domain of this authority (${this.#options.trustDomains.join(', ')})`,
      );
    }
    const request = readCsr(csr);
    if (request.uris.length === 0 && !request.otherNames) {
      throw refused(`the request for ${identity} names nobody; its SubjectAltName must hold that URI`);
    }
    if (request.otherNames || request.uris.some((uri) => uri !== identity)) {
      throw refused(
        `the request for ${identity} names something else: ${request.uris.join(', ') || 'a name that is no URI'}`,
      );
    }
    const leaf = await issueLeaf(this.#issuer, identity, request.publicKey, this.#validity(lifetimeMs));
    return { chain: [leaf, ...this.#intermediates.map((link) => bundleOf([link]))], roots: this.#rootsPem };
  }

  /** A certificate for a TLS server of the mesh's own, such as the control plane. */
  async signServer(names: ServerNames, publicKey: KeyObject, lifetimeMs: number): Promise<SignedCertificate> {
    const leaf = await issueServer(this.#issuer, names, publicKey, this.#validity(lifetimeMs));
    return { chain: [leaf, ...this.#intermediates.map((link) => bundleOf([link]))], roots: this.#rootsPem };
  }

  #validity(wantedMs: number): { notBefore: Date; notAfter: Date } {
    const { now, clockSkewMs, defaultLifetimeMs, maxLifetimeMs } = this.#options;
    const at = now();
    const expired = whyNotValid(this.#certificate, new Date(at));
    if (expired !== undefined || at >= this.#pathEnd) {
      throw new HadalError(
        'ERR_IDENTITY_AUTHORITY',
        `${this.name} cannot sign: ${expired ?? 'a certificate above it expired'}; renew it`,
      );
    }
    const lifetimeMs = Math.min(wantedMs > 0 ? wantedMs : defaultLifetimeMs, maxLifetimeMs);
    // X.509 knows whole seconds.
    const second = (ms: number) => new Date(Math.floor(ms / 1000) * 1000);
    return {
      notBefore: second(at - clockSkewMs),
      notAfter: second(Math.min(at + lifetimeMs, this.#pathEnd)),
    };
  }
}

function onlySigner(material: AuthorityMaterial): X509Certificate {
  const [certificate] = readCertificates(material.certificate, `${material.source}/ca-cert.pem`);
  if (certificate === undefined) throw unusable(material.source, 'ca-cert.pem holds no certificate');
  return certificate;
}

function checkSigner(source: string, certificate: X509Certificate, key: KeyObject): void {
  if (!certificate.ca)
    throw unusable(
      source,
      `${subjectOf(certificate)} in ca-cert.pem is not a CA (basicConstraints lacks CA:TRUE)`,
    );
  if (!publicDer(key).equals(publicDer(certificate.publicKey)))
    throw unusable(source, 'ca-key.pem is not the key of ca-cert.pem');
  const weak = whyWeakKey(key);
  if (weak !== undefined) throw unusable(source, `its key is not accepted: ${weak}`);
}

function pathToRoot(
  source: string,
  certificate: X509Certificate,
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  at: Date,
): X509Certificate[] {
  if (roots.length === 0) throw unusable(source, 'root-cert.pem holds no certificate');
  const same = roots.find((root) => root.fingerprint256 === certificate.fingerprint256);
  if (same !== undefined) {
    const expired = whyNotValid(certificate, at);
    if (expired !== undefined) throw unusable(source, expired);
    return [certificate];
  }
  let why = '';
  const path = findPath(certificate, chain, roots, at, (reason) => {
    why = reason;
  });
  if (path === undefined) throw unusable(source, `no path from ca-cert.pem to root-cert.pem: ${why}`);
  return path;
}

function unusable(source: string, why: string): HadalError<'ERR_IDENTITY_AUTHORITY'> {
  return new HadalError(
    'ERR_IDENTITY_AUTHORITY',
    `the certificate authority in ${source} is not usable: ${why}`,
  );
}

function refused(why: string): HadalError<'ERR_IDENTITY_REFUSED'> {
  return new HadalError('ERR_IDENTITY_REFUSED', why);
}
