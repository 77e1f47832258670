/**
 * `hadal agent`: starts the parts of one node's agent in order and ends them in reverse. No part finds another by itself;
 * whoever needs one is given it here.
 */
import { join } from 'node:path';
import type { AgentConfiguration } from '../config/agent-config.ts';
import { KnownRevocations } from '../identity/revocation-lists.ts';
import { nativeAddon } from '../native/addon.ts';
import { explainConnection } from '../routing/explain.ts';
import { startAdminServer } from '../runtime/admin-server.ts';
import { startMetricsServer } from '../runtime/metrics-server.ts';
import { startReadinessServer } from '../runtime/readiness-server.ts';
import { runRole } from '../runtime/run-role.ts';
import { agentMetrics } from './agent-metrics-sources.ts';
import { configDump } from './config-sections.ts';
import { drainConnections, startDataPath } from './data-path.ts';
import { adoptEarlierRows } from './earlier-rows.ts';
import { followMesh } from './follow-mesh.ts';
import { takeInstanceLock } from './instance-lock.ts';
import type { AgentParts, AgentScope } from './parts.ts';
import { serveEnrolmentSocket, startEnrolment } from './pod-enrolment.ts';
import { releaseStartupMemory } from './startup-memory.ts';
import { agentStatus } from './status.ts';

/** Runs an agent until SIGTERM or SIGINT. Resolves with the exit status: 0 unless the start or the end failed. */
export function runAgent(configuration: AgentConfiguration): Promise<number> {
  return runRole({
    name: 'agent',
    title: 'the agent',
    configuration,
    logFields: { node: configuration.values.nodeName },
    start: (scope, quit) => startAgent({ ...scope, revocations: new KnownRevocations() }, quit),
    failure: 'ERR_AGENT_START',
  });
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
  const earlier = path.kernelRows.takeOver();
  done.dataPath();

  const meshState = await followMesh(scope, { ...path, ...podParts }, done.mesh, () =>
    path.certificates.retryNow(),
  );
  await enrolment.restore(config.adoptTimeoutMs);
  adoptEarlierRows(path, earlier);
  podParts.resolvers.vouchForRows();
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
        {
          inbound: judge.inbound,
          outbound: (mesh, { source, ...question }) => {
            const { local } = tunnel;
            return judge.outbound(mesh, { ...question, source: local.pod(source.uid) ?? source, local });
          },
          snapshot: tunnel.snapshot,
          network: config.network,
          bypassesInbound: (uid) =>
            parts.enrolment.pods().some((pod) => pod.enrolled.uid === uid && pod.bypassesInbound),
          exclusions: (uid) => parts.enrolment.pods().find((pod) => pod.enrolled.uid === uid)?.exclusions,
        },
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
