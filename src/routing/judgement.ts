import type { AuthorizationAction } from '../model/authorization.ts';
import type { Cidr } from '../model/cidr.ts';
import type { OutboundTrafficPolicy } from '../model/outbound-policy.ts';
import type { SameNodeMode } from '../model/same-node.ts';
import type { TrafficLabels } from './labels.ts';
import type { PathState } from './same-node-path.ts';

/** What the agent knows of itself; the same for all judgements. */
export interface JudgementSettings {
  readonly node: string;
  readonly network: string;
  readonly clusterId: string;
  /** 15008. */
  readonly hbonePort: number;
  /** Ports of the agent inside a pod, to which nothing may be carried: it would call itself. */
  readonly illegalPorts: readonly number[];
  /** Pass what nobody knows in clear instead of refusing it. */
  readonly allowUnknownDestinations: boolean;
  /** The cluster's pod and service ranges. When any is given, an unknown destination outside all of them passes untouched. */
  readonly clusterRanges: readonly Cidr[];
  /** Trust domains whose peers are accepted; empty: the destination workload's own alone. */
  readonly trustDomains: readonly string[];
  /** Of all pods for which nobody in the mesh says it; undefined: direct, but for workloads that require mutual TLS. */
  readonly sameNode?: SameNodeMode | undefined;
  /** What the agent was told of connections out of the mesh, beside what the mesh says. */
  readonly outboundTrafficPolicy?: OutboundTrafficPolicy | undefined;
}

/** A pod as it was enrolled: never found by address alone. */
export interface EnrolledPod {
  readonly uid: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Addresses seen in the pod's own namespace; where none was, those of the mesh state count. */
  readonly addresses: readonly string[];
  /** What its own label or annotation says, where its agent was told besides the mesh state. */
  readonly sameNode?: SameNodeMode | undefined;
}

/** The node of the source, as far as connections may stay on it. */
export interface LocalNode {
  readonly path: PathState;
  /** By uid; undefined: its agent does not carry it. */
  pod(uid: string): EnrolledPod | undefined;
}

export interface OutboundQuestion {
  readonly source: EnrolledPod;
  /** Destination as the application named it. */
  readonly address: string;
  readonly port: number;
  /** Left out: nothing goes direct. */
  readonly local?: LocalNode;
}

export interface InboundQuestion {
  readonly destination: EnrolledPod;
  /** `direct`: from a pod of the same node, of which the kernel knows whose it is. */
  readonly channel: 'hbone' | 'plaintext' | 'direct';
  /** SPIFFE id of the tunnel's peer, or of the pod that the kernel knows; '' when there is none. */
  readonly peerIdentity: string;
  readonly peerAddress: string;
  /** HBONE: `:authority` as received. Else: `address:port` of the original destination. */
  readonly authority: string;
  /** `host=` of the forwarded header, '' when absent. */
  readonly forwardedHost: string;
  /** Request header, '' when absent. */
  readonly baggage: string;
  /** `x-forwarded-network`, '' when absent. */
  readonly forwardedNetwork: string;
}

/** A place a new connection may go to, with all that a row of the decision table needs. */
export interface JudgedEndpoint {
  /** '' when the destination itself is dialled and no workload is known there. */
  readonly workloadUid: string;
  readonly via: 'endpoint' | 'waypoint' | 'passthrough';
  readonly path: 'tunnel' | 'plaintext';
  /** TCP destination: for a tunnel the peer's address and HBONE port. */
  readonly address: string;
  readonly port: number;
  /** `:authority` of the CONNECT; '' without tunnel. */
  readonly authority: string;
  /** SPIFFE ids, any of which the peer must have; empty without tunnel. */
  readonly peerIdentities: readonly string[];
  /** `host=` of the forwarded header; '' without service. */
  readonly forwardedHost: string;
  readonly baggage: string;
  /** Relative share of new connections, at least 1. */
  readonly weight: number;
  readonly labels: TrafficLabels;
  /** The kernel may carry it instead, by itself and in the clear. */
  readonly sameNode?: JudgedSameNode;
}

/** A connection from pod to pod that needs no tunnel, since both are on this node and the destination lets it in. */
export interface JudgedSameNode {
  /** The destination pod's own. */
  readonly address: string;
  readonly port: number;
  /** Of the source's report; the destination's are those of `inbound`. */
  readonly labels: TrafficLabels;
  /** What the destination says of it. */
  readonly inbound: InboundJudgement;
  readonly peer: JudgedPeer;
}

/** As whom the destination sees the source. */
export interface JudgedPeer {
  readonly peerIdentity: string;
  /** Of those that it may come from, the first. */
  readonly peerAddress: string;
}

interface Judgement {
  /** A number of bpf/shared/reasons.h; NONE: carry on. */
  readonly reason: number;
  /** For the refusal's counter, and as far as known. */
  readonly labels: TrafficLabels;
  /** Keys of `diffSnapshots().keys`; judge again when one of them changed. */
  readonly dependencies: readonly string[];
  /** Why, step by step, in words for an operator. */
  readonly explanation: readonly string[];
}

export interface OutboundJudgement extends Judgement {
  readonly kind: 'outbound';
  /** `namespace/hostname` of the service that the address means; '' for none. */
  readonly service: string;
  /** Empty if and only if refused. */
  readonly endpoints: readonly JudgedEndpoint[];
  /** The endpoints that all refuse, when that is why; else none. */
  readonly refusing: readonly RefusingEndpoint[];
}

/** An endpoint whose policies let nothing of this source in. */
export interface RefusingEndpoint {
  readonly endpoint: JudgedEndpoint;
  readonly outcome: PolicyOutcome;
  readonly peer: JudgedPeer;
}

/** The policy that decided, or says something. */
export interface JudgedPolicy {
  /** `namespace/name`. */
  readonly name: string;
  /** Index of its rule that matches; undefined when none does. */
  readonly rule: number | undefined;
}

/** What policies say of a connection. */
export interface PolicyOutcome {
  readonly reason: number;
  /** Undefined when none did. */
  readonly policy: JudgedPolicy | undefined;
  /** What dry runs and audits say of it: beside the verdict, never part of it. */
  readonly told: readonly (JudgedPolicy & { readonly action: AuthorizationAction })[];
  /** What it would be if dry runs were enforced; undefined where none applies. */
  readonly withDryRuns: { readonly reason: number; readonly policy: JudgedPolicy | undefined } | undefined;
}

export interface InboundJudgement extends Judgement, PolicyOutcome {
  readonly kind: 'inbound';
  /** Of the CONNECT's answer; a refused plaintext connection has it too, for the log. */
  readonly status: 200 | 400 | 401 | 503;
  /** `namespace/hostname` of the service that was meant, as far as known. */
  readonly service: string;
  /** Delivery target inside the pod's namespace; '' and 0 when refused before it was known. */
  readonly upstreamAddress: string;
  readonly upstreamPort: number;
  /** PROXY v2 ahead of the bytes, destination as announced. */
  readonly proxyProtocol:
    | { readonly destinationAddress: string; readonly destinationPort: number }
    | undefined;
  /** Dial 127.0.0.1 or ::1 instead of the pod's address. */
  readonly loopback: boolean;
  /** Response header. */
  readonly baggage: string;
}
