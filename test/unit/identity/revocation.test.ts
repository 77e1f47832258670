import { X509Certificate } from 'node:crypto';
import { unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isHadalError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { openAuthority } from '../../../src/identity/authority-directory.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import { followRevocationFile } from '../../../src/identity/revocation-file.ts';
import { RevocationLists } from '../../../src/identity/revocation-lists.ts';
import {
  ecP256,
  ecP384,
  type OpensslAuthority,
  opensslAuthority,
  opensslRevocationList,
  rsa,
  temporaryDirectory,
} from './openssl.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/front';

/** A leaf below the authority, and what is above it. */
async function pathBelow(signer: OpensslAuthority, root: OpensslAuthority): Promise<X509Certificate[]> {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'ca-cert.pem'), signer.certificate);
  writeFileSync(join(directory, 'ca-key.pem'), signer.key, { mode: 0o600 });
  writeFileSync(join(directory, 'root-cert.pem'), root.certificate);
  writeFileSync(join(directory, 'cert-chain.pem'), signer.certificate);
  const authority = await openAuthority(directory, { trustDomains: ['cluster.local'] });
  const csr = await createCsr(identity, await generateKey());
  const { chain, roots } = await authority.sign({ csr, identity, lifetimeMs: 60_000 });
  return [...chain, roots].map((pem) => new X509Certificate(pem));
}

