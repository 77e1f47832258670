/** istiod as a child process, against the API server of the tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { adminClient, adminToken, freePort, kubeConfigFor, type Machines } from '../kubernetes/machines.ts';

/** Accounts that may ask for the identities of pods on their node. */
export const agentAccount = { namespace: 'hadal-system', name: 'hadal-agent' } as const;

export interface Istiod {
  readonly port: number;
  /** `127.0.0.1:port`: discovery and certificates. */
  readonly address: string;
  /** In its certificate. */
  readonly serverName: string;
  /** Its root, as it publishes it in every namespace. */
  readonly rootFile: string;
  readonly log: string;
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

export interface IstiodOptions {
  readonly machines: Machines;
  /** Where the programs are. */
  readonly assets: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A mesh that is Istio's default, but for what takes a whole cluster. */
const meshConfig = 'rootNamespace: istio-system\ntrustDomain: cluster.local\nenablePrometheusMerge: false\n';

/** Resolves when it is ready and its root is in `rootFile`. */
export async function startIstiod({ machines, assets, env = {} }: IstiodOptions): Promise<Istiod> {
  const [port, http, monitoring] = [await freePort(), await freePort(), await freePort()];
  const directory = join(machines.directory, `istiod-${port}`);
  mkdirSync(directory);
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const args = [
    'discovery',
    `--kubeconfig=${file('kubeconfig', kubeConfigFor(machines, adminToken).exportConfig())}`,
    `--meshConfig=${file('mesh.yaml', meshConfig)}`,
    `--networksConfig=${file('networks.yaml', 'networks: {}\n')}`,
    `--httpAddr=127.0.0.1:${http}`,
    '--httpsAddr=',
    '--grpcAddr=',
    `--secureGRPCAddr=127.0.0.1:${port}`,
    `--monitoringAddr=127.0.0.1:${monitoring}`,
    '--ctrlz_port=0',
    '--namespace=istio-system',
    '--shutdownDuration=0s',
    '--keepaliveMaxServerConnectionAge=30m',
  ];
  const log = join(directory, 'log');
  const rootFile = join(directory, 'root-cert.pem');
  let child: ChildProcess | undefined;
  const start = async () => {
    const output = openSync(log, 'a');
    child = spawn('setpriv', ['--pdeathsig', 'KILL', join(assets, 'pilot-discovery'), ...args], {
      stdio: ['ignore', output, output],
      cwd: directory,
      env: { ...process.env, ...environment, ...env },
    });
    closeSync(output);
    child.on('error', () => {});
    await until(async () => (await fetch(`http://127.0.0.1:${http}/ready`)).ok, log);
    await until(async () => {
      writeFileSync(rootFile, await readRoot(machines));
      return true;
    }, log);
  };
  const kill = async () => {
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  try {
    await start();
  } catch (error) {
    await kill();
    throw error;
  }
  const address = `127.0.0.1:${port}`;
  return { port, address, serverName: 'istiod.istio-system.svc', rootFile, log, start, kill };
}

const environment = {
  PILOT_ENABLE_AMBIENT: 'true',
  CA_TRUSTED_NODE_ACCOUNTS: `${agentAccount.namespace}/${agentAccount.name}`,
  POD_NAMESPACE: 'istio-system',
  POD_NAME: 'istiod-of-the-tests',
  CLUSTER_ID: 'Kubernetes',
  REVISION: 'default',
  // There is one of it, and it shall serve at once.
  ENABLE_LEADER_ELECTION: 'false',
  PILOT_ENABLE_ANALYSIS: 'false',
  // Nobody injects sidecars here, and no server calls it back.
  INJECTION_WEBHOOK_CONFIG_NAME: '',
  VALIDATION_WEBHOOK_CONFIG_NAME: '',
  PILOT_DEBOUNCE_AFTER: '50ms',
  // Off by default, for ztunnels that would enforce such policies.
  AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY: 'true',
};

async function readRoot(machines: Machines): Promise<string> {
  const api = adminClient(machines);
  try {
    const path = `/api/v1/namespaces/${agentAccount.namespace}/configmaps/istio-ca-root-cert`;
    const { data } = await api.request<{ data: Record<string, string> }>({ path });
    const root = data['root-cert.pem'];
    if (root === undefined) throw new Error(`${path} has no root-cert.pem`);
    return root;
  } finally {
    api.close();
  }
}

async function until(test: () => Promise<boolean>, log: string): Promise<void> {
  const end = Date.now() + 90_000;
  for (;;) {
    const failure = await test().then(
      (done) => (done ? undefined : 'not yet'),
      (error: unknown) => String(error),
    );
    if (failure === undefined) return;
    if (Date.now() > end) {
      const tail = readFileSync(log, 'utf8').split('\n').slice(-30).join('\n');
      throw new Error(`istiod is not ready: ${failure}\n${tail}`);
    }
    await delay(100);
  }
}
