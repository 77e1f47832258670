import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import {
  certificateDirectory,
  clientConfiguration,
  envoyBinary,
  envoyDirectory,
  serverConfiguration,
  writeEnvoyCertificate,
} from '../helpers/envoy.ts';
import { connectionWhere } from './observe.ts';
import { digestOf } from './programs/stream-pattern.ts';
import { describeInLab, namespace, pod, whyNoLab } from './world.ts';

const programs = '/opt/hadal/package/test/mesh/programs';
const bytes = 100_000_000;
const appPort = 8080;
/** As a socket that listens on :: sees it. */
const loopback = '::ffff:127.0.0.1';
const outPort = 9100;
/** The pod speaks HBONE itself: its peers are told so, and no agent captures it. */
const native = { labels: { 'networking.istio.io/tunnel': 'http' } };
const server = { command: ['node', `${programs}/stream-server.ts`, String(appPort), String(bytes)] };
const probed = { ...server, ports: { main: appPort }, probe: { tcpSocket: { port: appPort } } };

const directory = whyNoLab === undefined ? certificateDirectory() : '';
const spiffe = (account: string): string => `spiffe://cluster.local/ns/${account.replace('/', '/sa/')}`;

describeInLab(
  'Envoy as the peer of the tunnel',
  {
    mounts: [{ source: directory, target: envoyDirectory }],
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('native'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('shop/app', 'b', { serviceAccount: 'app', ...probed }),
      pod('native/envoy-client', 'a', { serviceAccount: 'envoy', ...native }),
      pod('native/envoy-server', 'b', { serviceAccount: 'envoy', ...native, ...probed }),
      pod('native/envoy-liar', 'b', { serviceAccount: 'envoy', ...native, ...probed }),
    ],
  },
  (world) => {
    const running: ChildProcess[] = [];
    let binary: string;

    beforeAll(async () => {
      binary = envoyBinary();
    });
    afterAll(() => {
      for (const child of running) child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    });

    async function startEnvoy(
      place: LabPod,
      name: string,
      configuration: string,
      listening: number,
      identity = spiffe('native/envoy'),
    ): Promise<void> {
      const node = world.lab.node(place.node);
      const socket = join(node.layout.directory, 'run', 'authority.sock');
      await writeEnvoyCertificate(directory, name, identity, socket);
      writeFileSync(join(directory, `${name}.json`), configuration);
      const path = binary.replace(/^.*\/build\//, '/opt/hadal/package/build/');
      const args = [
        '-c',
        `${envoyDirectory}/${name}.json`,
        '--concurrency',
        '1',
        '-l',
        'error',
        '--disable-hot-restart',
      ];
      const child = place.spawn([path, ...args]);
      running.push(child);
      let said = '';
      child.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      const deadline = Date.now() + 20_000;
      while (Date.now() < deadline && child.exitCode === null) {
        const sockets = await place.exec(['cat', '/proc/net/tcp', '/proc/net/tcp6']);
        if (sockets.stdout.includes(`:${listening.toString(16).toUpperCase().padStart(4, '0')} 0000`)) return;
        await sleep(50);
      }
      throw new Error(`Envoy (${name}) does not listen on ${listening}: ${said}`);
    }

    const carried = { path: 'tunnel', bytesSent: bytes, bytesReceived: bytes, reason: 'none' };
    const endedAt = (node: string, fits: (entry: ConnectionEntry) => boolean): Promise<ConnectionEntry> =>
      connectionWhere(
        world.lab,
        node,
        (entry) => fits(entry) && entry.path === 'tunnel' && entry.state !== 'live',
      );

    /** What the pod's server says of the requests that it has read to their end; a probe asks nothing. */
    function requestsOf(place: LabPod): Record<string, unknown>[] {
      const log = readFileSync(join(place.plan.layout.directory, 'main.log'), 'utf8');
      const requests = log.split('\n').filter((line) => line.includes('"sha256"'));
      return requests.map((line) => JSON.parse(line)).filter(({ received }) => received > 0);
    }

    async function exchange(from: LabPod, address: string, port: number): Promise<Record<string, unknown>> {
      const argv = ['node', `${programs}/stream-client.ts`, address, String(port), String(bytes)];
      const result = await from.exec(argv, { timeoutMs: 50_000 });
      return JSON.parse(result.stdout) as Record<string, unknown>;
    }

    it('reaches a pod through our 15008, with SAN checks on both sides, 100 MB each way and half-close', async () => {
      const app = world.lab.pod('app');
      const client = world.lab.pod('envoy-client');
      const configuration = clientConfiguration({
        name: 'client',
        listenPort: outPort,
        authority: `${app.v4}:${appPort}`,
        tunnelAddress: app.v4,
        serverIdentity: spiffe('shop/app'),
      });
      await startEnvoy(client, 'client', configuration, outPort);
      expect(await exchange(client, '127.0.0.1', outPort)).toMatchObject({
        received: bytes,
        sha256: await digestOf(bytes, 'answer'),
      });
      const whole = { received: bytes, sha256: await digestOf(bytes, 'request') };
      expect(requestsOf(app)).toContainEqual(expect.objectContaining(whole));
      expect(await endedAt('b', ({ pod: name }) => name === 'shop/app')).toMatchObject({
        ...carried,
        direction: 'inbound',
        source: { identity: spiffe('native/envoy') },
      });
    });

    it('refuses our 15008 when the certificate names another identity than it expects', async () => {
      const app = world.lab.pod('app');
      const client = world.lab.pod('envoy-client');
      const configuration = clientConfiguration({
        name: 'wrong',
        listenPort: outPort + 1,
        authority: `${app.v4}:${appPort}`,
        tunnelAddress: app.v4,
        serverIdentity: spiffe('shop/somebody-else'),
      });
      await startEnvoy(client, 'wrong', configuration, outPort + 1);
      const argv = ['node', `${programs}/stream-client.ts`, '127.0.0.1', String(outPort + 1), '10'];
      const result = await client.exec(argv, { timeoutMs: 20_000 });
      expect(JSON.parse(result.stdout)).not.toMatchObject({ received: bytes });
      expect((JSON.parse(result.stdout) as { received: number }).received).toBe(0);
    });

    it('carries our client to a program behind its CONNECT listener, 100 MB each way and half-close', async () => {
      const place = world.lab.pod('envoy-server');
      const configuration = serverConfiguration({
        name: 'server',
        clientIdentity: spiffe('shop/caller'),
        port: appPort,
      });
      await startEnvoy(place, 'server', configuration, 15008);
      expect(await exchange(world.lab.pod('caller'), place.v4, appPort)).toMatchObject({
        received: bytes,
        sha256: await digestOf(bytes, 'answer'),
        remoteAddress: place.v4,
        remotePort: appPort,
      });
      // From Envoy beside it: past Envoy it would be the caller's own address.
      const whole = { received: bytes, sha256: await digestOf(bytes, 'request') };
      expect(requestsOf(place)).toEqual([expect.objectContaining({ ...whole, remoteAddress: loopback })]);
      expect(await endedAt('a', ({ endpoint }) => endpoint?.address === place.v4)).toMatchObject({
        ...carried,
        direction: 'outbound',
      });
    });

    it('is refused by our client when its certificate names another identity than the workload has', async () => {
      const place = world.lab.pod('envoy-liar');
      const configuration = serverConfiguration({
        name: 'liar',
        clientIdentity: spiffe('shop/caller'),
        port: appPort,
      });
      await startEnvoy(place, 'liar', configuration, 15008, spiffe('shop/app'));
      const argv = ['node', `${programs}/stream-client.ts`, place.v4, String(appPort), '10'];
      const result = await world.lab.pod('caller').exec(argv, { timeoutMs: 20_000 });
      expect(JSON.parse(result.stdout)).toMatchObject({ received: 0, error: expect.any(String) });
      expect(requestsOf(place)).toEqual([]);
      expect(await endedAt('a', ({ endpoint }) => endpoint?.address === place.v4)).toMatchObject({
        direction: 'outbound',
        reason: 'peer_identity',
      });
    });
  },
);