describe('a revocation list', () => {
  it.each([
    ['P-256', ecP256],
    ['P-384', ecP384],
    ['RSA 2048', rsa(2048)],
  ])('of an authority with a key of type %s names its certificates and no others', async (_, key) => {
    const root = opensslAuthority('root', { key });
    const [first, second] = [await pathBelow(root, root), await pathBelow(root, root)];
    const lists = RevocationLists.parse(opensslRevocationList(root, [first[0]?.serialNumber ?? '']));
    expect(lists.size).toBe(1);
    expect(lists.findRevoked(first)).toMatch(/sa\/front with serial number [0-9A-F]+ was revoked/);
    expect(lists.findRevoked(second)).toBeUndefined();
  });

  it.each([
    ['P-256', ecP256, 'sha512'],
    ['RSA 2048', rsa(2048), 'sha384'],
    ['RSA 2048', rsa(2048), 'sha512'],
  ])('of an authority with a key of type %s may be signed with %s', async (_, key, digest) => {
    const root = opensslAuthority('root', { key });
    const path = await pathBelow(root, root);
    const pem = opensslRevocationList(root, [path[0]?.serialNumber ?? ''], { digest });
    expect(RevocationLists.parse(pem).findRevoked(path)).toMatch(/was revoked/);
  });

  it.each<[string, { digest?: string; options?: readonly string[] }, string]>([
    ['RSA-PSS', { options: ['-sigopt', 'rsa_padding_mode:pss'] }, '1.2.840.113549.1.1.10'],
    ['SHA-1', { digest: 'sha1' }, '1.2.840.113549.1.1.5'],
  ])('that is signed with %s is refused by the name of that, for it could not be checked', (_, how, id) => {
    const root = opensslAuthority('root', { key: rsa(2048) });
    const bad = opensslRevocationList(root, ['01'], how);
    const good = opensslRevocationList(root, ['02']);
    for (const pem of [bad, good + bad])
      expect(() => RevocationLists.parse(pem)).toThrow(
        `a list is signed with algorithm ${id}, which cannot be checked here; have it signed with`,
      );
  });

  it('of a root takes an intermediate, and with it all below', async () => {
    const root = opensslAuthority('root');
    const intermediate = opensslAuthority('intermediate', { issuer: root });
    const path = await pathBelow(intermediate, root);
    expect(path).toHaveLength(3);
    const serial = path[1]?.serialNumber ?? '';
    expect(RevocationLists.parse(opensslRevocationList(root, [serial])).findRevoked(path)).toMatch(
      /intermediate/,
    );
    // The intermediate has no say over itself.
    expect(
      RevocationLists.parse(opensslRevocationList(intermediate, [serial])).findRevoked(path),
    ).toBeUndefined();
  });

  it('of somebody else, also of the same name, takes nobody', async () => {
    const root = opensslAuthority('root');
    const impostor = opensslAuthority('root');
    const path = await pathBelow(root, root);
    const lists = RevocationLists.parse(opensslRevocationList(impostor, [path[0]?.serialNumber ?? '']));
    expect(lists.size).toBe(1);
    expect(lists.findRevoked(path)).toBeUndefined();
  });

  it('that is overdue counts on, one without entries takes nobody, none at all takes nobody', async () => {
    const root = opensslAuthority('root');
    const path = await pathBelow(root, root);
    const overdue = RevocationLists.parse(
      opensslRevocationList(root, [path[0]?.serialNumber ?? ''], { expired: true }),
    );
    expect(overdue.nextUpdate).toEqual(new Date('2020-01-02T00:00:00Z'));
    expect(overdue.findRevoked(path)).toBeDefined();
    const empty = RevocationLists.parse(opensslRevocationList(root, []));
    expect(empty.nextUpdate?.getTime()).toBeGreaterThan(Date.now());
    expect(empty.findRevoked(path)).toBeUndefined();
    expect(RevocationLists.parse(' \n').findRevoked(path)).toBeUndefined();
  });

  it('may stand beside others in one text', async () => {
    const [one, two] = [opensslAuthority('one'), opensslAuthority('two')];
    const [first, second] = [await pathBelow(one, one), await pathBelow(two, two)];
    const lists = RevocationLists.parse(
      opensslRevocationList(one, ['01', '02']) + opensslRevocationList(two, [second[0]?.serialNumber ?? '']),
    );
    expect(lists.size).toBe(3);
    expect(lists.findRevoked(first)).toBeUndefined();
    expect(lists.findRevoked(second)).toBeDefined();
  });

  it('with any byte changed is refused in words, or takes nobody whom the real one does not', async () => {
    const root = opensslAuthority('root');
    const [first, second] = [await pathBelow(root, root), await pathBelow(root, root)];
    const pem = opensslRevocationList(root, [first[0]?.serialNumber ?? '']);
    const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const change = fc.array(fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(change, (bytes) => {
        const changed = Buffer.from(der);
        for (const [at, value] of bytes) changed[at] = value;
        const text = `-----BEGIN X509 CRL-----\n${changed.toString('base64')}\n-----END X509 CRL-----\n`;
        try {
          expect(RevocationLists.parse(text).findRevoked(second)).toBeUndefined();
        } catch (error) {
          expect(isHadalError(error) && error.code).toMatch(/^ERR_(?:IDENTITY_REVOCATION|ASN1)$/);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    'nonsense',
    '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n',
    '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n',
  ])('is not %j', (text) =>
    expect(() => RevocationLists.parse(text)).toThrow(/reading the revocation lists/),
  );
});

describe('the file of revocation lists', () => {
  const root = opensslAuthority('root');

  async function follow(path: string) {
    const applied: number[] = [];
    const following = await followRevocationFile({
      path,
      apply: (_, { size }) => void applied.push(size),
      logger: silentLogger,
      debounceMs: 20,
    });
    onTestFinished(() => following.close());
    return applied;
  }

  it('is read before anything else, and again when it changes, and nonsense changes nothing', async () => {
    const path = join(temporaryDirectory(), 'crl.pem');
    writeFileSync(path, opensslRevocationList(root, ['01']));
    const applied = await follow(path);
    expect(applied).toEqual([1]);
    writeFileSync(path, opensslRevocationList(root, ['01', '02']));
    await expect.poll(() => applied).toEqual([1, 2]);
    writeFileSync(path, 'nonsense');
    unlinkSync(path);
    await sleep(200);
    expect(applied).toEqual([1, 2]);
    writeFileSync(path, '');
    await expect.poll(() => applied).toEqual([1, 2, 0]);
  });

  it('may come later', async () => {
    const path = join(temporaryDirectory(), 'crl.pem');
    const applied = await follow(path);
    expect(applied).toEqual([]);
    writeFileSync(path, opensslRevocationList(root, ['01']));
    await expect.poll(() => applied).toEqual([1]);
  });
});
