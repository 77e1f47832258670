/** Certificates of the mesh's own authority whose time is over, or has not come: a client's, and an agent's own. */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openAuthority } from '../../src/identity/authority-directory.ts';
import { createCsr } from '../../src/identity/csr.ts';
import { generateKey, keyToPem } from '../../src/identity/keys.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { certificateDirectory } from '../helpers/envoy.ts';
import { connectionWhere, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod, whyNoLab } from './world.ts';

const directory = whyNoLab === undefined ? certificateDirectory() : '';
const port = 8080;
const lifetimeMs = 4_000;
const peerIdentity = 'spiffe://cluster.local/ns/native/sa/peer';

/** Signed by the lab's own authority as if it were another time: right in everything but its dates. */
async function writeCertificate(lab: Lab, name: string, offsetMs: number, lifeMs: number): Promise<void> {
  const authority = await openAuthority(join(lab.directory, 'authority'), {
    trustDomains: ['cluster.local'],
    clockSkewMs: 0,
    now: () => Date.now() + offsetMs,
  });
  const key = await generateKey();
  const csr = await createCsr(peerIdentity, key);
  const signed = await authority.sign({ csr, identity: peerIdentity, lifetimeMs: lifeMs });
  const target = join(directory, name);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, 'chain.pem'), signed.chain.join('\n'));
  writeFileSync(join(target, 'key.pem'), keyToPem(key));
  writeFileSync(join(target, 'roots.pem'), signed.roots);
  chmodSync(join(target, 'key.pem'), 0o644);
}

/** What `openssl s_client` says of a TLS connection to port 15008 of the pod, with the certificate of that name. */
async function handshake(lab: Lab, certificate: string, seconds = 1): Promise<string> {
  const shell = `(sleep ${seconds}) | timeout 10 openssl s_client -alpn h2 -connect "$0" "$@"`;
  const file = (name: string) => `/certificates/${certificate}/${name}.pem`;
  const args = ['-CAfile', file('roots'), '-cert', file('chain'), '-key', file('key')];
  const address = `${lab.pod('app').v4}:15008`;
  const { stdout, stderr } = await lab.pod('peer').exec(['sh', '-c', shell, address, ...args], {
    timeoutMs: 20_000,
  });
  return stdout + stderr;
}

const logOf = (lab: Lab, node: string) => readFileSync(lab.node(node).agent?.logPath ?? '', 'utf8');
const failures = 'istio_tcp_connections_failed_total';

describeInLab(
  'a certificate',
  {
    certificateLifetimeMs: lifetimeMs,
    mounts: [{ source: directory, target: '/certificates' }],
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('native'),
      whoAmIPod('shop/app', 'b', port, { serviceAccount: 'app' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('native/peer', 'a', {
        labels: { 'networking.istio.io/tunnel': 'http' },
        serviceAccount: 'peer',
      }),
    ],
  },
  (world) => {
    beforeAll(async () => {
      await writeCertificate(world.lab, 'valid', 0, 3_600_000);
      await writeCertificate(world.lab, 'expired', -90_000, 30_000);
      await writeCertificate(world.lab, 'tomorrow', 86_400_000, 3_600_000);
    });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    it.each([
      ['expired', /alert certificate expired/, 'certificate has expired'],
      ['tomorrow', /alert bad certificate/, 'certificate is not yet valid'],
    ])(
      'of a client that is %s is rejected at 15008, with a reason in log and metrics',
      async (name, alert, why) => {
        const { lab } = world;
        const count = () => sumOf(lab, 'b', failures, { reason: 'tls_handshake' });
        const before = await count();
        // The same hands made one that is valid: what fails below fails for its dates alone.
        expect(await handshake(lab, 'valid')).not.toMatch(/alert/);
        expect(await count()).toBe(before);
        expect(await handshake(lab, name)).toMatch(alert);
        expect(await count()).toBe(before + 1);
        expect(logOf(lab, 'b')).toContain(`the peer's certificate: ${why}`);
      },
    );

    it('of a client that expires while its tunnel is open ends the tunnel', async () => {
      const { lab } = world;
      await writeCertificate(lab, 'brief', 0, 3_000);
      const [brief, valid] = await Promise.all(['brief', 'valid'].map((name) => handshake(lab, name, 7)));
      // The words of `openssl s_client` for an end that came from the other side, and for one that came from its own.
      expect(brief).toMatch(/closed$/m);
      expect(valid).toMatch(/DONE$/m);
    });

    it('of an agent that expires ends new connections, outbound and inbound, and none goes in clear', async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const app = lab.pod('app');
      const marker = `marker-${process.pid}-expiry`;
      const older = new Ticker(caller, lab.pod('echo').v4, { port, count: 2 });
      await older.running(2);
      const capture = await lab.capture(['tcp']);
      // A tunnel is pooled, which must not outlive the certificate for new connections.
      expect((await dial(caller, app.v4, port, marker)).ok).toBe(true);
      await lab.agents?.stopAuthority();
      try {
        for (const [node, account] of [
          ['a', 'caller'],
          ['b', 'app'],
        ] as const) {
          await expect
            .poll(() => logOf(lab, node), { timeout: 10_000 })
            .toMatch(new RegExp(`sa/${account}".*the certificate expired before it could be renewed`));
        }
        for (const address of [app.v4, app.v6]) {
          expect(await dial(caller, address, port, marker)).toMatchObject({
            received: '',
            error: 'ECONNRESET',
          });
          const entry = await connectionWhere(
            lab,
            'a',
            (one) => one.destination.address === address && one.state === 'refused',
          );
          expect(entry.reason).toBe('identity_unavailable');
        }
        expect(await sumOf(lab, 'a', failures, { reason: 'identity_unavailable' })).toBeGreaterThan(0);
        // A client whose own certificate is good meets no agent that would vouch for the pod without one.
        expect(await handshake(lab, 'valid')).toContain('no peer certificate available');
        expect(logOf(lab, 'b')).toMatch(/refused a tunnel from .*: no certificate for .*\/sa\/app/);
        // What was let in while the certificates were valid goes on.
        await older.progressed();
        expect(older.latest).toMatchObject({ open: 2, errors: [] });
      } finally {
        await lab.agents?.startAuthority();
      }
      await expect
        .poll(async () => (await dial(caller, app.v4, port, marker)).ok, { timeout: 12_000 })
        .toBe(true);
      older.stop();
      // Only now: a connection that nobody captures is the control that the capture would have seen the marker.
      await dial(lab.pod('peer'), app.v4, port, `${marker}-control`);
      const { dropped } = await capture.stop();
      expect(dropped).toBe(0);
      const bytes = readFileSync(capture.file, 'latin1');
      expect(bytes.split(`${marker}-control`).length).toBeGreaterThan(1);
      expect(bytes.replaceAll(`${marker}-control`, '')).not.toContain(marker);
    });
  },
);
