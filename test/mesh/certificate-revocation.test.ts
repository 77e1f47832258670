/** Certificates that were taken back: their handshakes are refused, their connections end, and an agent gets itself another. */

import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openAuthority } from '../../src/identity/authority-directory.ts';
import { createCsr } from '../../src/identity/csr.ts';
import { generateKey, keyToPem } from '../../src/identity/keys.ts';
import type { CertificateStatus } from '../../src/identity/workload-certificates.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { certificateDirectory } from '../helpers/envoy.ts';
import { opensslRevocationList } from '../unit/identity/openssl.ts';
import { connectionWhere, sectionOf, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod, whyNoLab } from './world.ts';

const directory = whyNoLab === undefined ? certificateDirectory() : '';
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const crlFile = join(directory, 'crl.pem');
const port = 8080;
const peerIdentity = 'spiffe://cluster.local/ns/native/sa/peer';
const callerIdentity = 'spiffe://cluster.local/ns/shop/sa/caller';
const failures = 'istio_tcp_connections_failed_total';
const logOf = (lab: Lab, node: string) => readFileSync(lab.node(node).agent?.logPath ?? '', 'utf8');
const authorityDirectory = (lab: Lab) => join(lab.directory, 'control-plane', 'data', 'authority');

/** Signed by the mesh's own authority; its serial number. */
async function writeCertificate(lab: Lab, name: string): Promise<string> {
  const authority = await openAuthority(authorityDirectory(lab), { trustDomains: ['cluster.local'] });
  const key = await generateKey();
  const csr = await createCsr(peerIdentity, key);
  const signed = await authority.sign({ csr, identity: peerIdentity, lifetimeMs: 3_600_000 });
  const target = join(directory, name);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, 'chain.pem'), signed.chain.join('\n'));
  writeFileSync(join(target, 'key.pem'), keyToPem(key));
  writeFileSync(join(target, 'roots.pem'), signed.roots);
  chmodSync(join(target, 'key.pem'), 0o644);
  return new X509Certificate(signed.chain[0] ?? '').serialNumber;
}

/** What `openssl s_client` says of a TLS connection to port 15008 of the pod, held for so long. */
async function handshake(lab: Lab, certificate: string, seconds = 1): Promise<string> {
  const shell = `(sleep ${seconds}) | timeout 20 openssl s_client -alpn h2 -connect "$0" "$@"`;
  const file = (name: string) => `/certificates/${certificate}/${name}.pem`;
  const args = ['-CAfile', file('roots'), '-cert', file('chain'), '-key', file('key')];
  const address = `${lab.pod('app').v4}:15008`;
  const { stdout, stderr } = await lab
    .pod('peer')
    .exec(['sh', '-c', shell, address, ...args], { timeoutMs: 30_000 });
  return stdout + stderr;
}

const revoked: string[] = [];

function revoke(lab: Lab, serialNumber: string): void {
  revoked.push(serialNumber);
  const read = (name: string) => readFileSync(join(authorityDirectory(lab), name), 'utf8');
  writeFileSync(
    crlFile,
    opensslRevocationList({ key: read('ca-key.pem'), certificate: read('ca-cert.pem') }, revoked),
  );
}

describeInLab(
  'a certificate that was revoked',
  {
    controlPlane: true,
    agentEnv: { HADAL_CRL_FILE: crlFile },
    mounts: [{ source: directory, target: '/certificates' }],
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('native'),
      whoAmIPod('shop/app', 'b', port, { serviceAccount: 'app' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('native/peer', 'a', { serviceAccount: 'peer' }),
    ],
  },
  (world) => {
    it('is refused at 15008 and loses the tunnel that it has; another of the same identity does not', async () => {
      const { lab } = world;
      const stolen = await writeCertificate(lab, 'stolen');
      await writeCertificate(lab, 'honest');
      expect(await handshake(lab, 'stolen')).not.toMatch(/alert/);
      const open = Promise.all(['stolen', 'honest'].map((name) => handshake(lab, name, 8)));
      revoke(lab, stolen);
      const [closed, kept] = await open;
      // The words of `openssl s_client` for an end that came from the other side, and for one that came from its own.
      expect(closed).toMatch(/closed$/m);
      expect(kept).toMatch(/DONE$/m);
      const labels = { reason: 'cert_revoked', response_flags: 'CERT_REVOKED' };
      const before = await sumOf(lab, 'b', failures, labels);
      expect(await handshake(lab, 'stolen')).toMatch(/alert certificate revoked/);
      expect(await sumOf(lab, 'b', failures, labels)).toBe(before + 1);
      expect(await handshake(lab, 'honest')).not.toMatch(/alert/);
      expect(logOf(lab, 'b')).toContain(
        `the peer ${peerIdentity}: its certificate was revoked, serial number ${stolen}`,
      );
    });

    it('of an agent ends what was open with it, and the agent gets itself another at once', async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const certificate = async () => {
        const all = await sectionOf<CertificateStatus[]>(lab, 'a', 'certificates');
        return all.find(({ identity }) => identity === callerIdentity)?.certChain[0]?.serialNumber ?? '';
      };
      const older = new Ticker(caller, lab.pod('echo').v4, { port, count: 2 });
      await older.running(2);
      const first = await certificate();
      revoke(lab, BigInt(first).toString(16).toUpperCase());
      const entry = await connectionWhere(lab, 'b', ({ reason }) => reason === 'cert_revoked', 10_000);
      expect(entry.source).toMatchObject({ address: caller.v4 });
      await expect.poll(() => older.latest.open, { timeout: 5_000 }).toBe(0);
      older.stop();
      expect(logOf(lab, 'a')).toContain('our own certificate was revoked; fetching another');
      await expect.poll(certificate, { timeout: 8_000 }).not.toBe(first);
      await expect
        .poll(async () => (await dial(caller, lab.pod('app').v4, port)).ok, { timeout: 8_000 })
        .toBe(true);
    });
  },
);
