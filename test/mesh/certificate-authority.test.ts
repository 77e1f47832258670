/**
 * The control plane as certificate authority: its root is replaced under traffic, certificates of seconds. Short in `npm test`;
 * with HADAL_LONG=1 certificates of 60 s for 10 minutes. And what it refuses, and where no key may be.
 */
import {
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openSelfSignedAuthority } from '../../src/identity/authority-directory.ts';
import { JoinKeys } from '../../src/identity/join-keys.ts';
import { makeJoinToken } from '../../src/identity/join-token.ts';
import type { AuthorityStatus } from '../../src/identity/live-authority.ts';
import type { CertificateStatus } from '../../src/identity/workload-certificates.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { certificateDirectory } from '../helpers/envoy.ts';
import { sectionOf, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, echoPod, namespace, pod, whyNoLab } from './world.ts';

const port = 8080;
const long = process.env.HADAL_LONG === '1';
const lifetimeSeconds = long ? 60 : 4;
const seconds = long ? 600 : 14;
const perSecond = long ? 100 : 200;
const identityOf = (account: string) => `spiffe://cluster.local/ns/shop/sa/${account}`;
/** f_type of statfs(2): file systems that are gone with the power (tmpfs, bpf, cgroup2, nsfs). */
const tmpfs = 0x01021994;
const inMemory = [tmpfs, 0xcafe4a11, 0x63677270, 0x6e736673];
const scratch = whyNoLab === undefined ? certificateDirectory() : '';
afterAll(() => rm(scratch, { recursive: true, force: true }));

const planeDirectory = (lab: Lab) => join(lab.directory, 'control-plane', 'data');
const authorityFile = (lab: Lab, name: string) => join(planeDirectory(lab), 'authority', name);

async function certificatesOf(lab: Lab): Promise<readonly CertificateStatus[]> {
  const all = await Promise.all(
    lab.nodes.map(({ name }) => sectionOf<CertificateStatus[]>(lab, name, 'certificates')),
  );
  return all.flat();
}

/** How many roots each certificate of the mesh came with; and of which root the control plane signs. */
async function rootCounts(lab: Lab): Promise<number[]> {
  return (await certificatesOf(lab)).map(({ rootCerts }) => rootCerts.length);
}

async function signingRoots(lab: Lab): Promise<boolean[]> {
  const { authority } =
    (await lab.controlPlane?.admin<{ authority: AuthorityStatus }>('/config_dump?section=authority')) ?? {};
  return authority?.roots.map(({ signs }) => signs) ?? [];
}

/** The procedure of docs/certificates.md, each step once the one before has reached everybody. */
async function rotateRoot(lab: Lab): Promise<void> {
  const patience = { timeout: lifetimeSeconds * 1000 + 10_000, interval: 200 };
  const fresh = join(scratch, 'fresh');
  await openSelfSignedAuthority(fresh, { trustDomains: ['cluster.local'] });
  const [old, next] = [authorityFile(lab, 'root-cert.pem'), join(fresh, 'root-cert.pem')].map((path) =>
    readFileSync(path, 'utf8'),
  );
  const certificates = (await certificatesOf(lab)).length;
  // 1. Both roots are given out.
  writeFileSync(authorityFile(lab, 'root-cert.pem'), `${old}${next}`);
  await expect.poll(() => rootCounts(lab), patience).toEqual(Array(certificates).fill(2));
  // 2. The new one signs.
  for (const name of ['ca-cert.pem', 'ca-key.pem', 'cert-chain.pem']) {
    writeFileSync(authorityFile(lab, name), readFileSync(join(fresh, name)));
  }
  await expect.poll(() => signingRoots(lab), patience).toEqual([false, true]);
  const switched = Date.now();
  const renewed = async () =>
    (await certificatesOf(lab)).every(
      ({ certChain }) => Date.parse(certChain[0]?.expirationTime ?? '') > switched + lifetimeSeconds * 1000,
    );
  await expect.poll(renewed, patience).toBe(true);
  // 3. Nobody has a certificate of the old one any more: it goes.
  writeFileSync(authorityFile(lab, 'root-cert.pem'), next ?? '');
  await expect.poll(() => rootCounts(lab), patience).toEqual(Array(certificates).fill(1));
}

