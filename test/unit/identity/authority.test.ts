import { createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { Authority, type AuthorityMaterial } from '../../../src/identity/authority.ts';
import { openAuthority, openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { generateKey, keyToPem } from '../../../src/identity/keys.ts';
import {
  ecP256,
  ecP384,
  ecP521,
  ed25519,
  openssl,
  opensslAuthority,
  opensslRequest,
  opensslVerify,
  rsa,
  temporaryDirectory,
} from './openssl.ts';

// OpenSSL makes RSA keys, on a machine that may be busy.
vi.setConfig({ testTimeout: 60_000 });

const identity = 'spiffe://cluster.local/ns/shop/sa/front';
const options = { trustDomains: ['cluster.local'] };
const hour = 3_600_000;

async function issue(authority: Authority, lifetimeMs = hour, name = identity) {
  const key = await generateKey();
  const signed = await authority.sign({ csr: await createCsr(name, key), identity: name, lifetimeMs });
  const [leaf = '', ...intermediates] = signed.chain;
  return { key, leaf, intermediates, roots: signed.roots };
}

function material(ca: { key: string; certificate: string }, roots: string, chain = ''): AuthorityMaterial {
  return { source: '/test', certificate: ca.certificate, privateKey: ca.key, roots, chain };
}

describe('a self-signed authority', () => {
  it('issues leaves that OpenSSL accepts for servers and for clients', async () => {
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), options);
    const { leaf, intermediates, roots } = await issue(authority);
    expect(intermediates).toEqual([]);
    expect(opensslVerify(leaf, [], roots, 'sslserver')).toBe('OK');
    expect(opensslVerify(leaf, [], roots, 'sslclient')).toBe('OK');
  });

  it('puts the SPIFFE id alone into the leaf, as a critical name beside an empty subject', async () => {
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), options);
    const text = openssl(['x509', '-noout', '-text'], (await issue(authority)).leaf);
    expect(text).toMatch(/Subject: *\n/);
    expect(text).toMatch(
      /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front\n/,
    );
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(text).toMatch(
      /X509v3 Extended Key Usage: *\n\s+TLS Web Server Authentication, TLS Web Client Authentication\n/,
    );
    expect(text).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toContain('X509v3 Authority Key Identifier');
    expect(text).toContain('Version: 3');
    expect(text).toContain('ecdsa-with-SHA256');
  });

  it('keeps its root: the next start has the same one, and the key is for its owner alone', async () => {
    const directory = join(temporaryDirectory(), 'ca');
    const first = await openSelfSignedAuthority(directory, options);
    const second = await openSelfSignedAuthority(directory, options);
    expect(second.roots).toBe(first.roots);
    expect(statSync(join(directory, 'ca-key.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  });

  it('makes one root when several processes start at once', async () => {
    const directory = join(temporaryDirectory(), 'ca');
    const all = await Promise.all(
      Array.from({ length: 6 }, () => openSelfSignedAuthority(directory, options)),
    );
    expect(new Set(all.map(({ roots }) => roots)).size).toBe(1);
  });

  it('gives every certificate another serial number', async () => {
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), options);
    const leaves = await Promise.all(Array.from({ length: 20 }, () => issue(authority)));
    const serials = leaves.map(({ leaf }) => new X509Certificate(leaf).serialNumber);
    expect(new Set(serials).size).toBe(20);
    expect(serials.every((serial) => serial.length === 32)).toBe(true);
  });
});

describe('lifetimes', () => {
  const now = Date.parse('2030-01-01T00:00:00.400Z');

  async function validity(lifetimeMs: number, rootLifetimeMs?: number) {
    const settings = {
      ...options,
      now: () => now,
      ...(rootLifetimeMs === undefined ? {} : { rootLifetimeMs }),
    };
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), settings);
    const { validFromDate, validToDate } = new X509Certificate((await issue(authority, lifetimeMs)).leaf);
    return { from: validFromDate.toISOString(), to: validToDate.toISOString() };
  }

  it('begin two minutes before now, for nodes whose clock is behind', async () => {
    expect(await validity(hour)).toEqual({
      from: '2029-12-31T23:58:00.000Z',
      to: '2030-01-01T01:00:00.000Z',
    });
  });
  it('are 24 hours when none is asked for', async () => {
    expect((await validity(0)).to).toBe('2030-01-02T00:00:00.000Z');
  });
  it('are 90 days at most', async () => {
    expect((await validity(365 * 24 * hour)).to).toBe('2030-04-01T00:00:00.000Z');
  });
  it.each([0, -1, 24 * hour])(
    'are no longer than the longest, whatever is asked for (%s ms)',
    async (asked) => {
      const settings = { ...options, now: () => now, maxLifetimeMs: 60_000 };
      const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), settings);
      const { validToDate } = new X509Certificate((await issue(authority, asked)).leaf);
      expect(validToDate.toISOString()).toBe('2030-01-01T00:01:00.000Z');
    },
  );
  it('never outlive the root', async () => {
    expect((await validity(24 * hour, 2 * hour)).to).toBe('2030-01-01T02:00:00.000Z');
  });
  it('beyond 2049 are written as RFC 5280 wants them', async () => {
    const settings = { ...options, now: () => Date.parse('2049-12-31T12:00:00Z') };
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), settings);
    const { leaf } = await issue(authority, 24 * hour);
    expect(openssl(['asn1parse'], leaf)).toMatch(
      /UTCTIME +:491231115800Z[\s\S]*GENERALIZEDTIME +:20500101120000Z/,
    );
  });
  it('cannot be given by an authority that has expired', async () => {
    let at = now;
    const settings = { ...options, now: () => at, rootLifetimeMs: hour };
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), settings);
    at += 2 * hour;
    await expect(issue(authority)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_AUTHORITY',
      message: expect.stringMatching(/cannot sign: .*expired at 2030-01-01T01:00:00.000Z; renew it/),
    });
  });
});

