import { X509Certificate } from 'node:crypto';
import { expect, it, vi } from 'vitest';
import { bundleOf, findPath, readCertificates, uriNames } from '../../../src/identity/chain.ts';
import { type OpensslAuthority, opensslAuthority } from './openssl.ts';

// OpenSSL makes RSA keys, on a machine that may be busy.
vi.setConfig({ testTimeout: 60_000 });

const certificate = (ca: OpensslAuthority) => new X509Certificate(ca.certificate);
// A little later than the certificates that the tests make.
const now = new Date(Date.now() + 3_600_000);
/** No key identifiers, so that names alone could be taken for a path. */
const bare =
  '[ca]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n';
const leafOf = (
  issuer: OpensslAuthority,
  extensions = '[ca]\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=none\n',
) => opensslAuthority('leaf', { issuer, extensions });

function explain(
  leaf: OpensslAuthority,
  between: OpensslAuthority[],
  roots: OpensslAuthority[],
  at = now,
): string {
  let why = 'it is accepted';
  findPath(certificate(leaf), between.map(certificate), roots.map(certificate), at, (reason) => {
    why = reason;
  });
  return why;
}

it('follows signatures, not names: an issuer of the same name with another key is none', () => {
  const [real, impostor] = [
    opensslAuthority('root', { extensions: bare }),
    opensslAuthority('root', { extensions: bare }),
  ];
  const leaf = leafOf(real);
  expect(explain(leaf, [], [impostor])).toMatch(
    /no certificate in the chain or the roots issued O=test, CN=leaf/,
  );
  expect(explain(leaf, [], [impostor, real])).toBe('it is accepted');
});

it('takes no leaf for an authority', () => {
  const root = opensslAuthority('root', { extensions: bare });
  const notCa = opensslAuthority('middle', {
    issuer: root,
    extensions: '[ca]\nbasicConstraints=critical,CA:FALSE\n',
  });
  expect(explain(leafOf(notCa), [notCa], [root])).toMatch(/issued O=test, CN=leaf/);
});

it('every certificate on the path must be valid now', () => {
  const root = opensslAuthority('root', { days: 30 });
  const middle = opensslAuthority('middle', { issuer: root, days: 1 });
  const leaf = opensslAuthority('leaf', {
    issuer: middle,
    days: 10,
    extensions: '[ca]\nbasicConstraints=CA:FALSE\n',
  });
  const inDays = (days: number) => new Date(now.getTime() + days * 86_400_000);
  expect(explain(leaf, [middle], [root])).toBe('it is accepted');
  expect(explain(leaf, [middle], [root], inDays(2))).toMatch(/^O=test, CN=middle expired at/);
  expect(explain(leaf, [middle], [root], inDays(11))).toMatch(/^O=test, CN=leaf expired at/);
  expect(explain(leaf, [middle], [root], inDays(-1))).toMatch(
    /^O=test, CN=leaf is not valid before .*; is the clock right\?/,
  );
});

it('ends when authorities issue each other', () => {
  // A pair of cross-signed authorities of which neither is a root.
  const first = opensslAuthority('first', { extensions: bare });
  const second = opensslAuthority('second', { issuer: first, extensions: bare });
  expect(explain(leafOf(second), [second, first, second, first], [opensslAuthority('other')])).toMatch(
    /no certificate in the chain/,
  );
});

it('a bundle has each certificate once, and text around them does not matter', () => {
  const root = opensslAuthority('root');
  const text = `# the root\n${root.certificate}\nagain:\n${root.certificate}`;
  const read = readCertificates(text, 'bundle.pem');
  expect(read).toHaveLength(2);
  expect(bundleOf(read)).toBe(root.certificate);
});

it('names that hold separators are not taken apart into names that are not there', () => {
  const issuer = opensslAuthority('root');
  const san =
    '[ca]\nbasicConstraints=CA:FALSE\nsubjectAltName=@n\n[n]\nDNS.1=a\\, URI:spiffe://cluster.local/ns/a/sa/admin\n';
  expect(uriNames(certificate(opensslAuthority('leaf', { issuer, extensions: san })))).toEqual([]);
  const two = '[ca]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:a,URI:spiffe://td/ns/a/sa/b\n';
  expect(uriNames(certificate(opensslAuthority('leaf', { issuer, extensions: two })))).toEqual([
    'spiffe://td/ns/a/sa/b',
  ]);
});
