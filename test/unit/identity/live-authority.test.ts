/** What an operator reads in the log while a root is replaced. The rotation itself is in certificate-service.test.ts. */
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { LogRoot } from '../../../src/base/logger.ts';
import { openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import { LiveAuthority } from '../../../src/identity/live-authority.ts';
import { temporaryDirectory } from './openssl.ts';

const trustDomains = ['cluster.local'];
const minute = 60_000;

async function world() {
  const directory = temporaryDirectory();
  const [own, fresh] = [join(directory, 'ca'), join(directory, 'fresh')];
  await openSelfSignedAuthority(own, { trustDomains });
  await openSelfSignedAuthority(fresh, { trustDomains });
  chmodSync(join(own, 'ca-key.pem'), 0o640);
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(...chunk.toString('utf8').split('\n').filter(Boolean));
      done();
    },
  });
  const time = { now: Date.now() };
  const authority = await LiveAuthority.open(
    own,
    { trustDomains, selfSigned: false, pollMs: 3_600_000, debounceMs: 3_600_000, now: () => time.now },
    new LogRoot({ destination, format: 'json' }).scope('authority'),
  );
  onTestFinished(() => authority.close());
  const identity = 'spiffe://cluster.local/ns/shop/sa/front';
  await authority.sign({
    csr: await createCsr(identity, await generateKey()),
    identity,
    lifetimeMs: 10 * minute,
  });
  const root = (of: string) => readFileSync(join(of, 'root-cert.pem'), 'utf8');
  return {
    authority,
    time,
    addRoot: () => writeFileSync(join(own, 'root-cert.pem'), root(own) + root(fresh)),
    switchKey: () => {
      for (const name of ['ca-cert.pem', 'ca-key.pem', 'cert-chain.pem'])
        copyFileSync(join(fresh, name), join(own, name));
    },
    dropRoot: () => writeFileSync(join(own, 'root-cert.pem'), root(fresh)),
    warnings: () =>
      lines
        .map((line) => JSON.parse(line) as { level: string; msg: string })
        .filter(({ level }) => level === 'warn')
        .map(({ msg }) => msg),
  };
}

const openKey = expect.stringContaining('chmod 600');
const tooEarly = expect.stringContaining('until all have renewed, some connections may fail');
const inUse = expect.stringContaining('was dropped: they are refused');

it('a rotation that waits for half a life at each step is warned of nothing, and an open key of once', async () => {
  const { authority, time, addRoot, switchKey, dropRoot, warnings } = await world();
  for (const step of [addRoot, switchKey, dropRoot]) {
    step();
    await authority.reload();
    await authority.reload();
    time.now += 5 * minute;
  }
  expect(authority.status().roots).toMatchObject([{ signs: true }]);
  expect(warnings()).toEqual([openKey]);
});

it('a key that is switched before all can know its root is warned of, and so is a root that goes too early', async () => {
  const { authority, time, addRoot, switchKey, warnings } = await world();
  addRoot();
  await authority.reload();
  time.now += 4 * minute;
  switchKey();
  await authority.reload();
  expect(warnings()).toEqual([openKey, tooEarly]);
  const hasty = await world();
  hasty.switchKey();
  hasty.dropRoot();
  await hasty.authority.reload();
  expect(hasty.warnings()).toEqual([openKey, tooEarly, inUse]);
});
