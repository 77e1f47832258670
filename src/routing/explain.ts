/**
 * Who may connect to whom, and why: the judgements that are enforced, asked for a connection that somebody only thinks of.
 * Both sides are judged, the source's way out and each endpoint's way in.
 */
import { formatAuthority } from '../model/authority.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { excludesInbound, excludesOutbound, type TrafficExclusions } from '../model/traffic-exclusions.ts';
import { type Workload, workloadIdentity } from '../model/workload.ts';
import {
  type ExplainDestination,
  type ExplainSource,
  findDestination,
  findSource,
} from './explain-parties.ts';
import { serviceAt, targetPortOf } from './find-service.ts';
import type {
  EnrolledPod,
  InboundJudgement,
  InboundQuestion,
  JudgedEndpoint,
  JudgedPolicy,
  OutboundJudgement,
  OutboundQuestion,
} from './judgement.ts';
import { Trace } from './trace.ts';

/** What pods' annotations say of their capture, where that is known. */
export interface PodCaptureWords {
  /** Whether connections in clear reach the workload past every policy. */
  readonly bypassesInbound?: (uid: string) => boolean;
  /** What it takes out of the capture. */
  readonly exclusions?: (uid: string) => TrafficExclusions | undefined;
}

/** Whose judgements these are: with the settings of an agent, or the usual ones. */
export interface ExplainContext extends PodCaptureWords {
  readonly snapshot: MeshSnapshot;
  readonly network: string;
  outbound(snapshot: MeshSnapshot, question: OutboundQuestion): OutboundJudgement;
  inbound(snapshot: MeshSnapshot, question: InboundQuestion): InboundJudgement;
}

/** `rule` counts from 0. */
export interface ExplainedPolicy {
  readonly name: string;
  readonly rule?: number;
}

export interface ExplainedEndpoint {
  /** uid; '' when nobody in the mesh is there. */
  readonly workload: string;
  /** `node_local`: the kernel connects it, without a tunnel, since both are on one node. */
  readonly path: 'tunnel' | 'plaintext' | 'node_local';
  /** Where the TCP connection goes. */
  readonly address: string;
  /** Whose word counts there. */
  readonly decidedBy: 'agent' | 'waypoint' | 'nobody';
  readonly allowed: boolean;
  /** As in metrics: `none`, `policy_denied`. */
  readonly reason: string;
  readonly policy?: ExplainedPolicy;
  /** Dry runs and audits that apply; without `rule` they do not match. Absent where there are none. */
  readonly told?: readonly (ExplainedPolicy & { readonly action: string })[];
  /** What it would be if dry runs were enforced; absent where none applies. */
  readonly withDryRuns?: {
    readonly allowed: boolean;
    readonly reason: string;
    readonly policy?: ExplainedPolicy;
  };
  readonly explanation: readonly string[];
}

/** What `hadal explain -o json` prints. Part of the interface: add, never rename. */
export interface Explanation {
  /** uid, or the address of somebody that the mesh does not know. */
  readonly source: string;
  /** '' for whoever is not in the mesh. */
  readonly identity: string;
  /** `address:port`. */
  readonly destination: string;
  /** `namespace/hostname`; '' when the address is none of a service. */
  readonly service: string;
  /** `depends`: on which endpoint is taken, or on what a waypoint says. */
  readonly verdict: 'allowed' | 'refused' | 'depends';
  readonly reason: string;
  /** The way out, as the source's agent judges it. */
  readonly outbound: readonly string[];
  readonly endpoints: readonly ExplainedEndpoint[];
}

