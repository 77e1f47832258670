/**
 * `hadal control-plane`: starts the parts in order and ends them in reverse. What operators write becomes the mesh that agents
 * are told, and the certificates of the pods that are in it.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlPlaneConfiguration } from '../config/control-plane-config.ts';
import type { ControlPlaneConfig } from '../config/control-plane-options.ts';
import { addCertificateService } from '../identity/certificate-service.ts';
import type { Cidr } from '../model/cidr.ts';
import { explainInMesh } from '../routing/explain-in-mesh.ts';
import { startAdminServer } from '../runtime/admin-server.ts';
import { startMetricsServer } from '../runtime/metrics-server.ts';
import { startReadinessServer } from '../runtime/readiness-server.ts';
import { runRole } from '../runtime/run-role.ts';
import { ApiClient } from '../source/api-server/api-client.ts';
import { loadApiConfig } from '../source/api-server/api-config.ts';
import { createApiServerSource } from '../source/api-server/api-server-source.ts';
import { LastGoodConfigMap } from '../source/api-server/last-good-config-map.ts';
import { DirectorySource } from '../source/directory/directory-source.ts';
import { LastGoodFile } from '../source/directory/last-good-file.ts';
import { type PodCaptureSettings, podCaptureSettings } from '../source/translate/capture-settings.ts';
import type { MeshNames } from '../source/translate/context.ts';
import { defaultEnrolmentRules } from '../source/translate/enrolment.ts';
import { translateMeshSettings } from '../source/translate/mesh-settings.ts';
import { ResourceStore } from '../xds/resource-store.ts';
import { DiscoveryServer } from '../xds/server.ts';
import { startAgentPort } from './agent-port.ts';
import { MeshPublisher } from './mesh-publisher.ts';
import { MeshTranslation } from './mesh-translation.ts';
import { openPlaneAuthority } from './plane-authority.ts';
import type { MeshParts, PlaneParts, PlaneScope } from './plane-parts.ts';
import { planeDump, planeMetrics, planeStatus } from './plane-reports.ts';
import { prepareStatusWriting } from './plane-status-writing.ts';
import { meshTranslators } from './translators.ts';

/** Runs a control plane until SIGTERM or SIGINT. Resolves with the exit status: 0 unless the start or the end failed. */
export function runControlPlane(configuration: ControlPlaneConfiguration): Promise<number> {
  return runRole({
    name: 'control-plane',
    title: 'the control plane',
    configuration,
    start: startControlPlane,
    failure: 'ERR_CONTROL_PLANE_START',
  });
}

async function startControlPlane(scope: PlaneScope, quit: () => void): Promise<void> {
  const { config, logs, lifecycle, readiness } = scope;
  const started = performance.now();
  const done = {
    mesh: readiness.task('objects of the source'),
    port: readiness.task('port for agents'),
  };
  for (const directory of [config.dataDirectory, config.runtimeDirectory])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  const logger = logs.scope('readiness');
  lifecycle.own(
    'readiness server',
    await startReadinessServer({ readiness, port: config.readinessPort, logger }),
  );
  const mesh = startMesh(scope);
  const authority = await openPlaneAuthority(scope, mesh);
  const { authenticate } = authority;
  const discovery = new DiscoveryServer({
    store: mesh.store,
    authenticate,
    logger: logs.scope('discovery'),
    refresh: () => mesh.publisher.tellSeen(),
    limits: { streams: config.maxConnections, streamAgeMs: config.maxStreamAge },
  });
  const writing = prepareStatusWriting({ ...scope, ...mesh });
  const parts: PlaneParts = { ...scope, ...mesh, ...authority, discovery, writing };
  await startServers(parts, quit);
  await mesh.source.start(
    (change) => {
      const seenOtherwise = mesh.publisher.onChange(change);
      writing?.onChange(seenOtherwise);
    },
    (ids) => writing?.onVerdict(ids),
  );
  // Agents that come now must not take half a mesh for the whole.
  await mesh.publisher.flush();
  writing?.start();
  done.mesh();
  await startPort(parts);
  done.port();
  const startMs = Math.round(performance.now() - started);
  logs
    .scope('control-plane')
    .info({ objects: mesh.translation.objects.size, startMs }, 'the control plane is ready');
}

