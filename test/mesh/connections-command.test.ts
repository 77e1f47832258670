/** `hadal connections` as an operator runs it, over each path that a connection can take. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type CommandResult, capture } from '../../src/lab/command.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import { samplesOf } from './observe.ts';
import { digestOf } from './programs/stream-pattern.ts';
import { describeInLab, namespace, pod } from './world.ts';

const exactBytes = 10_000_007;
const port = 8080;
const hostPrograms = join(packageRoot(), 'test', 'mesh', 'programs');
const programs = '/opt/hadal/package/test/mesh/programs';
const command = ['node', `${programs}/stream-server.ts`, String(port), String(exactBytes)];
const streamServer = { command, ports: { main: port }, probe: { tcpSocket: { port } } };
const outsideHost = {
  apiVersion: 'lab.hadal.io/v1alpha1',
  kind: 'OutsideHost',
  metadata: { name: 'depot' },
  spec: { command },
};
// Hosts beyond the cluster come from files alone.
const directory = mkdtempSync(join(tmpdir(), 'hadal-connections-'));
writeFileSync(join(directory, 'depot.yaml'), JSON.stringify(outsideHost));
afterAll(() => rmSync(directory, { recursive: true }));

interface Shown extends ConnectionEntry {
  readonly node: string;
}

const hadal = (...args: string[]): Promise<CommandResult> =>
  capture([process.execPath, join(packageRoot(), 'src', 'cli', 'main.ts'), ...args]);

async function shown(lab: Lab, ...args: string[]): Promise<Shown[]> {
  const { code, stdout, stderr } = await hadal('connections', '--lab', lab.name, '-o', 'json', ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const answer = JSON.parse(stdout) as { connections: Shown[]; lost: number; errors: unknown[] };
  expect(answer).toMatchObject({ lost: 0, errors: [] });
  return answer.connections;
}

/** Sends and receives exactly `exactBytes`; resolves with the client's port. */
async function exchange(
  run: (argv: readonly string[]) => Promise<CommandResult>,
  to: string,
): Promise<number> {
  const { stdout, stderr } = await run([
    `${programs}/stream-client.ts`,
    to,
    String(port),
    String(exactBytes),
  ]);
  if (stdout === '') throw new Error(stderr);
  const seen = JSON.parse(stdout) as { localPort: number };
  expect(seen).toMatchObject({ received: exactBytes, sha256: await digestOf(exactBytes, 'answer') });
  return seen.localPort;
}

const onHost = (argv: readonly string[]) => argv.map((word) => word.replace(programs, hostPrograms));

interface Route {
  readonly from: string;
  readonly to: string;
  /** Where it must be shown, and how; nowhere else. */
  readonly seen: readonly (readonly [
    node: 'a' | 'b',
    direction: 'outbound' | 'inbound',
    path: ConnectionEntry['path'],
  ])[];
}

const routes: readonly Route[] = [
  {
    from: 'caller',
    to: 'keeper',
    seen: [
      ['a', 'outbound', 'tunnel'],
      ['b', 'inbound', 'tunnel'],
    ],
  },
  { from: 'caller', to: 'store', seen: [['a', 'outbound', 'plaintext']] },
  { from: 'stranger', to: 'keeper', seen: [['b', 'inbound', 'plaintext']] },
  { from: 'caller', to: 'depot', seen: [['a', 'outbound', 'untouched']] },
  { from: 'kubelet', to: 'keeper', seen: [['b', 'inbound', 'untouched']] },
];

describeInLab(
  'hadal connections',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      pod('shop/keeper', 'b', { serviceAccount: 'keeper', ...streamServer, probe: undefined }),
      pod('plain/stranger', 'a'),
      pod('plain/store', 'b', streamServer),
    ],
    directory,
  },
  (world) => {
    const addressOf = (name: string): string =>
      name === 'depot' ? world.lab.outsideHost(name).v4 : world.lab.pod(name).v4;
    const run = (from: string) => (argv: readonly string[]) =>
      from === 'kubelet'
        ? world.lab.node('b').exec([process.execPath, ...onHost(argv)], { cgroup: 'kubelet' })
        : world.lab.pod(from).exec(['node', ...argv], { timeoutMs: 50_000 });
    const ports = new Map<Route, number>();

    // A readiness probe of its own would be one more connection to be shown.
    beforeAll(async () => {
      const listens = ['grep', '-qi', `:${port.toString(16)} .* 0A `, '/proc/net/tcp6'];
      const { lab } = world;
      await vi.waitFor(async () => expect((await lab.pod('keeper').exec(listens)).code).toBe(0), 5000);
    });

    it.each(routes)(
      'shows what went from $from to $to to the byte, on every node that carried it and no other',
      async (route) => {
        const { lab } = world;
        const clientPort = await exchange(run(route.from), addressOf(route.to));
        ports.set(route, clientPort);
        const found = async () =>
          (await shown(lab)).filter((one) => one.source.port === clientPort && one.state === 'closed');
        await expect.poll(async () => (await found()).length, { timeout: 5000 }).toBe(route.seen.length);
        const entries = await found();
        for (const [node, direction, path] of route.seen) {
          expect(entries.find((one) => one.node === node)).toMatchObject({
            direction,
            path,
            destination: { address: addressOf(route.to), port },
            bytesSent: exactBytes,
            bytesReceived: exactBytes,
          });
        }
      },
    );

    it('has the same totals as 15020 of each node', async () => {
      const { lab } = world;
      for (const node of ['a', 'b'] as const) {
        const carried = routes.filter(({ seen }) => seen.some(([where]) => where === node)).length;
        for (const metric of ['istio_tcp_sent_bytes_total', 'istio_tcp_received_bytes_total']) {
          const totals = (await samplesOf(lab, node, metric)).map(({ value }) => value);
          expect(totals, `${metric} of ${node}`).toHaveLength(carried);
          expect(new Set(totals), `${metric} of ${node}`).toEqual(new Set([exactBytes]));
        }
      }
    });

    it('prints a table with a line for each, and what else there is to know when asked', async () => {
      const { lab } = world;
      const caller = lab.pod('caller').v4;
      const [tunnel, , , untouched] = routes.map((route) => ports.get(route));
      const { stdout } = await hadal('connections', '--lab', lab.name, '--pod', 'shop/caller');
      const lines = stdout.trim().split('\n');
      expect(lines[0]).toMatch(/^TIME +NODE +DIRECTION +PATH +SOURCE +DESTINATION +SENT +RECEIVED /);
      expect(lines).toHaveLength(4);
      const line = (clientPort = 0) => lines.find((one) => one.includes(`${caller}:${clientPort} `));
      expect(line(tunnel)).toMatch(
        /a +outbound +tunnel +shop\/caller .* shop\/keeper .* 10\.0MB +10\.0MB .* closed$/,
      );
      expect(line(untouched)).toMatch(/a +outbound +untouched +shop\/caller .* 10\.0MB +10\.0MB .* closed$/);
      const wide = await hadal('connections', '--node', 'b', '--lab', lab.name, '-o', 'wide');
      expect(wide.stdout).toMatch(
        /tunnel .*spiffe:\/\/cluster.local\/ns\/shop\/sa\/caller +spiffe:\/\/cluster.local\/ns\/shop\/sa\/keeper/,
      );
      expect(wide.stdout).toMatch(/untouched .*made by the kubelet, which probes the application directly/);
      expect(wide.stdout).not.toMatch(/ a +outbound /);
    });
  },
);