export function explainConnection(context: ExplainContext, from: string, to: string): Explanation {
  const { snapshot, network } = context;
  const source = findSource(snapshot, network, from);
  const destination = findDestination(snapshot, source, to);
  const isCaptured = source.kind === 'workload' && isInMesh(source.workload);
  const exclusions = source.kind === 'workload' ? context.exclusions?.(source.workload.uid) : undefined;
  const isExcluded =
    exclusions !== undefined && excludesOutbound(exclusions, destination.address, destination.port);
  const way =
    isCaptured && !isExcluded
      ? capturedWay(context, source.workload, destination)
      : plainWay(context, source, destination, isCaptured);
  const { service, outbound, endpoints } = way;
  return Object.freeze({
    source: source.kind === 'workload' ? source.workload.uid : source.address.text,
    identity: isCaptured && !isExcluded ? workloadIdentity(source.workload) : '',
    destination: formatAuthority(destination.address.text, destination.port),
    service,
    ...verdictOf(way),
    outbound,
    endpoints,
  });
}

interface Way {
  readonly service: string;
  readonly refusal: number;
  readonly outbound: readonly string[];
  readonly endpoints: readonly ExplainedEndpoint[];
}

/** From a pod whose agent decides where its connections go. */
function capturedWay(context: ExplainContext, source: Workload, to: ExplainDestination): Way {
  const judgement = context.outbound(context.snapshot, {
    source: enrolledAs(source),
    address: to.address.text,
    port: to.port,
  });
  return {
    service: judgement.service,
    refusal: judgement.reason,
    outbound: judgement.explanation,
    endpoints: [...judgement.endpoints, ...judgement.refusing.map(({ endpoint }) => endpoint)].map(
      (endpoint) => explainEndpoint(context, source, endpoint),
    ),
  };
}

function explainEndpoint(
  context: ExplainContext,
  source: Workload,
  endpoint: JudgedEndpoint,
): ExplainedEndpoint {
  const { path, address, port, workloadUid, via, sameNode } = endpoint;
  if (sameNode !== undefined) {
    const direct = formatAuthority(sameNode.address, sameNode.port);
    return decided({ workload: workloadUid, path: 'node_local', address: direct }, sameNode.inbound);
  }
  const facts = { workload: workloadUid, path, address: formatAuthority(address, port) };
  if (via === 'waypoint') return undecided(facts, 'waypoint', 'from here on the waypoint decides');
  const workload = context.snapshot.workloads.get(workloadUid);
  if (path === 'plaintext' || workload === undefined) {
    const isSelf = workload?.uid === source.uid;
    const why = isSelf ? 'the pod talks to itself' : 'nobody of the mesh stands before this destination';
    return undecided(facts, 'nobody', why);
  }
  const judgement = context.inbound(context.snapshot, {
    destination: enrolledAs(workload),
    channel: 'hbone',
    peerIdentity: workloadIdentity(source),
    peerAddress: source.addresses[0] ?? '',
    authority: endpoint.authority,
    forwardedHost: endpoint.forwardedHost,
    baggage: endpoint.baggage,
    forwardedNetwork: '',
  });
  return decided(facts, judgement);
}