function startMesh(scope: PlaneScope): MeshParts {
  const { config, logs, lifecycle } = scope;
  const translation = new MeshTranslation(meshNames(config), meshTranslators, (view) =>
    translateMeshSettings(view, meshOptions(config)),
  );
  const store = new ResourceStore();
  const publisher = new MeshPublisher({
    translation,
    followers: [(change, _snapshot, seen) => void store.apply(change, seen)],
    seen: () => source.status.generation,
    onSeen: (seen) => store.advance(seen),
    logger: logs.scope('mesh'),
    quietMs: config.quietTime,
    longestMs: config.longestWait,
  });
  lifecycle.own('mesh publisher', publisher);
  const { source, api, lastGood } = openSource(scope);
  if (api !== undefined) lifecycle.own('connections to the Kubernetes API', api);
  lifecycle.own('source', source);
  return { source, api, lastGood, translation, publisher, store };
}

async function startPort(parts: PlaneParts): Promise<void> {
  const { config, lifecycle, logs, issuer, serverCertificate, discovery, gate } = parts;
  const port = await startAgentPort({
    listen: config.listen.text,
    certificate: serverCertificate,
    gate,
    services: [
      (server) => server.addService(DiscoveryServer.definition, discovery.handlers),
      (server) => addCertificateService(server, issuer),
    ],
  });
  lifecycle.own('port for agents', port);
  // Its streams never end by themselves.
  lifecycle.own('discovery', discovery);
  logs
    .scope('control-plane')
    .info({ listen: config.listen.text, names: config.serverNames }, 'agents are served');
}

function openSource({ config, logs }: PlaneScope): Pick<MeshParts, 'source' | 'api' | 'lastGood'> {
  const logger = logs.scope('source');
  if (config.source === 'directory') {
    const lastGood = new LastGoodFile({ path: join(config.dataDirectory, 'last-good.json'), logger });
    const source = new DirectorySource({ directory: config.directory, logger, lastGood });
    return { source, api: undefined, lastGood: undefined };
  }
  const api = new ApiClient(
    loadApiConfig({ file: config.kubeconfig || undefined, context: config.kubeContext || undefined }),
  );
  const lastGood = new LastGoodConfigMap(api, { namespace: config.leaseNamespace, logger });
  const lineage = `kubernetes:${config.clusterId}`;
  return { source: createApiServerSource(api, { logger, lineage, lastGood }), api, lastGood };
}

function meshOptions(config: ControlPlaneConfig) {
  const { podRanges, serviceRanges, outboundTrafficPolicy, sameNode } = config;
  const texts = (ranges: readonly Cidr[]) => ranges.map(({ text }) => text);
  return {
    podRanges: texts(podRanges),
    serviceRanges: texts(serviceRanges),
    outboundTrafficPolicy,
    sameNode: sameNode === 'auto' ? undefined : sameNode,
  };
}

function meshNames(config: ControlPlaneConfig): MeshNames {
  const { clusterId, trustDomain, network, clusterDomain, rootNamespace } = config;
  const { excludedNamespaces, revision, enrolmentSelectors: selectors } = config;
  const rules = { ...defaultEnrolmentRules, rootNamespace, excludedNamespaces, revision };
  return Object.freeze({
    clusterId,
    trustDomain,
    network,
    clusterDomain,
    rootNamespace,
    enrolment: Object.freeze(selectors === undefined ? rules : { ...rules, selectors }),
  });
}

/** The control plane tells no agent of it; whoever asks is told. */
function captureOf({ translation, publisher }: PlaneParts, uid: string): PodCaptureSettings | undefined {
  const { namespace = '', name = '' } = publisher.snapshot.workloads.get(uid) ?? {};
  const object = translation.objects.find('Pod', namespace, name)?.object;
  return object?.kind === 'Pod' ? podCaptureSettings(object) : undefined;
}

async function startServers(parts: PlaneParts, quit: () => void): Promise<void> {
  const { config, lifecycle, logs, publisher } = parts;
  const logger = logs.scope('admin');
  const admin = await startAdminServer({
    node: '',
    port: config.adminPort,
    socketPath: join(config.runtimeDirectory, 'admin.sock'),
    configDump: planeDump(parts),
    logs,
    explain: (source, destination) =>
      explainInMesh(publisher.snapshot, config, source, destination, {
        bypassesInbound: (uid) => captureOf(parts, uid)?.bypassInbound ?? false,
        exclusions: (uid) => captureOf(parts, uid)?.exclusions,
      }),
    status: () => planeStatus(parts),
    initialLevels: config.logLevel,
    quit,
    logger,
  });
  lifecycle.own('admin server', admin);
  const metrics = planeMetrics(parts);
  const server = await startMetricsServer({
    render: () => metrics.render(),
    port: config.metricsPort,
    logger,
  });
  lifecycle.own('metrics server', server);
}
