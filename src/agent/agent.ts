/**
 * `hadal agent`: starts the parts of one node's agent in order and ends them in reverse. No part finds another by itself;
 * whoever needs one is given it here.
 */
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import { LogRoot } from '../base/logger.ts';
import type { AgentConfiguration } from '../config/agent-config.ts';
import { chosenOptions } from '../config/read-options.ts';
import { KnownRevocations } from '../identity/revocation-lists.ts';
import { nativeAddon } from '../native/addon.ts';
import { explainConnection } from '../routing/explain.ts';
import { startAdminServer } from '../runtime/admin-server.ts';
import { startMetricsServer } from '../runtime/metrics-server.ts';
import { Readiness } from '../runtime/readiness.ts';
import { startReadinessServer } from '../runtime/readiness-server.ts';
import { stopSignals } from '../runtime/stop-signals.ts';
import { packageVersion } from '../runtime/version.ts';
import { agentMetrics } from './agent-metrics-sources.ts';
import { configDump } from './config-sections.ts';
import { drainConnections, startDataPath } from './data-path.ts';
import { followMesh } from './follow-mesh.ts';
import { takeInstanceLock } from './instance-lock.ts';
import type { AgentParts, AgentScope } from './parts.ts';
import { serveEnrolmentSocket, startEnrolment } from './pod-enrolment.ts';
import { releaseStartupMemory } from './startup-memory.ts';
import { agentStatus } from './status.ts';

/** For the parts that end after the connections, whose deadline is theirs alone. */
const endingMs = 2_000;

/** Runs an agent until SIGTERM or SIGINT. Resolves with the exit status: 0 unless the start or the end failed. */
export async function runAgent({ values: config, sources, warnings }: AgentConfiguration): Promise<number> {
  const format = config.logFormat === 'auto' ? {} : { format: config.logFormat };
  const logs = new LogRoot({ level: config.logLevel, ...format, fields: { node: config.nodeName } });
  const logger = logs.scope('agent');
  const version = packageVersion();
  logger.info({ version, config: chosenOptions({ values: config, sources }) }, 'the agent starts');
  for (const warning of warnings) logger.warn(warning);

  const lifecycle = new Lifecycle();
  const readiness = new Readiness();
  const stop = stopSignals(logger);
  let status = 0;
  try {
    const revocations = new KnownRevocations();
    const scope = { config, sources, version, logs, lifecycle, readiness, revocations };
    const started = startAgent(scope, () => stop.request('POST /quitquitquit'));
    // A signal during the start ends it: what is started by then is closed.
    const reason = await Promise.race([started.then(() => stop.requested), stop.requested]);
    logger.info({ reason, deadlineMs: config.drainDeadlineMs }, 'draining');
  } catch (caught) {
    logger.fatal({ err: HadalError.from(caught, 'ERR_AGENT_START') }, 'the agent cannot start');
    status = 1;
  }
  readiness.drain();
  const deadlineMs = status === 0 ? config.drainDeadlineMs + endingMs : 0;
  const report = await lifecycle.drain({ deadlineMs });
  for (const err of report.errors) logger.warn({ err }, 'a part did not end cleanly');
  logger.info({ overdue: report.overdue }, 'the agent has ended');
  stop.close();
  return report.errors.length > 0 ? 1 : status;
}

async function startAgent(scope: AgentScope, quit: () => void): Promise<void> {
  const { config, logs, lifecycle, readiness } = scope;
  const started = performance.now();
  const done = {
    dataPath: readiness.task('capture in the kernel and the tunnel'),
    mesh: readiness.task('mesh state'),
    pods: readiness.task('pods that were enrolled before'),
    socket: readiness.task('enrolment socket'),
  };
  const native = nativeAddon();
  lifecycle.own('instance lock', takeInstanceLock(native, config.runtimeDirectory, config.instance));
  const logger = logs.scope('readiness');
  lifecycle.own(
    'readiness server',
    await startReadinessServer({ readiness, port: config.readinessPort, logger }),
  );

  const path = await startDataPath(scope, native);
  const podParts = await startEnrolment(scope, path);
  const { enrolment } = podParts;
  done.dataPath();

  const meshState = await followMesh(scope, { ...path, ...podParts }, done.mesh, () =>
    path.certificates.retryNow(),
  );
  await enrolment.restore(config.adoptTimeoutMs);
  path.kernel.capture.retireOtherVersions();
  done.pods();

  await startServers({ ...scope, ...path, ...podParts, meshState }, quit);
  // Ends before the servers do: how a drain goes on, and what it ended, is read there.
  lifecycle.onClose('connections', async (force) => {
    const outcome = await drainConnections(path.tunnel, config.drainDeadlineMs, force);
    if (outcome === undefined) return;
    const { ended, forced: drained } = outcome;
    logs.scope('agent').info({ ended, drained }, 'connections have ended');
  });
  await serveEnrolmentSocket(scope, enrolment);
  done.socket();
  const { carried } = enrolment.counts();
  lifecycle.own('startup memory', releaseStartupMemory(native));
  const startMs = Math.round(performance.now() - started);
  logs
    .scope('agent')
    .info({ pods: carried, adopted: path.kernel.capture.adopted, startMs }, 'the agent is ready');
}

async function startServers(parts: AgentParts, quit: () => void): Promise<void> {
  const { config, flows, judge, lifecycle, logs, tunnel } = parts;
  const logger = logs.scope('admin');
  const admin = await startAdminServer({
    node: config.nodeName,
    port: config.adminPort,
    socketPath: join(config.runtimeDirectory, 'admin.sock'),
    configDump: configDump(parts),
    logs,
    connections: (query) => flows.log.connections(query),
    explain: (source, destination) =>
      explainConnection(
        { ...judge, snapshot: tunnel.snapshot, network: config.network },
        source,
        destination,
      ),
    status: () => agentStatus(parts),
    initialLevels: config.logLevel,
    quit,
    logger,
  });
  lifecycle.own('admin server', admin);
  const metrics = agentMetrics(parts);
  const server = await startMetricsServer({
    render: () => metrics.render(),
    port: config.metricsPort,
    logger,
  });
  lifecycle.own('metrics server', server);
}
