import { X509Certificate } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import type { Authority } from '../../../src/identity/authority.ts';
import { openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import { type Clock, systemClock } from '../../../src/identity/clock.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { KeptCertificates } from '../../../src/identity/kept-certificates.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import type { CertificateSigner, SignedCertificate, SigningRequest } from '../../../src/identity/signer.ts';
import type { WorkloadIdentity } from '../../../src/identity/workload-certificate.ts';
import {
  WorkloadCertificates,
  type WorkloadCertificatesOptions,
} from '../../../src/identity/workload-certificates.ts';
import { openssl, opensslVerify, temporaryDirectory } from './openssl.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/front';
const minute = 60_000;
const hour = 60 * minute;

/** Time that passes when the test says so. */
class TestClock implements Clock {
  #now = Date.parse('2030-01-01T00:00:00Z');
  readonly #timers = new Set<{ readonly at: number; readonly action: () => void }>();

  now = () => this.#now;

  after(delayMs: number, action: () => void): () => void {
    const timer = { at: this.#now + delayMs, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.action();
    }
    this.#now = end;
  }
}

/** A real authority behind a door that the test opens and closes. */
class Door implements CertificateSigner {
  readonly name = 'the door';
  readonly asked: string[] = [];
  readonly #authority: Authority;
  failure: Error | undefined;
  held: (() => void)[] | undefined;
  change: (signed: SignedCertificate) => SignedCertificate | Promise<SignedCertificate> = (signed) => signed;

  constructor(authority: Authority) {
    this.#authority = authority;
  }

  async sign(request: SigningRequest, signal: AbortSignal): Promise<SignedCertificate> {
    this.asked.push(request.identity);
    if (this.held !== undefined) {
      await new Promise<void>((resolve, reject) => {
        this.held?.push(resolve);
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    }
    if (this.failure !== undefined) throw this.failure;
    return this.change(await this.#authority.sign(request));
  }
}

async function world(options: Partial<WorkloadCertificatesOptions> = {}) {
  const clock = new TestClock();
  const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), {
    trustDomains: ['cluster.local'],
    now: clock.now,
  });
  const door = new Door(authority);
  const given: WorkloadIdentity[] = [];
  const gone: string[] = [];
  const certificates = new WorkloadCertificates({
    signer: door,
    trustDomains: ['cluster.local', 'old.domain'],
    onIdentity: (each) => given.push(each),
    onGone: (each) => gone.push(each),
    logger: silentLogger,
    clock,
    random: () => 0,
    ...options,
  });
  onTestFinished(() => certificates.close());
  return { clock, door, certificates, given, gone };
}

/** Signing runs on the thread pool: waits until `check` holds. */
async function eventually(check: () => boolean): Promise<void> {
  await expect.poll(check, { timeout: 5_000, interval: 2 }).toBe(true);
}

function missing(): never {
  throw new Error('nothing was handed on');
}

function leafOf(given: WorkloadIdentity | undefined): X509Certificate {
  return new X509Certificate(given?.certificateChain ?? '');
}

const away = new HadalError('ERR_IDENTITY_SIGNER', 'the authority is away');

it('fetches one certificate for all pods of a service account and hands it on in the shape that the tunnel takes', async () => {
  const { certificates, door, given } = await world();
  const uses = [certificates.use(identity), certificates.use(identity), certificates.use(identity)];
  await Promise.all(uses.map((use) => use.ready()));
  expect(door.asked).toEqual([identity]);
  expect(given).toHaveLength(1);
  expect(Object.keys(given[0] ?? {}).sort()).toEqual([
    'certificateChain',
    'identity',
    'privateKey',
    'roots',
    'trustDomains',
  ]);
  expect(given[0]).toMatchObject({ identity, trustDomains: ['cluster.local', 'old.domain'] });
  expect(given[0]?.privateKey).toMatch(/^-----BEGIN PRIVATE KEY-----/);
  expect(leafOf(given[0]).subjectAltName).toBe(`URI:${identity}`);
  expect(uses[0]?.state.kind).toBe('valid');
});

it('hands on a key and a chain that fit, by OpenSSL', async () => {
  // In the present, where OpenSSL lives.
  const authority = await openSelfSignedAuthority(join(temporaryDirectory(), 'ca'), {
    trustDomains: ['cluster.local'],
  });
  const { certificates, given } = await world({ signer: new Door(authority), clock: systemClock });
  await certificates.use(identity).ready();
  const { certificateChain, roots, privateKey } = given[0] ?? missing();
  expect(opensslVerify(certificateChain, [], roots, 'sslserver')).toBe('OK');
  expect(openssl(['pkey', '-pubout'], privateKey)).toBe(
    openssl(['x509', '-noout', '-pubkey'], certificateChain),
  );
});

it('renews at half life, with a new key, and hands the new one on', async () => {
  const { certificates, clock, door, given } = await world();
  const use = certificates.use(identity);
  await use.ready();
  clock.pass(12 * hour - 1);
  expect(use.state.kind).toBe('valid');
  clock.pass(2);
  expect(use.state.kind).toBe('renewing');
  await eventually(() => given.length === 2);
  expect(use.state.kind).toBe('valid');
  expect(door.asked).toHaveLength(2);
  expect(given[1]?.privateKey).not.toBe(given[0]?.privateKey);
});

it('spreads renewals of certificates that came together', async () => {
  const { certificates, clock, given } = await world({ random: () => 1 });
  const use = certificates.use(identity);
  await use.ready();
  // The earliest is 5 % of a life before its half.
  clock.pass(24 * hour * 0.45 - 1_000);
  expect(use.state.kind).toBe('valid');
  clock.pass(2_000);
  await eventually(() => given.length === 2);
});

it('goes on serving the valid certificate while renewal fails, and renews as soon as it can', async () => {
  const { certificates, clock, door, given, gone } = await world();
  const use = certificates.use(identity);
  await use.ready();
  door.failure = away;
  clock.pass(12 * hour + 1);
  await eventually(() => use.state.kind === 'overdue');
  expect(use.state).toMatchObject({ failures: 1, error: { code: 'ERR_IDENTITY_SIGNER' } });
  expect(certificates.status()[0]).toMatchObject({
    state: 'Available',
    phase: 'overdue',
    error: expect.stringContaining('away'),
  });
  clock.pass(501);
  await eventually(() => use.state.kind === 'overdue' && use.state.failures === 2);
  expect(gone).toEqual([]);
  door.failure = undefined;
  clock.pass(1_001);
  await eventually(() => given.length === 2);
  expect(use.state.kind).toBe('valid');
});

it('takes the certificate away when it expires without a new one, and brings one when the authority is back', async () => {
  const { certificates, clock, door, given, gone } = await world();
  const use = certificates.use(identity);
  await use.ready();
  door.failure = away;
  clock.pass(12 * hour + 1);
  await eventually(() => use.state.kind === 'overdue');
  // The wait between attempts has grown to its most; each attempt needs the event loop.
  for (let passed = 0; passed < 13 * hour && gone.length === 0; passed += 3 * minute) {
    clock.pass(3 * minute);
    await eventually(() => use.state.kind !== 'renewing' && use.state.kind !== 'fetching');
  }
  expect(gone).toEqual([identity]);
  expect(use.state.kind).toBe('failed');
  expect(certificates.status()[0]?.state).toMatch(/^Unavailable: .*away/);
  door.failure = undefined;
  clock.pass(3 * minute);
  await eventually(() => given.length === 2);
});

it('without a certificate tries again after 500 ms, then twice as long each time, up to 10 s', async () => {
  const { certificates, clock, door } = await world();
  door.failure = away;
  const use = certificates.use(identity);
  const delays: number[] = [];
  for (let attempt = 1; attempt <= 8; attempt++) {
    await eventually(() => use.state.kind === 'failed' && use.state.failures === attempt);
    if (use.state.kind !== 'failed') throw new Error('not failed');
    delays.push(use.state.retryAt - clock.now());
    clock.pass(delays.at(-1) ?? 0);
  }
  expect(delays).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  expect(certificates.counts()).toMatchObject({ fetching: 1, failed: 0 });
  // Under way again, it still tells why there is none.
  expect(certificates.status()[0]).toMatchObject({
    phase: 'fetching',
    error: expect.stringContaining('away'),
  });
});

it('with a certificate tries less often, up to 150 s, but at least four times in what is left of its life', async () => {
  const { certificates, clock, door } = await world();
  const use = certificates.use(identity);
  await use.ready();
  door.failure = away;
  clock.pass(12 * hour + 1);
  const delays: number[] = [];
  const lefts: number[] = [];
  for (let attempt = 1; use.state.kind !== 'failed'; attempt++) {
    await eventually(
      () => use.state.kind === 'failed' || ('failures' in use.state && use.state.failures === attempt),
    );
    if (use.state.kind !== 'overdue') break;
    delays.push(use.state.retryAt - clock.now());
    lefts.push(use.state.certificate.notAfter.getTime() - clock.now());
    clock.pass(delays.at(-1) ?? 0);
  }
  expect(delays.slice(0, 10)).toEqual([
    500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 150_000,
  ]);
  for (const [index, delay] of delays.entries())
    expect(delay).toBeLessThanOrEqual(Math.max(500, Math.ceil((lefts[index] ?? 0) / 4)));
  // It was asked again until the very end.
  expect(lefts.at(-1)).toBeLessThan(2_500);
});

it('drops the certificate when its last user leaves, and fetches a new one for the next', async () => {
  const { certificates, door, gone } = await world();
  const [first, second] = [certificates.use(identity), certificates.use(identity)];
  await first.ready();
  first.close();
  first.close();
  expect(gone).toEqual([]);
  second.close();
  expect(gone).toEqual([identity]);
  expect(certificates.status()).toEqual([]);
  expect(second.state.kind).toBe('closed');
  await certificates.use(identity).ready();
  expect(door.asked).toHaveLength(2);
});

it('rejects those who wait when the last user leaves, when their signal fires and when the agent ends', async () => {
  const { certificates, door } = await world();
  door.held = [];
  const use = certificates.use(identity);
  await expect(use.ready(AbortSignal.timeout(20))).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  const waiting = use.ready();
  use.close();
  await expect(waiting).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  await expect(use.ready()).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  const late = certificates.use(identity).ready();
  await Promise.all([expect(late).rejects.toMatchObject({ code: 'ERR_DRAINING' }), certificates.close()]);
  expect(() => certificates.use(identity)).toThrow(expect.objectContaining({ code: 'ERR_DRAINING' }));
});

it('fetches eight at a time, those first for which a connection waits', async () => {
  const { certificates, door } = await world();
  door.held = [];
  const name = (n: number) => `spiffe://cluster.local/ns/shop/sa/a${n}`;
  for (let n = 0; n < 8; n++) certificates.use(name(n), 'background');
  await eventually(() => door.held?.length === 8);
  certificates.use(name(100), 'background');
  certificates.use(name(101), 'warmup');
  certificates.use(name(102), 'background');
  certificates.use(name(103), 'realtime');
  // A second user in a hurry moves it forward.
  certificates.use(name(102), 'realtime');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(door.asked).toHaveLength(8);
  const release = door.held ?? [];
  door.held = undefined;
  // One slot: the others are taken in the order of their urgency.
  release.shift()?.();
  await eventually(() => door.asked.length === 12);
  expect(door.asked.slice(8)).toEqual([name(102), name(103), name(101), name(100)]);
  for (const each of release) each();
});

it('refuses an identity that is none', async () => {
  const { certificates } = await world();
  expect(() => certificates.use('front')).toThrow(/expected spiffe:/);
});

it.each<
  [
    string,
    (signed: SignedCertificate, other: Authority) => Promise<SignedCertificate> | SignedCertificate,
    RegExp,
  ]
>([
  [
    'names another identity',
    (_, other) => other.sign({ csr: '', identity: '', lifetimeMs: 0 }),
    /names spiffe:.*admin/,
  ],
  ['is for another key', async (signed) => signed, /it is for another key/],
  ['has no path to its roots', (signed, other) => ({ ...signed, roots: other.roots }), /issued spiffe/],
  ['holds no certificate', (signed) => ({ ...signed, chain: ['hello'] }), /it holds no certificate/],
  ['holds no root', (signed) => ({ ...signed, roots: 'hello' }), /it holds no root/],
  [
    'holds a broken certificate',
    (signed) => ({ ...signed, chain: [`${signed.chain[0]?.slice(0, 200)}\n-----END CERTIFICATE-----\n`] }),
    /cannot be read/,
  ],
])('does not take an answer that %s', async (what, change, message) => {
  const { certificates, door, given, clock } = await world();
  const other = await openSelfSignedAuthority(join(temporaryDirectory(), 'other'), {
    trustDomains: ['cluster.local'],
    now: clock.now,
  });
  door.change = async (signed) => {
    if (what === 'names another identity') {
      const admin = 'spiffe://cluster.local/ns/shop/sa/admin';
      return other.sign({
        csr: await createCsr(admin, await generateKey()),
        identity: admin,
        lifetimeMs: hour,
      });
    }
    if (what === 'is for another key') {
      return other.sign({ csr: await createCsr(identity, await generateKey()), identity, lifetimeMs: hour });
    }
    return change(signed, other);
  };
  const use = certificates.use(identity);
  await eventually(() => use.state.kind === 'failed');
  expect(use.state).toMatchObject({
    error: {
      code: expect.stringMatching(/ERR_IDENTITY_(ANSWER|CERTIFICATE)/),
      message: expect.stringMatching(message),
    },
  });
  expect(given).toEqual([]);
});

it('shows chains in the words that istioctl reads, and never a key', async () => {
  const { certificates } = await world();
  await certificates.use(identity).ready();
  const [status] = certificates.status();
  expect(status).toMatchObject({
    identity,
    state: 'Available',
    certChain: [
      {
        subject: identity,
        serialNumber: expect.stringMatching(/^\d+$/),
        validFrom: '2029-12-31T23:58:00.000Z',
        expirationTime: '2030-01-02T00:00:00.000Z',
        pem: expect.stringContaining('BEGIN CERTIFICATE'),
      },
    ],
    rootCerts: [{ subject: expect.stringContaining('Hadal root CA') }],
    renewAt: '2030-01-01T12:00:00.000Z',
    users: 1,
  });
  expect(JSON.stringify(certificates.status())).not.toContain('PRIVATE KEY');
});

it('keeps certificates in memory-backed files: the next agent has them while the authority is away', async () => {
  const directory = join(temporaryDirectory('/dev/shm'), 'keys');
  const kept = await KeptCertificates.open(directory, silentLogger);
  const first = await world({ kept });
  await first.certificates.use(identity).ready();
  await first.certificates.close();
  expect(readdirSync(directory)).toHaveLength(1);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(statSync(join(directory, readdirSync(directory)[0] ?? '')).mode & 0o777).toBe(0o600);

  const second = await world({ kept: await KeptCertificates.open(directory, silentLogger) });
  second.door.failure = away;
  await second.certificates.use(identity).ready();
  expect(second.given[0]).toEqual(first.given[0]);
  expect(second.door.asked).toEqual([]);
  // It is renewed at the half of its own life, not of the time since the restart.
  second.clock.pass(12 * hour + 1);
  await eventually(() => second.door.asked.length === 1);
});

it('forgets a kept certificate with its last user, and does not take up one that expired or is broken', async () => {
  const directory = join(temporaryDirectory('/dev/shm'), 'keys');
  const kept = await KeptCertificates.open(directory, silentLogger);
  const first = await world({ kept });
  const use = first.certificates.use(identity);
  await use.ready();
  await eventually(() => readdirSync(directory).length === 1);
  use.close();
  await eventually(() => readdirSync(directory).length === 0);

  await first.certificates.use(identity).ready();
  await first.certificates.close();
  const second = await world({ kept });
  second.clock.pass(25 * hour);
  await second.certificates.use(identity).ready();
  expect(second.door.asked).toEqual([identity]);
  await second.certificates.close();

  const file = join(directory, readdirSync(directory)[0] ?? '');
  writeFileSync(file, readFileSync(file, 'utf8').slice(0, 900));
  const third = await world({ kept });
  await third.certificates.use(identity).ready();
  expect(third.door.asked).toEqual([identity]);
});

it('never writes keys to a disk', async () => {
  // Beside the build's results, which are on a disk wherever they are.
  mkdirSync('build', { recursive: true });
  const directory = join(temporaryDirectory('build'), 'keys');
  mkdirSync(directory);
  await expect(KeptCertificates.open(directory, silentLogger)).rejects.toMatchObject({
    code: 'ERR_IDENTITY_NOT_TMPFS',
    message: expect.stringContaining('is not on tmpfs'),
  });
  expect(readdirSync(directory)).toEqual([]);
});
