/** etcd, kube-apiserver and kube-controller-manager as child processes. A cluster without nodes: nothing runs a pod. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import { ApiClient } from '../../src/source/api-server/api-client.ts';

const root = new URL('../..', import.meta.url).pathname;

/** Who may do everything. */
export const adminToken = 'the-admin-of-the-tests';

/** What a test needs to know of the machines; plain data, since it crosses from vitest's own process to the tests'. */
export interface Machines {
  /** Where the programs and CRDs are. */
  readonly assets: string;
  /** Certificates, keys and logs. */
  readonly directory: string;
  readonly etcd: string;
  readonly server: string;
}

export interface RunningApiServer {
  readonly url: string;
  /** SIGKILL: nobody says goodbye. */
  kill(): Promise<void>;
  /** On the same port, with the same etcd. */
  start(): Promise<void>;
}

/** The directory of the programs, built when they are missing. Rejects with the reason where they cannot be had. */
export async function findAssets(): Promise<string> {
  const run = promisify(execFile)(join(root, 'scripts/kubernetes-assets.sh'), { maxBuffer: 1 << 26 });
  run.child.stderr?.pipe(process.stderr);
  try {
    return (await run).stdout.trim();
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(stderr?.trim().split('\n').at(-1) ?? String(error));
  }
}

/** Starts everything and returns how to reach and how to end it. */
export async function startMachines(assets: string): Promise<Machines & { stop(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-kubernetes-'));
  const children: ChildProcess[] = [];
  const stop = async () => {
    await Promise.all(children.reverse().map(end));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    writeKeys(directory);
    const etcd = await startEtcd(assets, directory, children);
    const port = await freePort();
    const machines = { assets, directory, etcd, server: `https://127.0.0.1:${port}` };
    children.push(spawnApiServer(machines, port));
    await ready(adminClient(machines), machines.directory, `kube-apiserver-${port}`);
    children.push(startControllerManager(machines));
    return { ...machines, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** One more API server over the same etcd, as a highly available control plane has; tests stop and start this one. */
export async function startSecondApiServer(
  machines: Machines,
  ...more: readonly string[]
): Promise<RunningApiServer & { stop(): Promise<void> }> {
  const port = await freePort();
  const url = `https://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  const start = async () => {
    child = spawnApiServer(machines, port, more);
    await ready(adminClient({ ...machines, server: url }), machines.directory, `kube-apiserver-${port}`);
  };
  const kill = async () => {
    if (child !== undefined) await end(child);
    child = undefined;
  };
  await start();
  return { url, start, kill, stop: kill };
}

export function adminClient(machines: Pick<Machines, 'server' | 'directory'>): ApiClient {
  return clientFor(machines, adminToken);
}

export function kubeConfigFor(
  { server, directory }: Pick<Machines, 'server' | 'directory'>,
  token: string,
): KubeConfig {
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'test', server, caFile: join(directory, 'certificates/apiserver.crt'), skipTLSVerify: false },
    { name: 'test', token },
  );
  return config;
}

export function clientFor(machines: Pick<Machines, 'server' | 'directory'>, token: string): ApiClient {
  return new ApiClient(kubeConfigFor(machines, token));
}

/** Makes etcd forget every revision before the newest. */
export async function compact(etcd: string): Promise<void> {
  const call = async (method: string, body: object) => {
    const answer = await fetch(`${etcd}/v3/kv/${method}`, { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd ${method}: ${await answer.text()}`);
    return (await answer.json()) as { header: { revision: string } };
  };
  const { header } = await call('range', { key: Buffer.from('/').toString('base64') });
  await call('compaction', { revision: header.revision, physical: true });
}

function writeKeys(directory: string): void {
  mkdirSync(join(directory, 'certificates'));
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  writeFileSync(join(directory, 'tokens.key'), privateKey);
  writeFileSync(join(directory, 'tokens.pub'), publicKey);
  writeFileSync(join(directory, 'tokens.csv'), `${adminToken},admin,admin,"system:masters"\n`);
}

async function startEtcd(assets: string, directory: string, children: ChildProcess[]): Promise<string> {
  const client = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const args = [
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    // What a test loses with the machine it does not need.
    '--unsafe-no-fsync',
  ];
  children.push(run(assets, 'etcd', args, directory, 'etcd'));
  await until(async () => (await fetch(`${client}/health`)).ok, 'etcd', directory, 'etcd');
  return client;
}

function spawnApiServer(
  { assets, directory, etcd }: Pick<Machines, 'assets' | 'directory' | 'etcd'>,
  port: number,
  more: readonly string[] = [],
): ChildProcess {
  const args = [
    `--etcd-servers=${etcd}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${join(directory, 'tokens.key')}`,
    `--service-account-key-file=${join(directory, 'tokens.pub')}`,
    `--cert-dir=${join(directory, 'certificates')}`,
    `--secure-port=${port}`,
    '--bind-address=127.0.0.1',
    '--authorization-mode=RBAC',
    `--token-auth-file=${join(directory, 'tokens.csv')}`,
    // Each server would otherwise write itself into the endpoints of the service `kubernetes`, and wait for it when it ends.
    '--endpoint-reconciler-type=none',
    ...more,
  ];
  return run(assets, 'kube-apiserver', args, directory, `kube-apiserver-${port}`);
}

function startControllerManager({ assets, directory, server }: Machines): ChildProcess {
  const kubeconfig = join(directory, 'controller-manager.kubeconfig');
  writeFileSync(kubeconfig, kubeConfigFor({ server, directory }, adminToken).exportConfig());
  const args = [
    `--kubeconfig=${kubeconfig}`,
    '--controllers=namespace-controller,serviceaccount-controller,endpointslice-controller',
    '--leader-elect=false',
    '--secure-port=0',
  ];
  return run(assets, 'kube-controller-manager', args, directory, 'kube-controller-manager');
}

function run(assets: string, program: string, args: string[], directory: string, log: string): ChildProcess {
  const output = openSync(join(directory, `${log}.log`), 'a');
  // However the tests end, they leave no server behind.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', join(assets, program), ...args], {
    stdio: ['ignore', output, output],
    cwd: directory,
  });
  closeSync(output);
  child.on('error', () => {});
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function ready(client: ApiClient, directory: string, log: string): Promise<void> {
  await until(
    async () => (await client.request<object>({ path: '/api/v1/namespaces/kube-system' })) !== undefined,
    log,
    directory,
    log,
  );
  client.close();
}

async function until(
  test: () => Promise<boolean>,
  what: string,
  directory: string,
  log: string,
): Promise<void> {
  const end = Date.now() + 90_000;
  for (;;) {
    try {
      if (await test()) return;
    } catch (error) {
      if (Date.now() > end) {
        const tail = readFileSync(join(directory, `${log}.log`), 'utf8')
          .split('\n')
          .slice(-20)
          .join('\n');
        throw new Error(`${what} is not ready: ${String(error)}\n${tail}`);
      }
    }
    await delay(100);
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
