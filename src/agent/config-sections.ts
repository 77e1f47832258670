import { reasonDetails } from '../model/reasons.gen.ts';
import type { TunnelTotals } from '../native/types.ts';
import { ConfigDump } from '../runtime/config-dump.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import type { AgentParts } from './parts.ts';
import { dumpWorkloadState, type PodOnNode } from './workload-state.ts';

/** What `/config_dump` shows of a running agent. */
export function configDump(parts: AgentParts): ConfigDump {
  const { native, kernel, certificates, kernelRows, tunnel, enrolment, meshState } = parts;
  return new ConfigDump()
    .section('workloads', () => dumpWorkloads(tunnel.snapshot))
    .section('services', () => dumpServices(tunnel.snapshot))
    .section('policies', () => dumpPolicies(tunnel.snapshot))
    .section('certificates', () => certificates.status())
    .section('workloadState', () => workloadState(parts))
    .section('tunnels', () => tunnel.describeTunnels())
    .section('enrolment', () => ({ ...enrolment.counts(), pods: enrolment.list() }))
    .section('decisions', () => ({
      ...tunnel.decisionCounts(),
      kernelRefusals: kernelRows.count('refuse'),
      kernelDirect: kernelRows.count('direct'),
      sameNodePath: tunnel.local.path,
      totals: dumpTotals(tunnel.readTotals()),
    }))
    .section('capture', () => dumpCapture(parts))
    .section('meshState', () => ({ ...meshState.status, controlPlane: meshState.controlPlane?.status }))
    .section('config', () => dumpConfig(parts))
    .section('version', () => ({
      version: parts.version,
      node: process.versions.node,
      openssl: native.opensslVersion,
      nghttp2: native.nghttp2Version,
      libbpf: native.libbpfVersion,
      tlsFrom: native.symbolOrigin('SSL_do_handshake'),
      http2From: native.symbolOrigin('nghttp2_session_mem_recv'),
    }))
    .section('kubelet', () => kernel.kubelet?.state ?? 'unknown');
}

async function workloadState({ enrolment, flows, config }: AgentParts): Promise<Record<string, unknown>> {
  const { connections } = await flows.log.connections({ states: ['live'] });
  const pods: PodOnNode[] = [
    ...enrolment.pods().map(({ stored, state }) => ({
      stored,
      state: state === 'carried' ? ('Up' as const) : ('Draining' as const),
    })),
    ...enrolment.waiting().map(({ stored }) => ({ stored, state: 'Pending' as const })),
  ];
  return dumpWorkloadState(pods, connections, config.trustDomain);
}

function dumpTotals({ earlyEnds, ...totals }: TunnelTotals): unknown {
  const byReason: Record<string, number> = {};
  for (let at = 0; at + 1 < earlyEnds.length; at += 2) {
    const reason = earlyEnds[at] ?? 0;
    byReason[reasonDetails.get(reason)?.metric ?? `reason_${reason}`] = earlyEnds[at + 1] ?? 0;
  }
  return { ...totals, earlyEnds: byReason };
}

function dumpCapture({ kernel }: AgentParts): unknown {
  const { capture, cgroupPath } = kernel;
  const { reasons, faults } = capture.readCounters();
  return {
    pins: capture.pinDirectory,
    cgroup: cgroupPath,
    adopted: capture.adopted,
    destroysBy: capture.sockets.destroysBy,
    pods: capture
      .pinnedPods()
      .map(({ podIndex, netnsCookie }) => ({ podIndex, netnsCookie: String(netnsCookie) })),
    ranges: capture.maps.ranges.entries().map(([key, { kind }]) => ({ ...key, kind })),
    reasons: Object.fromEntries(reasons),
    faults,
  };
}

function dumpConfig({ config, sources }: AgentParts): unknown {
  return Object.fromEntries(
    (Object.keys(sources) as (keyof typeof sources)[]).map((name) => {
      const value: unknown = config[name];
      return [name, { value: Array.isArray(value) ? value.map(textOf) : value, source: sources[name] }];
    }),
  );
}

function textOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'text' in value ? value.text : value;
}
