/**
 * How an agent reaches its control plane: TLS whose roots are read again from their file, so that a rotation needs no restart, and a
 * token that is read again for every call, since Kubernetes replaces it. Shared by the certificate client and the mesh client.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { checkServerIdentity, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';
import { type ChannelCredentials, experimental, Metadata } from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import { readCertificates } from './chain.ts';
import { RevocationLists } from './revocation-lists.ts';

export interface ControlPlaneAccess {
  /** Certificates that were taken back, as far as is known now. */
  readonly revocations?: () => RevocationLists;
  /** PEM bundle of the authorities that may have signed the control plane's certificate. */
  readonly rootFile: string;
  readonly tokenFile: string;
  /** istiod looks for the caller's pod in the cluster of this name alone, and signs for nobody who does not say one. */
  readonly clusterId?: string;
}

const rereadMs = 2_000;

type CaListener = experimental.CaCertificateUpdateListener;

/** The roots of a file. New connections are made with what it holds then; a file that cannot be read changes nothing. */
class RootFile implements experimental.CertificateProvider {
  readonly #path: string;
  readonly #listeners = new Set<CaListener>();
  #text: string;
  #timer: NodeJS.Timeout | undefined;

  constructor(path: string) {
    this.#path = path;
    this.#text = readRoots(path);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#listeners.add(listener);
    this.#reread();
    process.nextTick(() => listener({ caCertificate: Buffer.from(this.#text) }));
    this.#timer ??= setInterval(() => this.#reread(), rereadMs).unref();
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  addIdentityCertificateListener(): void {}
  removeIdentityCertificateListener(): void {}

  #reread(): void {
    let text: string;
    try {
      text = readRoots(this.#path);
    } catch {
      return;
    }
    if (text === this.#text) return;
    this.#text = text;
    for (const listener of this.#listeners) listener({ caCertificate: Buffer.from(text) });
  }
}

/** Throws ERR_IDENTITY_ROOT_FILE when there is no root in the file. Connections that stand are not made anew. */
export function controlPlaneCredentials({
  rootFile,
  revocations = () => RevocationLists.none,
}: Pick<ControlPlaneAccess, 'rootFile' | 'revocations'>): ChannelCredentials {
  return experimental.createCertificateProviderChannelCredentials(new RootFile(rootFile), null, {
    checkServerIdentity: (host, certificate) =>
      checkServerIdentity(host, certificate) ?? whyRevoked(certificate, revocations()),
  });
}

/** Called once the chain was found to be good; what Node gives is the leaf with its issuers behind it. */
function whyRevoked(leaf: PeerCertificate, lists: RevocationLists): Error | undefined {
  const path: X509Certificate[] = [];
  for (
    let link: Partial<DetailedPeerCertificate> | undefined = leaf;
    link?.raw !== undefined;
    link = link.issuerCertificate
  ) {
    const certificate = new X509Certificate(link.raw);
    // A root is its own issuer, without end.
    if (path.at(-1)?.fingerprint256 === certificate.fingerprint256) break;
    path.push(certificate);
  }
  const why = lists.findRevoked(path);
  return why === undefined ? undefined : new HadalError('ERR_IDENTITY_REVOKED', why);
}

/** What goes with each call. Rejects with ERR_IDENTITY_TOKEN_FILE, which never holds what the file does. */
export async function callMetadata({
  tokenFile,
  clusterId,
}: Pick<ControlPlaneAccess, 'tokenFile' | 'clusterId'>): Promise<Metadata> {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${await readToken(tokenFile)}`);
  if (clusterId !== undefined) metadata.set('clusterid', clusterId);
  return metadata;
}

export async function readToken(tokenFile: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(tokenFile, 'utf8')).trim();
  } catch (error) {
    throw HadalError.from(
      error,
      'ERR_IDENTITY_TOKEN_FILE',
      `reading the token for the control plane, ${tokenFile}`,
    );
  }
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new HadalError(
    'ERR_IDENTITY_TOKEN_FILE',
    `${tokenFile} holds no token: make one with \`hadal control-plane token --node NAME\`, or mount the projected token of the service account`,
  );
}

function readRoots(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw HadalError.from(error, 'ERR_IDENTITY_ROOT_FILE', `reading the roots of the control plane, ${path}`);
  }
  if (readCertificates(text, path).length > 0) return text;
  throw new HadalError(
    'ERR_IDENTITY_ROOT_FILE',
    `${path} holds no certificate; it must be the root-cert.pem of the authority`,
  );
}
