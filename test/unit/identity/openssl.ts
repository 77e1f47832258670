/** Certificates made and judged by OpenSSL's own program: another implementation than the one under test. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export function temporaryDirectory(parent = tmpdir()): string {
  const directory = mkdtempSync(join(parent, 'hadal-identity-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function openssl(args: readonly string[], input?: string): string {
  return execFileSync('openssl', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
}

/** What `openssl verify` says of a leaf; `OK` when it is accepted. */
export function opensslVerify(
  leaf: string,
  intermediates: readonly string[],
  roots: string,
  purpose: string,
): string {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-verify-'));
  try {
    const file = (name: string, text: string) => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const untrusted =
      intermediates.length === 0 ? [] : ['-untrusted', file('chain.pem', intermediates.join(''))];
    const args = [
      'verify',
      '-x509_strict',
      '-purpose',
      purpose,
      '-CAfile',
      file('roots.pem', roots),
      ...untrusted,
    ];
    const { stdout, stderr, status } = spawnSync('openssl', [...args, file('leaf.pem', leaf)], {
      encoding: 'utf8',
    });
    return status === 0 ? 'OK' : `${stdout}${stderr}`;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface OpensslAuthority {
  readonly key: string;
  readonly certificate: string;
}

const caExtensions =
  '[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n';

/** A CA made by OpenSSL; self-signed without `issuer`. `key`: arguments of `openssl genpkey`. */
export function opensslAuthority(
  name: string,
  options: {
    readonly key?: readonly string[];
    readonly issuer?: OpensslAuthority;
    readonly days?: number;
    readonly extensions?: string;
  } = {},
): OpensslAuthority {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-ca-'));
  try {
    const path = (file: string) => join(directory, file);
    const { key = ecP256, issuer, days = 30, extensions = caExtensions } = options;
    openssl(['genpkey', ...key, '-out', path('key.pem')]);
    writeFileSync(path('ext.cnf'), extensions);
    const subject = `/O=test/CN=${name}`;
    openssl(['req', '-new', '-key', path('key.pem'), '-subj', subject, '-out', path('csr.pem')]);
    const common = [
      '-in',
      path('csr.pem'),
      '-days',
      String(days),
      '-extfile',
      path('ext.cnf'),
      '-extensions',
      'ca',
      '-out',
      path('cert.pem'),
    ];
    if (issuer === undefined) {
      openssl(['x509', '-req', ...common, '-key', path('key.pem')]);
    } else {
      writeFileSync(path('issuer.key'), issuer.key);
      writeFileSync(path('issuer.pem'), issuer.certificate);
      openssl([
        'x509',
        '-req',
        ...common,
        '-CA',
        path('issuer.pem'),
        '-CAkey',
        path('issuer.key'),
        '-CAcreateserial',
      ]);
    }
    const read = (file: string) => execFileSync('cat', [path(file)], { encoding: 'utf8' });
    return { key: read('key.pem'), certificate: read('cert.pem') };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The revocation list of an authority, made by OpenSSL; serial numbers in hexadecimal. */
export function opensslRevocationList(
  { key, certificate }: OpensslAuthority,
  serialNumbers: readonly string[],
  { expired = false, digest = 'sha256', options = [] as readonly string[] } = {},
): string {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-crl-'));
  try {
    const path = (file: string) => join(directory, file);
    writeFileSync(path('ca.key'), key, { mode: 0o600 });
    writeFileSync(path('ca.pem'), certificate);
    const lines = serialNumbers.map(
      (serial) => `R\t491231235959Z\t250101000000Z\t${serial}\tunknown\t/CN=x\n`,
    );
    writeFileSync(path('index.txt'), lines.join(''));
    writeFileSync(path('index.txt.attr'), 'unique_subject = no\n');
    writeFileSync(path('crlnumber'), '01\n');
    const section = [
      `database=${path('index.txt')}`,
      `crlnumber=${path('crlnumber')}`,
      `default_md=${digest}`,
    ];
    writeFileSync(path('ca.cnf'), `[ca]\ndefault_ca=d\n[d]\n${section.join('\n')}\n`);
    const dates = expired
      ? ['-crl_lastupdate', '20200101000000Z', '-crl_nextupdate', '20200102000000Z']
      : ['-crldays', '7'];
    return openssl([
      'ca',
      '-gencrl',
      '-config',
      path('ca.cnf'),
      '-keyfile',
      path('ca.key'),
      '-cert',
      path('ca.pem'),
      ...dates,
      ...options,
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export const ecP256 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'] as const;
export const ecP384 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'] as const;
export const ecP521 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'] as const;
export const rsa = (bits: number) => ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`] as const;
export const ed25519 = ['-algorithm', 'ED25519'] as const;

/** A request made by OpenSSL with the given SubjectAltName, e.g. `critical,URI:spiffe://...`. */
export function opensslRequest(key: readonly string[], subjectAltName?: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-csr-'));
  try {
    const keyPath = join(directory, 'key.pem');
    openssl(['genpkey', ...key, '-out', keyPath]);
    const extension = subjectAltName === undefined ? [] : ['-addext', `subjectAltName=${subjectAltName}`];
    return openssl(['req', '-new', '-key', keyPath, '-subj', '/', ...extension]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
