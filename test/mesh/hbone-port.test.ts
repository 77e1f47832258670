import { type ChildProcess, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CommandResult } from '../../src/lab/command.ts';
import { certificateDirectory, writeEnvoyCertificate } from '../helpers/envoy.ts';
import { describeInLab, dial, namespace, pod, whoAmIPod, whyNoLab } from './world.ts';

const directory = whyNoLab === undefined ? certificateDirectory() : '';
const port = 8080;
/** A peer that the authority knows, on node a, without an agent in between. */
const native = { labels: { 'networking.istio.io/tunnel': 'http' }, serviceAccount: 'peer' };

/** A certificate of an authority of our own: right in form, signed by nobody that the mesh trusts. */
function writeForeign(name: string, identity: string, days: string): void {
  const target = join(directory, name);
  mkdirSync(target, { recursive: true });
  writeFileSync(
    join(target, 'names'),
    `subjectAltName=critical,URI:${identity}\nextendedKeyUsage=serverAuth,clientAuth\n`,
  );
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: target, stdio: ['ignore', 'ignore', 'pipe'] });
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    'root.key',
    '-out',
    'roots.pem',
    '-subj',
    '/O=foreign',
    '-days',
    '2',
  );
  openssl(
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    'key.pem',
    '-out',
    'leaf.csr',
    '-subj',
    '/',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'leaf.csr',
    '-CA',
    'roots.pem',
    '-CAkey',
    'root.key',
    '-CAcreateserial',
    '-extfile',
    'names',
    '-out',
    'chain.pem',
    '-days',
    days,
  );
  chmodSync(join(target, 'key.pem'), 0o644);
}

describeInLab(
  'port 15008 of a meshed pod',
  {
    mounts: [{ source: directory, target: '/certificates' }],
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('native'),
      whoAmIPod('shop/app', 'b', port, { serviceAccount: 'app' }),
      pod('shop/caller', 'a'),
      pod('native/peer', 'a', native),
    ],
  },
  (world) => {
    const running: ChildProcess[] = [];

    beforeAll(async () => {
      const socket = join(world.lab.node('a').layout.directory, 'run', 'authority.sock');
      await writeEnvoyCertificate(directory, 'own', 'spiffe://cluster.local/ns/native/sa/peer', socket);
      writeForeign('foreign', 'spiffe://cluster.local/ns/shop/sa/app', '1');
      writeForeign('elsewhere', 'spiffe://another.example/ns/shop/sa/app', '1');
    });
    afterAll(() => {
      for (const child of running) child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    });

    /** `openssl s_client` from the peer; what it printed tells the server's side, and whether the server took it. */
    async function handshake(certificate: string | undefined, ...more: string[]): Promise<CommandResult> {
      const address = `${world.lab.pod('app').v4}:15008`;
      const own =
        certificate === undefined
          ? []
          : [
              '-cert',
              `/certificates/${certificate}/chain.pem`,
              '-key',
              `/certificates/${certificate}/key.pem`,
            ];
      // In TLS 1.3 the client is done before the server has judged its certificate: it reads on to learn the verdict.
      const shell = `(sleep 1) | timeout 10 openssl s_client -connect "$0" "$@"`;
      const args = ['-CAfile', '/certificates/own/roots.pem', '-showcerts', ...own, ...more];
      return await world.lab.pod('peer').exec(['sh', '-c', shell, address, ...args], { timeoutMs: 20_000 });
    }

    it('speaks TLS 1.3 and h2, and shows the SPIFFE id of its service account', async () => {
      const { stdout } = await handshake('own', '-alpn', 'h2');
      expect(stdout).toContain('TLSv1.3');
      expect(stdout).toContain('ALPN protocol: h2');
      expect(stdout).toContain('Verify return code: 0 (ok)');
      const leaf = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/.exec(stdout)?.[0] ?? '';
      const text = execFileSync('openssl', ['x509', '-noout', '-ext', 'subjectAltName'], {
        input: leaf,
        encoding: 'utf8',
      });
      expect(text).toContain('URI:spiffe://cluster.local/ns/shop/sa/app');
    });

    it.each([
      ['without a client certificate', undefined, /alert.*certificate required/i],
      ['with a certificate of an unknown authority', 'foreign', /alert.*(unknown ca|bad certificate)/i],
      ['with the identity of another trust domain', 'elsewhere', /alert/i],
    ])('rejects a client %s', async (_name, certificate, alert) => {
      const { stdout, stderr } = await handshake(certificate, '-alpn', 'h2');
      expect(stdout + stderr).toMatch(alert);
    });

    it('refuses a client that offers no h2', async () => {
      const { stdout, stderr } = await handshake('own', '-alpn', 'http/1.1');
      expect(stdout + stderr).toMatch(/no application protocol|No ALPN negotiated/i);
    });

    it('does not speak TLS 1.2', async () => {
      const { stdout, stderr } = await handshake('own', '-alpn', 'h2', '-tls1_2');
      expect(stdout + stderr).toMatch(/alert|unsupported protocol|no protocols available/i);
      expect(stdout).not.toContain('Verify return code: 0 (ok)\n---\n');
    });

    it('survives what is no TLS at all, and goes on serving', async () => {
      const app = world.lab.pod('app');
      const seen = await dial(world.lab.pod('peer'), app.v4, 15008, 'GET / HTTP/1.1\r\n\r\n'.repeat(50));
      expect(seen.received).not.toContain('HTTP');
      expect((await dial(world.lab.pod('caller'), app.v4, port)).ok).toBe(true);
    });
  },
);
