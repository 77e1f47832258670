import type { CarriedPod } from '../enrolment/carried-pod.ts';
import type { WaitingPod } from '../enrolment/restoration.ts';
import { virtualInterfaceProblem } from '../enrolment/virtual-interfaces.ts';
import { spiffeText } from '../model/spiffe-id.ts';
import { describeExclusions } from '../model/traffic-exclusions.ts';
import type { AgentStatus, ControlPlaneStatus, PodStatus } from '../runtime/agent-status.ts';
import { annotations } from '../source/translate/label-names.ts';
import type { XdsStatus } from '../xds/client-state.ts';
import type { AgentParts } from './parts.ts';

/** The few things that tell whether an agent does its work. */
export function agentStatus(parts: AgentParts): AgentStatus {
  const { config, readiness, tunnel, enrolment, certificates, meshState } = parts;
  const { workloads, services, policies } = tunnel.snapshot;
  const { connectionsOpen, tunnelsOpen } = tunnel.readTotals();
  const { error, problems } = meshState.status;
  const { controlPlane } = meshState;
  // What a control plane's resources have against them is told with it, one by one.
  const stateError =
    error ?? (controlPlane === undefined && problems.length > 0 ? problems.join('\n') : undefined);
  return {
    node: config.nodeName,
    version: parts.version,
    pid: process.pid,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    ready: readiness.ready,
    pending: readiness.pending,
    pods: [
      ...enrolment.pods().map((pod) => podStatus(pod, podNotes(pod, parts))),
      ...enrolment.waiting().map(waitingStatus(config.trustDomain)),
    ],
    mesh: { workloads: workloads.size, services: services.size, policies: policies.size },
    ...(stateError === undefined ? {} : { stateError }),
    ...(controlPlane === undefined ? {} : { controlPlane: controlPlaneStatus(controlPlane.status) }),
    connectionsOpen,
    tunnelsOpen,
    certificates: certificates.counts(),
    sameNodePath: parts.sameNode.path,
  };
}

function controlPlaneStatus(status: XdsStatus): ControlPlaneStatus {
  const { address, state, connectedAt, lastResponseAt, error, rejected, held, behind, names } = status;
  const time = (unixMs: number) => new Date(unixMs).toISOString();
  return {
    address,
    state,
    ...(connectedAt === undefined ? {} : { connectedAt: time(connectedAt) }),
    ...(lastResponseAt === undefined ? {} : { heardAt: time(lastResponseAt) }),
    ...(error === undefined ? {} : { error }),
    ...(held === 0 ? {} : { held }),
    ...(names === undefined ? {} : { names }),
    ...(behind && { behind: { since: time(behind.since), acceptedAt: time(behind.acceptedAt) } }),
    rejected: rejected.map(({ name, reason, refuses }) => {
      return { name, reason, ...(refuses !== undefined && { refuses }) };
    }),
  };
}

function podStatus(pod: CarriedPod, notes: readonly string[]): PodStatus {
  const { stored, state, identity, addresses, certificateProblem } = pod;
  return {
    name: `${stored.namespace}/${stored.name}`,
    state: state === 'carried' ? 'enrolled' : state,
    identity,
    addresses,
    ...(certificateProblem === undefined
      ? {}
      : { error: `no certificate, so its connections are refused: ${certificateProblem}` }),
    ...(notes.length === 0 ? {} : { notes }),
  };
}

function podNotes(
  { podIndex, enrolled, bypassesInbound, virtualInterfaces, exclusions }: CarriedPod,
  { resolvers, turbo, outboundPolicies }: AgentParts,
): string[] {
  const refusedBy = outboundPolicies.refusedBy(enrolled);
  const namesProblem = resolvers.problemOf(podIndex);
  const turboProblem = turbo.problemOf(podIndex);
  const bypass = `connections in clear reach it past every policy (annotation ${annotations.bypassInboundCapture})`;
  return [
    ...(bypassesInbound ? [bypass] : []),
    ...describeExclusions(exclusions).map((each) => `${each} (annotations traffic.sidecar.istio.io/...)`),
    ...(refusedBy === undefined
      ? []
      : [`its connections out of the mesh are refused: ${refusedBy} says REGISTRY_ONLY`]),
    ...virtualInterfaces.flatMap((each) => virtualInterfaceProblem(each) ?? []),
    ...(namesProblem === undefined ? [] : [`its resolv.conf is not read, ${namesProblem}`]),
    ...(turboProblem === undefined ? [] : [`it takes no part in turbo: ${turboProblem}`]),
  ];
}

function waitingStatus(trustDomain: string): (pod: WaitingPod) => PodStatus {
  return ({ stored: { namespace, name, serviceAccount, addresses }, error }) => ({
    name: `${namespace}/${name}`,
    state: 'pending',
    identity: spiffeText(trustDomain, namespace, serviceAccount),
    addresses,
    error: `its connections are refused until it can be carried again: ${error.message}`,
  });
}
