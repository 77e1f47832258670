import { join } from 'node:path';
import { Resolvers } from '../dns/resolvers.ts';
import type { CarriedPod } from '../enrolment/carried-pod.ts';
import { Enrolment } from '../enrolment/enrolment.ts';
import { OlderConnections } from '../enrolment/older-connections.ts';
import { PodStore } from '../enrolment/pod-store.ts';
import { serveEnrolment } from '../enrolment/server.ts';
import { MARK, MARK_MASK, ROUTE_TABLE, RULE_PRIORITY } from '../kernel/constants.gen.ts';
import { dependency } from '../model/diff.ts';
import { OutboundPolicies } from './outbound-policies.ts';
import type { AgentScope, DataPath, PodParts } from './parts.ts';
import { startPodAnnotations } from './pod-annotations.ts';
import { type TurboPod, TurboPods } from './turbo-pods.ts';

const routing = { mark: MARK, mask: MARK_MASK, table: ROUTE_TABLE, priority: RULE_PRIORITY };

/** Knows the pods on disk; carries none yet. */
export async function startEnrolment(scope: AgentScope, path: DataPath): Promise<PodParts> {
  const { config, logs, lifecycle } = scope;
  const { native, kernel, tunnel, certificates, flows, pods, judge, sameNode, direct } = path;
  const logger = logs.scope('enrolment');
  const { store, problem } = PodStore.open(join(config.dataDirectory, 'pods.json'));
  if (problem !== undefined)
    logger.error(
      { err: problem },
      'pods that were enrolled before are not known any more; those that the kernel captures stay captured',
    );
  const { capture } = kernel;
  const olderConnections =
    config.olderConnections === 'keep'
      ? undefined
      : new OlderConnections({
          native,
          sockets: capture.sockets,
          judge,
          snapshot: () => tunnel.snapshot,
          network: config.network,
          logger,
        });
  const resolvers = new Resolvers({
    native,
    capture: capture.dns,
    snapshot: () => tunnel.snapshot,
    settings: { clusterDomain: config.clusterDomain, preferredNamespace: config.dnsPreferredNamespace },
    captureByDefault: config.dnsCapture,
    clusterDnsService: config.clusterDnsService,
    upstreamTimeoutMs: config.dnsUpstreamTimeoutMs,
    logger: logs.scope('dns'),
  });
  lifecycle.own('resolvers of names', resolvers);
  const turbo = new TurboPods({ turbo: capture.turbo, allowed: config.turbo, logger: logs.scope('turbo') });
  lifecycle.own('pods of turbo', turbo);
  const annotations = await startPodAnnotations(scope, store.pods());
  const outboundPolicies = new OutboundPolicies({
    snapshot: () => tunnel.snapshot,
    pods: () => pods.all(),
    own: config.outboundTrafficPolicy,
    onDemand: config.xdsOnDemand,
    logger: logs.scope('capture'),
  });
  const enrolment = new Enrolment({
    native,
    capture,
    tunnel,
    certificates,
    store,
    olderConnections,
    routing,
    clusterId: config.clusterId,
    trustDomain: config.trustDomain,
    certificateWaitMs: config.enrolTimeoutMs,
    onRestored: () => flows.flush(),
    unknownDestinations: (pod, captured) => outboundPolicies.of(pod, captured),
    onCarried: (pod) => {
      // The mesh may have changed while it was enrolled.
      pod.followOutboundPolicy();
      flows.onCarried(pod);
      // Open ones of an earlier agent's time: the changes of its absence were told before this pod was known.
      direct.review([dependency.localPod(pod.enrolled.uid)]);
      resolvers.add(pod);
      turbo.set(turboPod(pod));
      annotations?.carried(pod.stored);
      sameNode.probeSoon();
    },
    onChanged: (pod) => {
      resolvers.add(pod);
      turbo.set(turboPod(pod));
    },
    onGone: (pod, reason) => {
      resolvers.remove(pod.podIndex);
      turbo.remove(pod.podIndex);
      annotations?.gone(pod.stored, reason);
      sameNode.probeSoon();
    },
    onPending: (stored) => annotations?.pending(stored),
    onLetGo: (stored, reason) => annotations?.gone(stored, reason),
    logger,
  });
  pods.enrolment = enrolment;
  return { enrolment, olderConnections, resolvers, annotations, turbo, outboundPolicies };
}

function turboPod({ podIndex, wantsTurbo, enrolled, stored: { cgroup } }: CarriedPod): TurboPod {
  return { podIndex, name: enrolled.uid, wantsTurbo, cgroup };
}

export async function serveEnrolmentSocket(
  { config, logs, lifecycle }: AgentScope,
  service: Enrolment,
): Promise<void> {
  const logger = logs.scope('enrolment');
  lifecycle.own('enrolment socket', await serveEnrolment({ socketPath: config.cniSocket, service, logger }));
}
