import { reasons } from '../model/reasons.gen.ts';
import { AgentMetrics } from '../telemetry/agent-metrics.ts';
import type { AgentParts } from './parts.ts';
import { untouchedTraffic } from './untouched-flows.ts';

/** Where each metric of the agent is read from; nothing is counted in JavaScript but what happens here. */
export function agentMetrics(parts: AgentParts): AgentMetrics {
  const {
    native,
    kernel,
    edges,
    flows,
    certificates,
    refusals,
    tunnel,
    enrolment,
    meshState,
    olderConnections,
  } = parts;
  const { capture } = kernel;
  return new AgentMetrics({
    edges,
    build: { version: parts.version, openssl: native.opensslVersion, nghttp2: native.nghttp2Version },
    edgeCounters: () => [tunnel.readCounters()],
    labelledTraffic: () => {
      flows.readKernelLive();
      const { untouched } = capture.readCounters();
      return untouchedTraffic(untouched, (podIndex) => {
        const uid = enrolment.podAt(podIndex)?.enrolled.uid;
        return uid === undefined ? undefined : tunnel.snapshot.workloads.get(uid);
      });
    },
    tunnelTotals: () => tunnel.readTotals(),
    flows: flows.log,
    kernelDecisions: () => capture.readCounters().reasons,
    kernelFaults: () => capture.readCounters().faults,
    captureRestored: () => enrolment.restored(),
    connectionsDestroyed: () => {
      const older = olderConnections?.destroyed ?? 0;
      return new Map([
        ...flows.destroyed,
        ...(older > 0 ? [[reasons.OLDER_THAN_ENROLMENT, older] as const] : []),
      ]);
    },
    rows: () => {
      const { outboundRows, inboundRows } = tunnel.decisionCounts();
      return { outbound: outboundRows, inbound: inboundRows, kernel: refusals.size };
    },
    pods: () => {
      const { carried, leaving, pending } = enrolment.counts();
      return { enrolled: carried, leaving, pending };
    },
    certificates: () => certificates.counts(),
    firstExpiry: () => {
      const ends = certificates
        .status()
        .flatMap(({ certChain }) =>
          certChain.slice(0, 1).map(({ expirationTime }) => Date.parse(expirationTime)),
        );
      return ends.length === 0 ? undefined : Math.min(...ends);
    },
    meshResources: () => {
      const { workloads, services, policies } = tunnel.snapshot;
      return { workloads: workloads.size, services: services.size, policies: policies.size };
    },
    stateRejected: () => meshState.status.rejected,
  });
}