/** From somebody without an agent: the cluster's own network brings the connection to an endpoint, in the clear. */
function plainWay(
  context: ExplainContext,
  source: ExplainSource,
  to: ExplainDestination,
  isExcluded: boolean,
): Way {
  const { snapshot, network } = context;
  const trace = new Trace();
  const namespace = source.kind === 'workload' ? source.workload.namespace : '';
  const who = source.kind === 'workload' ? source.workload.uid : source.address.text;
  trace.step(
    isExcluded
      ? `annotations traffic.sidecar.istio.io/... of ${who} leave this destination alone: it connects in the clear, without identity`
      : `${who} is not in the mesh: it connects in the clear, without identity`,
  );
  const service = serviceAt(snapshot, trace, { network, address: to.address.text, namespace });
  const targets =
    service === undefined
      ? snapshot
          .workloadsAt(network, to.address.text)
          .map((workload) => ({ workload, address: to.address.text, port: to.port }))
      : snapshot.endpointsOf(serviceKey(service)).flatMap(({ workload, ports }) => {
          const port = targetPortOf(service, ports, to.port);
          const address = workload.addresses[0];
          return port === undefined || address === undefined ? [] : [{ workload, address, port }];
        });
  if (service !== undefined) trace.step(`${to.address.text} is an address of service ${serviceKey(service)}`);
  if (targets.length === 0) trace.step('nobody in the mesh is there');
  return {
    service: service === undefined ? '' : serviceKey(service),
    refusal: service !== undefined && targets.length === 0 ? reasons.NO_HEALTHY_ENDPOINT : reasons.NONE,
    outbound: trace.explanation,
    endpoints: targets.map(({ workload, address, port }) => {
      const facts = {
        workload: workload.uid,
        path: 'plaintext' as const,
        address: formatAuthority(address, port),
      };
      if (!isInMesh(workload)) return undecided(facts, 'nobody', `${workload.uid} is not in the mesh either`);
      if (context.bypassesInbound?.(workload.uid) === true) return undecided(facts, 'nobody', bypassed);
      const exclusions = context.exclusions?.(workload.uid);
      if (exclusions !== undefined && excludesInbound(exclusions, port))
        return undecided(facts, 'nobody', excluded);
      const judgement = context.inbound(snapshot, {
        destination: enrolledAs(workload),
        channel: 'plaintext',
        peerIdentity: '',
        peerAddress: source.address.text,
        authority: facts.address,
        forwardedHost: '',
        baggage: '',
        forwardedNetwork: '',
      });
      return decided(facts, judgement);
    }),
  };
}

const bypassed =
  'its annotation ambient.istio.io/bypass-inbound-capture lets connections in clear in, past every policy';

const excluded =
  'its annotations traffic.sidecar.istio.io/... let connections in clear in at this port, past every policy';

type EndpointFacts = Pick<ExplainedEndpoint, 'workload' | 'path' | 'address'>;

function undecided(facts: EndpointFacts, decidedBy: 'waypoint' | 'nobody', why: string): ExplainedEndpoint {
  return { ...facts, decidedBy, allowed: true, reason: nameOf(reasons.NONE), explanation: [why] };
}

function decided(facts: EndpointFacts, judgement: InboundJudgement): ExplainedEndpoint {
  const { told, withDryRuns, explanation } = judgement;
  return {
    ...facts,
    decidedBy: 'agent',
    ...outcomeOf(judgement),
    ...(told.length > 0 && { told: told.map((each) => ({ ...explainedPolicy(each), action: each.action })) }),
    ...(withDryRuns !== undefined && { withDryRuns: outcomeOf(withDryRuns) }),
    explanation,
  };
}

function outcomeOf({ reason, policy }: Pick<InboundJudgement, 'reason' | 'policy'>) {
  return {
    allowed: reason === reasons.NONE,
    reason: nameOf(reason),
    ...(policy !== undefined && { policy: explainedPolicy(policy) }),
  };
}

function explainedPolicy({ name, rule }: JudgedPolicy): ExplainedPolicy {
  return { name, ...(rule !== undefined && { rule }) };
}

function verdictOf({ refusal, endpoints }: Way): Pick<Explanation, 'verdict' | 'reason'> {
  if (refusal !== reasons.NONE) return { verdict: 'refused', reason: nameOf(refusal) };
  const refused = endpoints.filter(({ allowed }) => !allowed);
  const reason = refused[0]?.reason ?? nameOf(reasons.NONE);
  const isOpen = endpoints.some(({ decidedBy }) => decidedBy === 'waypoint');
  if (refused.length === 0) return { verdict: isOpen ? 'depends' : 'allowed', reason };
  return { verdict: refused.length === endpoints.length ? 'refused' : 'depends', reason };
}

function isInMesh(workload: Workload): boolean {
  return workload.tunnelProtocol === 'HBONE' && workload.networkMode !== 'HOST_NETWORK';
}

/** As its agent would have it; what the pod's own namespace says of addresses is only known there. */
function enrolledAs({ uid, namespace, serviceAccount }: Workload): EnrolledPod {
  return { uid, namespace, serviceAccount, addresses: [] };
}

function nameOf(reason: number): string {
  return reasonDetails.get(reason)?.metric ?? String(reason);
}