function auditLines(lab: Lab): Record<string, unknown>[] {
  return readFileSync(join(lab.directory, 'control-plane.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"audit":true'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describeInLab(
  'the authority of a control plane',
  {
    controlPlane: true,
    certificateLifetimeMs: lifetimeSeconds * 1000,
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    it(`gets another root under traffic, certificates of ${lifetimeSeconds} s for ${seconds} s: no connection fails`, {
      timeout: (seconds + 90) * 1000,
    }, async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const echo = lab.pod('echo');
      const older = new Ticker(caller, echo.v6, { port, count: 5 });
      await older.running(5);
      const program = '/opt/hadal/package/test/mesh/programs/reset-storm.ts';
      const args = [echo.v4, port, perSecond, seconds].map(String);
      const storm = caller.exec(['node', program, ...args], { timeoutMs: (seconds + 30) * 1000 });
      const [{ stdout }] = await Promise.all([storm, rotateRoot(lab)]);
      const signed = (account: string) =>
        auditLines(lab).filter(
          ({ msg, identity }) => msg === 'signed a certificate' && identity === identityOf(account),
        ).length;
      console.log(`signed ${signed('caller')} and ${signed('echo')} times; ${stdout.trim()}`);
      expect(JSON.parse(stdout)).toMatchObject({ done: perSecond * seconds, failed: 0 });
      for (const account of ['caller', 'echo']) {
        expect(signed(account)).toBeGreaterThanOrEqual(Math.floor(seconds / lifetimeSeconds));
      }
      for (const node of ['a', 'b'])
        expect(await sumOf(lab, node, 'istio_tcp_connections_failed_total')).toBe(0);
      await older.progressed();
      expect(older.latest).toMatchObject({ open: 5, errors: [] });
      older.stop();
    });

    it('signs for a node only what lives on it, and only for a token that holds; the rest is in its log, without the token', async () => {
      const { lab } = world;
      const { address = '', rootFile = '' } = lab.controlPlane ?? {};
      const program = join(import.meta.dirname, 'programs/ask-certificate.ts');
      const keys = new JoinKeys(join(planeDirectory(lab), 'join-keys'));
      const tokens: string[] = [];
      const tokenFile = async (node: string, lifetimeMs: number, madeAt = Date.now()) => {
        const { token, key } = makeJoinToken(node, lifetimeMs, madeAt);
        await keys.add(key);
        tokens.push(token);
        const path = join(scratch, key.id);
        writeFileSync(path, token, { mode: 0o600 });
        return { path, key };
      };
      const ask = async (path: string, account: string, node = 'a') => {
        const { stdout, stderr } = await lab
          .node(node)
          .exec([process.execPath, program, address, rootFile, path, identityOf(account)], {
            timeoutMs: 15_000,
          });
        return JSON.parse(stdout.trim() || JSON.stringify({ stderr })) as {
          signed: boolean;
          code?: string;
          message?: string;
        };
      };
      const ofA = await tokenFile('a', 60_000);
      expect(await ask(ofA.path, 'caller')).toEqual({ signed: true });
      const before = auditLines(lab).length;

      expect(await ask(ofA.path, 'echo')).toMatchObject({
        code: 'ERR_IDENTITY_REFUSED',
        message: expect.stringMatching(
          /node a may not have a certificate for .*sa\/echo: no pod of this service account runs on node a; a retry may help/,
        ),
      });
      // Whoever carries the token of a away to b is node a there as well.
      expect(await ask(ofA.path, 'echo', 'b')).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
      expect(await ask(ofA.path, 'nobody')).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
      const expired = await tokenFile('a', 60_000, Date.now() - 120_000);
      expect(await ask(expired.path, 'caller')).toMatchObject({
        code: 'ERR_IDENTITY_REFUSED',
        message: expect.stringMatching(/request authenticate failure; the token in .* expired/),
      });
      const revoked = await tokenFile('a', 60_000);
      unlinkSync(join(keys.directory, `${revoked.key.id}.json`));
      expect(await ask(revoked.path, 'caller')).toMatchObject({
        code: 'ERR_IDENTITY_REFUSED',
        message: expect.stringMatching(/request authenticate failure$/),
      });
      const foreign = join(scratch, 'foreign');
      writeFileSync(foreign, makeJoinToken('a', 60_000).token);
      expect(await ask(foreign, 'caller')).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });

      const lines = auditLines(lab)
        .slice(before)
        .filter(({ level, address: from }) => level === 'warn' && from !== undefined);
      expect(lines.map(({ reason, node, identity }) => [reason, node, identity])).toEqual([
        ['identity', 'a', identityOf('echo')],
        ['identity', 'a', identityOf('echo')],
        ['identity', 'a', identityOf('nobody')],
        ['unauthenticated', undefined, undefined],
        ['unauthenticated', undefined, undefined],
        ['unauthenticated', undefined, undefined],
      ]);
      const log = readFileSync(join(lab.directory, 'control-plane.log'), 'utf8');
      for (const token of tokens)
        for (const part of token.split('.').slice(1)) expect(log).not.toContain(part);
    });

    it('leaves no private key anywhere but in memory, readable for root alone', async () => {
      const { lab } = world;
      const kept = lab.nodes.flatMap(({ layout }) => {
        const directory = join(layout.directory, 'run', 'certificates');
        return readdirSync(directory).map((name) => join(directory, name));
      });
      // What is searched for: all keys of workloads that serve now, as any of the ways to write them would hold them.
      const keys = kept.map(
        (path) => (JSON.parse(readFileSync(path, 'utf8')) as { privateKey: string }).privateKey,
      );
      expect(keys.length).toBeGreaterThanOrEqual(2);
      const secrets = keys.flatMap((pem) => {
        const body = pem.replace(/-----[^-]+-----|\s/g, '');
        return [Buffer.from(body.slice(48, 90)), Buffer.from(body, 'base64').subarray(36, 68)];
      });
      const holds = (path: string) => {
        const bytes = readFileSync(path);
        return secrets.some((secret) => bytes.includes(secret)) || bytes.includes('PRIVATE KEY-----');
      };
      for (const path of kept) {
        expect(holds(path)).toBe(true);
        expect(statfsSync(path).type).toBe(tmpfs);
        expect(statSync(path).mode & 0o777).toBe(0o600);
        expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
      }
      const directories = [
        planeDirectory(lab),
        ...lab.nodes.map(({ layout }) => join(layout.directory, 'data')),
      ];
      const files = directories.flatMap((directory) =>
        readdirSync(directory, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name)),
      );
      expect(files.length).toBeGreaterThanOrEqual(3);
      expect(files.filter(holds)).toEqual([authorityFile(lab, 'ca-key.pem')]);
      expect(statSync(authorityFile(lab, 'ca-key.pem')).mode & 0o777).toBe(0o600);
      // Logs, and whatever else a process has open to write on something that outlives a power cut.
      const pids = [...lab.nodes.map(({ agent }) => agent?.pid), lab.controlPlane?.pid].filter(
        (pid) => pid !== undefined,
      );
      expect(pids).toHaveLength(3);
      const open = pids.flatMap((pid) =>
        readdirSync(`/proc/${pid}/fd`).flatMap((fd) => linkOf(`/proc/${pid}/fd/${fd}`)),
      );
      const written = open.filter(
        (path) => path.startsWith('/') && !/^\/(?:dev|proc|sys)\//.test(path) && isFile(path),
      );
      expect(written.filter((path) => !inMemory.includes(statfsSync(path).type) && holds(path))).toEqual([]);
    });
  },
);

function linkOf(path: string): string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    return [];
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
