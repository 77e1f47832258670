import type { AgentConfig } from '../config/agent-options.ts';
import { HBONE_PORT, MARK } from '../kernel/constants.gen.ts';
import { endingObstacle } from '../kernel/probe-sock-destroy.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { NativeAddon } from '../native/types.ts';
import { judgeInbound } from '../routing/inbound.ts';
import type { JudgementSettings, LocalNode } from '../routing/judgement.ts';
import { judgeOpenDirect, type OpenDirectQuestion } from '../routing/open-direct.ts';
import { judgeOutbound } from '../routing/outbound.ts';
import { EdgeRegistry } from '../telemetry/edge-registry.ts';
import type { Judge } from '../tunnel/decision-options.ts';
import { type DrainOutcome, Tunnel } from '../tunnel/tunnel.ts';
import { tunnelSettings } from '../tunnel/tunnel-settings.ts';
import { AgentFlows } from './agent-flows.ts';
import { startCertificates, startRevocations, trustDomains } from './agent-identity.ts';
import { DirectConnections } from './direct-connections.ts';
import { directCounters } from './direct-traffic.ts';
import { highestEdge } from './earlier-rows.ts';
import { startCapture } from './kernel-capture.ts';
import { CaptureRows } from './kernel-rows.ts';
import type { AgentScope, DataPath } from './parts.ts';
import { PodHolder } from './pod-holder.ts';
import { SameNodePathWatch } from './same-node-path-watch.ts';

const edgeSweepMs = 60_000;

/** A demo shows with it that its proof would fail: tunnels in the clear. No option, so that nobody takes it for one. */
const plaintextTunnelsVariable = 'HADAL_TEST_PLAINTEXT_TUNNELS';

/** Capture, certificates and the tunnel: all that connections pass through. */
export async function startDataPath(scope: AgentScope, native: NativeAddon): Promise<DataPath> {
  const { config, logs, lifecycle } = scope;
  const kernel = startCapture({ native, config, logger: logs.scope('capture') });
  lifecycle.own('capture', kernel.capture);
  const edges = new EdgeRegistry();
  edges.startAfter(highestEdge(kernel.capture));
  const kernelCounters = () => [directCounters(kernel.capture.readCounters().untouched)];
  const pods = new PodHolder();
  const flows = new AgentFlows({ kernel, edges, pods, network: config.network, logger: logs.scope('flows') });
  lifecycle.own('flows', flows);
  lifecycle.own('enrolled pods', pods);

  const sameNode = await startSameNodePathWatch(scope, native, kernel, pods);

  const certificates = await startCertificates(scope, () => tunnel);

  const judge = createJudge(config);
  const direct = new DirectConnections({
    reader: flows.reader,
    sockets: kernel.capture.sockets,
    pods,
    snapshot: () => tunnel.snapshot,
    judge: (question) => judge.openDirect(tunnel.snapshot, question, tunnel.local),
    onDestroyed: (reason, count) => flows.countDestroyed(reason, count),
    logger: logs.scope('same-node'),
  });
  lifecycle.own('direct connections', direct);
  const kernelRows = new CaptureRows(kernel.capture, logs.scope('capture'));
  const tunnel: Tunnel = new Tunnel({
    native,
    settings: tunnelSettings(config, {
      exemptMapFd: kernel.capture.exemptMapFd,
      mark: MARK,
      hbonePort: HBONE_PORT,
      unsafePlaintextTunnels: process.env[plaintextTunnelsVariable] === '1',
    }),
    judge,
    edges,
    kernelRows,
    kernelCounters,
    rowsPerPod: config.rowsPerPod,
    onDemand: config.xdsOnDemand,
    onFollowed: (changed) => direct.review(changed),
    onFlows: (records, lost) => flows.onTunnelFlows(records, lost),
    onDrained: (podIndex) => pods.enrolment?.onDrained(podIndex),
    logger: logs.scope('tunnel'),
  });
  await startRevocations(scope, { tunnel, certificates });
  flows.connect(tunnel);
  sameNode.onChange(({ state }) => tunnel.setSameNodePath(state));
  lifecycle.onClose('tunnel', async (force) => {
    // For an agent that is ended while it starts; a running one has drained by now.
    await drainConnections(tunnel, config.drainDeadlineMs, force);
    tunnel.close();
  });
  const sweep = setInterval(() => {
    const gone = edges.sweep([tunnel.readCounters(), ...kernelCounters()]);
    if (gone.length === 0) return;
    tunnel.removeEdges(gone);
    kernel.capture.removeEdges(gone);
  }, edgeSweepMs);
  sweep.unref();
  lifecycle.onClose('edge sweep', () => clearInterval(sweep));
  return { native, kernel, edges, flows, pods, sameNode, direct, certificates, kernelRows, tunnel, judge };
}

async function startSameNodePathWatch(
  { config, lifecycle, logs }: AgentScope,
  native: NativeAddon,
  { capture }: DataPath['kernel'],
  pods: PodHolder,
): Promise<SameNodePathWatch> {
  const watch = new SameNodePathWatch({
    native,
    maps: capture.maps,
    exemptMapFd: capture.exemptMapFd,
    pods: () => pods.all().filter(({ state }) => state === 'carried'),
    obstacle: await endingObstacle(native, capture.sockets),
    intervalMs: config.sameNodeProbeIntervalMs,
    logger: logs.scope('same-node'),
  });
  return lifecycle.own('probes between pods of the node', watch);
}

interface AgentJudge extends Judge {
  openDirect(snapshot: MeshSnapshot, question: OpenDirectQuestion, local: LocalNode): number;
}

function createJudge(config: AgentConfig): AgentJudge {
  const settings: JudgementSettings = {
    node: config.nodeName,
    network: config.network,
    clusterId: config.clusterId,
    hbonePort: HBONE_PORT,
    illegalPorts: [HBONE_PORT],
    allowUnknownDestinations: config.allowUnknownDestinations,
    clusterRanges: [...config.podRanges, ...config.serviceRanges],
    trustDomains: trustDomains(config),
    sameNode: config.sameNode === 'auto' ? undefined : config.sameNode,
    outboundTrafficPolicy: config.outboundTrafficPolicy,
  };
  return {
    outbound: (snapshot, question) => judgeOutbound(snapshot, question, settings),
    inbound: (snapshot, question) => judgeInbound(snapshot, question, settings),
    openDirect: (snapshot, question, local) => judgeOpenDirect(snapshot, question, settings, local),
  };
}

/**
 * Connections get until the deadline; what is left then is ended abortively, as `drained`. Undefined when `force` fired first,
 * which it does when the time for all parts together has passed.
 */
export async function drainConnections(
  tunnel: Tunnel,
  deadlineMs: number,
  force: AbortSignal | undefined,
): Promise<DrainOutcome | undefined> {
  const forced = new Promise<undefined>((resolve) => {
    if (force?.aborted === true) resolve(undefined);
    else force?.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  return await Promise.race([tunnel.drain(deadlineMs), forced]);
}
