import type { CaptureCounters } from '../kernel/counters.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { EdgeCounters } from '../native/types.ts';
import { AgentMetrics } from '../telemetry/agent-metrics.ts';
import { directCounters } from './direct-traffic.ts';
import type { AgentParts } from './parts.ts';
import { refusedTraffic, untouchedTraffic } from './untouched-flows.ts';

/** What connect() refused by a row, in the form of the tunnel's counters: both count under the row's edge. */
export function refusedAtConnect(refused: CaptureCounters['refused']): EdgeCounters {
  return {
    edges: new Uint32Array(),
    values: new Float64Array(),
    failures: Float64Array.from(
      refused.flatMap(({ edge, reason, count }) => (edge === 0 ? [] : [edge, reason, count])),
    ),
  };
}

function oncePerTurn<T>(read: () => T): () => T {
  let kept: { readonly value: T } | undefined;
  return () => {
    if (kept === undefined) {
      kept = { value: read() };
      queueMicrotask(() => {
        kept = undefined;
      });
    }
    return kept.value;
  };
}

/** Where each metric of the agent is read from; nothing is counted in JavaScript but what happens here. */
export function agentMetrics(parts: AgentParts): AgentMetrics {
  const {
    native,
    kernel,
    edges,
    flows,
    certificates,
    kernelRows,
    tunnel,
    enrolment,
    meshState,
    olderConnections,
  } = parts;
  // Sources are asked within one turn; each look at the maps copies all of them.
  const counters = oncePerTurn(() => {
    flows.readKernelLive();
    return kernel.capture.readCounters();
  });
  const workloadOf = (podIndex: number) => {
    const uid = enrolment.podAt(podIndex)?.enrolled.uid;
    return uid === undefined ? undefined : tunnel.snapshot.workloads.get(uid);
  };
  return new AgentMetrics({
    edges,
    build: { version: parts.version, openssl: native.opensslVersion, nghttp2: native.nghttp2Version },
    edgeCounters: () => {
      const { refused, untouched } = counters();
      return [tunnel.readCounters(), refusedAtConnect(refused), directCounters(untouched)];
    },
    labelledTraffic: () => {
      const { untouched, refused } = counters();
      return [...untouchedTraffic(untouched, workloadOf), ...refusedTraffic(refused, workloadOf)];
    },
    tunnelTotals: () => tunnel.readTotals(),
    flows: flows.log,
    kernelDecisions: () => counters().reasons,
    kernelFaults: () => counters().faults,
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
      return { outbound: outboundRows, inbound: inboundRows, kernel: kernelRows.size };
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
    dns: () => parts.resolvers.report(),
    stateRejected: () => meshState.status.rejected,
    controlPlane: () => {
      const { controlPlane } = meshState;
      if (controlPlane === undefined) return undefined;
      const { status, counters } = controlPlane;
      const { terminations, messages, messageBytes } = counters;
      const isConnected = status.state === 'streaming';
      return { isConnected, rejected: status.rejected.length, terminations, messages, messageBytes };
    },
  });
}
