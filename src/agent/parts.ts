import type { agentOptions } from '../config/agent-options.ts';
import type { Resolvers } from '../dns/resolvers.ts';
import type { Enrolment } from '../enrolment/enrolment.ts';
import type { OlderConnections } from '../enrolment/older-connections.ts';
import type { KnownRevocations } from '../identity/revocation-lists.ts';
import type { WorkloadCertificates } from '../identity/workload-certificates.ts';
import type { NativeAddon } from '../native/types.ts';
import type { RoleScope } from '../runtime/run-role.ts';
import type { EdgeRegistry } from '../telemetry/edge-registry.ts';
import type { Judge } from '../tunnel/decision-options.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import type { AgentFlows } from './agent-flows.ts';
import type { DirectConnections } from './direct-connections.ts';
import type { KernelCapture } from './kernel-capture.ts';
import type { CaptureRows } from './kernel-rows.ts';
import type { MeshSource } from './mesh-source.ts';
import type { OutboundPolicies } from './outbound-policies.ts';
import type { PodAnnotations } from './pod-annotations.ts';
import type { PodHolder } from './pod-holder.ts';
import type { SameNodePathWatch } from './same-node-path-watch.ts';
import type { TurboPods } from './turbo-pods.ts';

/** What every part of an agent is started with. */
export interface AgentScope extends RoleScope<typeof agentOptions> {
  readonly revocations: KnownRevocations;
}

/** What connections pass through. */
export interface DataPath {
  readonly native: NativeAddon;
  readonly kernel: KernelCapture;
  readonly edges: EdgeRegistry;
  readonly flows: AgentFlows;
  readonly pods: PodHolder;
  readonly sameNode: SameNodePathWatch;
  readonly direct: DirectConnections;
  readonly certificates: WorkloadCertificates;
  readonly kernelRows: CaptureRows;
  readonly tunnel: Tunnel;
  readonly judge: Judge;
}

export interface PodParts {
  readonly enrolment: Enrolment;
  readonly resolvers: Resolvers;
  readonly turbo: TurboPods;
  readonly outboundPolicies: OutboundPolicies;
  /** Undefined when nobody wants them. */
  readonly annotations: PodAnnotations | undefined;
  /** Undefined when connections older than the enrolment are kept. */
  readonly olderConnections: OlderConnections | undefined;
}

/** A running agent, for what only reads it: metrics, admin, status. */
export interface AgentParts extends AgentScope, DataPath, PodParts {
  readonly meshState: MeshSource;
}