describe('a plugged-in authority', () => {
  it.each([
    ['ECDSA P-256', ecP256],
    ['ECDSA P-384', ecP384],
    ['RSA 2048', rsa(2048)],
    ['RSA 3072', rsa(3072)],
    ['Ed25519', ed25519],
  ])('signs with a root key of type %s', async (_, key) => {
    const root = opensslAuthority('root', { key });
    const authority = new Authority(material(root, root.certificate), options);
    const { leaf, roots } = await issue(authority);
    expect(opensslVerify(leaf, [], roots, 'sslserver')).toBe('OK');
  });

  it('returns the intermediates between the leaf and the root, and not the root', async () => {
    const root = opensslAuthority('root', { key: rsa(2048) });
    const upper = opensslAuthority('upper', { issuer: root });
    const lower = opensslAuthority('lower', { issuer: upper, key: ecP384 });
    const directory = temporaryDirectory();
    // As the cacerts secret has it; the order in the chain is not relied upon.
    writeFileSync(join(directory, 'ca-cert.pem'), lower.certificate);
    writeFileSync(join(directory, 'ca-key.pem'), lower.key, { mode: 0o600 });
    writeFileSync(join(directory, 'root-cert.pem'), root.certificate);
    writeFileSync(
      join(directory, 'cert-chain.pem'),
      `${root.certificate}${upper.certificate}${lower.certificate}`,
    );
    const authority = await openAuthority(directory, options);
    const { leaf, intermediates, roots } = await issue(authority);
    const names = intermediates.map((pem) => new X509Certificate(pem).subject);
    expect(names).toEqual(['O=test\nCN=lower', 'O=test\nCN=upper']);
    expect(opensslVerify(leaf, intermediates, roots, 'sslserver')).toBe('OK');
    expect(opensslVerify(leaf, [], roots, 'sslserver')).toContain('unable to get local issuer certificate');
  });

  it('hands out the old and the new root together while they are rotated', async () => {
    const [before, after] = [opensslAuthority('old'), opensslAuthority('new')];
    const both = `${before.certificate}${after.certificate}`;
    for (const ca of [before, after]) {
      const { leaf, roots } = await issue(new Authority(material(ca, both), options));
      expect(roots.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
      expect(opensslVerify(leaf, [], roots, 'sslclient')).toBe('OK');
    }
  });

  it.each([
    [
      'a key of another certificate',
      () => ({ privateKey: opensslAuthority('other').key }),
      /ca-key\.pem is not the key of ca-cert\.pem/,
    ],
    [
      'a certificate that is no CA',
      () => opensslMaterial({ extensions: '[ca]\nbasicConstraints=critical,CA:FALSE\n' }),
      /is not a CA \(basicConstraints lacks CA:TRUE\)/,
    ],
    [
      'roots that did not issue it',
      () => ({ roots: opensslAuthority('other').certificate }),
      /no path from ca-cert\.pem to root-cert\.pem/,
    ],
    ['no root', () => ({ roots: '' }), /root-cert\.pem holds no certificate/],
    ['RSA of 1024 bits', () => opensslMaterial({ key: rsa(1024) }), /RSA of 1024 bits; use at least 2048/],
    ['the curve P-521', () => opensslMaterial({ key: ecP521 }), /its curve is secp521r1; use P-256 or P-384/],
    [
      'an encrypted key',
      () => ({ privateKey: '-----BEGIN ENCRYPTED PRIVATE KEY-----\n' }),
      /is encrypted; give the key without passphrase/,
    ],
    ['text instead of a key', () => ({ privateKey: 'hello' }), /holds no private key that can be read/],
    ['text instead of a certificate', () => ({ certificate: 'hello' }), /ca-cert\.pem holds no certificate/],
    [
      'a broken certificate',
      () => ({ certificate: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' }),
      /ca-cert\.pem holds a certificate that cannot be read/,
    ],
  ])('is refused with %s', (_, wrong, message) => {
    const root = opensslAuthority('root');
    expect(() => new Authority({ ...material(root, root.certificate), ...wrong() }, options)).toThrow(
      message,
    );
  });

  it('is refused after its certificate expired', () => {
    const root = opensslAuthority('root', { days: 1 });
    const later = { ...options, now: () => Date.now() + 48 * hour };
    expect(() => new Authority(material(root, root.certificate), later)).toThrow(/expired at/);
  });

  it('says which files of its directory are missing', async () => {
    const directory = temporaryDirectory();
    await expect(openAuthority(directory, options)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_NO_AUTHORITY',
    });
    writeFileSync(join(directory, 'ca-cert.pem'), 'x');
    await expect(openAuthority(directory, options)).rejects.toThrow(/lacks ca-key\.pem and root-cert\.pem/);
    await expect(openSelfSignedAuthority(directory, options)).rejects.toThrow(
      /lacks ca-key\.pem and root-cert\.pem/,
    );
  });

  it('is not replaced by a self-signed one in a directory that holds something else', async () => {
    const directory = join(temporaryDirectory(), 'ca');
    mkdirSync(directory);
    writeFileSync(join(directory, 'notes.txt'), 'keep me');
    await expect(openSelfSignedAuthority(directory, options)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_AUTHORITY',
    });
    expect(readFileSync(join(directory, 'notes.txt'), 'utf8')).toBe('keep me');
  });
});

function opensslMaterial(ca: Parameters<typeof opensslAuthority>[1]) {
  const made = opensslAuthority('root', ca);
  return { certificate: made.certificate, privateKey: made.key, roots: made.certificate };
}

describe('requests', () => {
  async function sign(csr: string, name = identity) {
    const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), options);
    return authority.sign({ csr, identity: name, lifetimeMs: hour });
  }

  it.each([
    ['ECDSA P-256', ecP256],
    ['ECDSA P-384', ecP384],
    ['RSA 2048', rsa(2048)],
    ['Ed25519', ed25519],
  ])('made by OpenSSL with a key of type %s are signed for that key', async (_, key) => {
    const csr = opensslRequest(key, `critical,URI:${identity}`);
    const { chain, roots } = await sign(csr);
    const leaf = chain[0] ?? '';
    expect(opensslVerify(leaf, [], roots, 'sslserver')).toBe('OK');
    expect(openssl(['x509', '-noout', '-pubkey'], leaf)).toBe(openssl(['req', '-noout', '-pubkey'], csr));
  });

  it('made here are what OpenSSL reads as a request for the identity alone', async () => {
    const text = openssl(
      ['req', '-noout', '-text', '-verify'],
      await createCsr(identity, await generateKey()),
    );
    expect(text).toMatch(/Subject: *\n/);
    expect(text).toMatch(
      /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front/,
    );
  });

  it.each([
    ['nothing', () => opensslRequest(ecP256), /names nobody; its SubjectAltName must hold that URI/],
    [
      'another identity',
      () => opensslRequest(ecP256, 'URI:spiffe://cluster.local/ns/shop/sa/admin'),
      /names something else: spiffe:.*admin/,
    ],
    [
      'two identities',
      () => opensslRequest(ecP256, `URI:${identity},URI:spiffe://cluster.local/ns/a/sa/b`),
      /names something else/,
    ],
    [
      'a host name besides',
      () => opensslRequest(ecP256, `URI:${identity},DNS:bank.example`),
      /names something else/,
    ],
    ['an RSA key of 1024 bits', () => opensslRequest(rsa(1024)), /RSA of 1024 bits/],
    ['a key on P-521', () => opensslRequest(ecP521), /its curve is secp521r1/],
    ['no request', () => 'hello', /expected one CERTIFICATE REQUEST/],
    ['two requests', () => opensslRequest(ecP256).repeat(2), /expected one CERTIFICATE REQUEST/],
    ['a certificate instead', () => opensslAuthority('root').certificate, /expected one CERTIFICATE REQUEST/],
    ['more than 16 KiB', () => `${opensslRequest(ecP256)}${'x'.repeat(20_000)}`, /more than 16384/],
  ])('with %s are refused', async (_, csr, message) => {
    await expect(sign(csr())).rejects.toThrow(message);
  });

  it('whose signature was made by another key are refused', async () => {
    const der = (pem: string) => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const mine = der(await createCsr(identity, await generateKey()));
    // The public key is swapped for another of the same length: its owner did not sign this.
    const other = createPublicKey(await generateKey()).export({ type: 'spki', format: 'der' });
    const at = mine.indexOf(other.subarray(0, 26));
    expect(at).toBeGreaterThan(0);
    const forged = Buffer.concat([mine.subarray(0, at), other, mine.subarray(at + other.length)]);
    const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${forged.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
    await expect(sign(pem)).rejects.toThrow(/its signature does not fit its key/);
  });

  it.each([
    'spiffe://other.domain/ns/shop/sa/front',
    'spiffe://cluster.local/ns/shop/sa/front/extra',
    'spiffe://cluster.local/ns/shop/sa/',
    'https://cluster.local/ns/shop/sa/front',
    'spiffe://cluster.local/ns/shop/sa/front,DNS:bank.example',
    '',
  ])('for the identity %j are refused', async (name) => {
    await expect(sign(opensslRequest(ecP256), name)).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });
});

it('its leaves make a TLS 1.3 connection between two workloads, each of which sees the other', async () => {
  const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), options);
  const front = await issue(authority);
  const catalog = await issue(authority, hour, 'spiffe://cluster.local/ns/shop/sa/catalog');
  const tls = ({ key, leaf, roots }: typeof front) => ({
    key: keyToPem(key),
    cert: leaf,
    ca: roots,
    minVersion: 'TLSv1.3' as const,
  });
  const server = createServer({ ...tls(catalog), requestCert: true, rejectUnauthorized: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connect({
    ...tls(front),
    port: (server.address() as AddressInfo).port,
    checkServerIdentity: () => undefined,
  });
  await once(socket, 'secureConnect');
  const [peer] = await accepted;
  expect(socket.authorized).toBe(true);
  expect(socket.getPeerX509Certificate()?.subjectAltName).toBe(
    'URI:spiffe://cluster.local/ns/shop/sa/catalog',
  );
  expect(peer.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${identity}`);
  socket.destroy();
  server.close();
});
