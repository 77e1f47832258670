import type { AgentStatus } from '../runtime/agent-status.ts';
import type { AgentParts } from './parts.ts';

/** The few things that tell whether an agent does its work. */
export function agentStatus(parts: AgentParts): AgentStatus {
  const { config, readiness, tunnel, enrolment, certificates, meshState } = parts;
  const { workloads, services, policies } = tunnel.snapshot;
  const { connectionsOpen, tunnelsOpen } = tunnel.readTotals();
  const { error, problems } = meshState.status;
  const stateError = error ?? (problems.length > 0 ? problems.join('\n') : undefined);
  return {
    node: config.nodeName,
    version: parts.version,
    pid: process.pid,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    ready: readiness.ready,
    pending: readiness.pending,
    pods: enrolment.pods().map(({ stored, state, identity, addresses, hasCertificate }) => ({
      name: `${stored.namespace}/${stored.name}`,
      state: state === 'carried' ? 'enrolled' : state,
      identity,
      addresses,
      ...(hasCertificate ? {} : { error: 'its certificate has not arrived' }),
    })),
    mesh: { workloads: workloads.size, services: services.size, policies: policies.size },
    ...(stateError === undefined ? {} : { stateError }),
    connectionsOpen,
    tunnelsOpen,
    certificates: certificates.counts(),
  };
}
