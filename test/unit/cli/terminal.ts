import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { LogRoot, silentLogger } from '../../../src/base/logger.ts';
import { runCommandLine } from '../../../src/cli/command-line.ts';
import type { CertificateStatus } from '../../../src/identity/workload-certificates.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { explainInMesh } from '../../../src/routing/explain-in-mesh.ts';
import { startAdminServer } from '../../../src/runtime/admin-server.ts';
import type { AgentStatus } from '../../../src/runtime/agent-status.ts';
import { ConfigDump } from '../../../src/runtime/config-dump.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../../../src/runtime/mesh-dump.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { type FlowChannel, FlowLog } from '../../../src/telemetry/flow-log.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { labels } from '../telemetry/labels.ts';

export const now = Date.parse('2030-01-01T12:00:00Z');

export interface Run {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line as the program would, with its output as text. */
export async function hadal(
  args: readonly string[],
  options: {
    environment?: Record<string, string>;
    interrupted?: AbortSignal;
    onOut?: (text: string) => void;
  } = {},
): Promise<Run> {
  let [out, err] = ['', ''];
  const status = await runCommandLine(args, {
    out: (text) => {
      out += text;
      options.onOut?.(text);
    },
    err: (text) => {
      err += text;
    },
    // Nothing of the machine's own agent.
    environment: { HADAL_RUNTIME_DIR: '/nonexistent', HADAL_ADMIN_PORT: '1', ...options.environment },
    interrupted: options.interrupted ?? new AbortController().signal,
    now: () => now,
  });
  return { status, out, err };
}

export const usualStatus: AgentStatus = {
  node: 'node-1',
  version: '0.1.0',
  pid: 4242,
  startedAt: '2030-01-01T09:54:48.000Z',
  ready: true,
  pending: [],
  pods: [
    {
      name: 'shop/front',
      state: 'enrolled',
      identity: 'spiffe://cluster.local/ns/shop/sa/front',
      addresses: ['10.64.1.2', 'fd00:64:0:1::2'],
    },
    {
      name: 'shop/reviews',
      state: 'enrolled',
      identity: 'spiffe://cluster.local/ns/shop/sa/reviews',
      addresses: ['10.64.1.3'],
    },
  ],
  mesh: { workloads: 4, services: 3, policies: 1 },
  connectionsOpen: 12,
  tunnelsOpen: 2,
  certificates: { valid: 2, failed: 0 },
};

const front = labels({
  source_workload: 'front',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
  destination_workload: 'catalog',
  destination_workload_namespace: 'shop',
  destination_principal: 'spiffe://cluster.local/ns/shop/sa/catalog',
  destination_service: 'catalog.shop.svc.cluster.local',
});

/** As a peer could call itself in `baggage`. */
const hostile = labels({ source_workload: 'a\u001b[2J\u009b1m\rb', source_workload_namespace: 'shop' });

export interface TestAgent {
  /** Runs a command against this agent. */
  readonly run: (args: readonly string[], options?: Parameters<typeof hadal>[1]) => Promise<Run>;
  readonly flows: FlowChannel;
  readonly socketPath: string;
}

/** A real admin server over real flows; only what an agent would know is made up. */
export async function startTestAgent(
  facts: {
    readonly status?: object;
    /** More of `/config_dump`. */
    readonly sections?: Readonly<Record<string, unknown>>;
    readonly certificates?: readonly CertificateStatus[];
    /** The mesh that it knows. */
    readonly mesh?: MeshSnapshot;
    readonly readLive?: () => Promise<Uint8Array>;
  } = {},
): Promise<TestAgent> {
  const directory = temporaryDirectory();
  const log = new FlowLog({
    labels: (edge) => (edge === 1 ? front : edge === 2 ? hostile : undefined),
    podName: (index) => (index === 1 ? 'shop/front' : undefined),
  });
  const { readLive, mesh = emptySnapshot } = facts;
  const flows = log.channel('tunnel', undefined, readLive === undefined ? {} : { readLive });
  const socketPath = join(directory, 'admin.sock');
  const configDump = new ConfigDump()
    .section('certificates', () => facts.certificates ?? [])
    .section('workloads', () => dumpWorkloads(mesh))
    .section('services', () => dumpServices(mesh))
    .section('policies', () => dumpPolicies(mesh));
  for (const [name, value] of Object.entries(facts.sections ?? {})) configDump.section(name, () => value);
  const server = await startAdminServer({
    node: 'node-1',
    port: 0,
    socketPath,
    configDump,
    explain: (source, destination) => explainInMesh(mesh, defaultMeshNames, source, destination),
    logs: new LogRoot({ level: 'silent' }),
    connections: (query) => log.connections(query),
    status: () => facts.status ?? usualStatus,
    logger: silentLogger,
  });
  onTestFinished(() => server.close());
  return {
    flows,
    socketPath,
    run: (args, options = {}) =>
      hadal(args, { ...options, environment: { HADAL_RUNTIME_DIR: directory, ...options.environment } }),
  };
}
