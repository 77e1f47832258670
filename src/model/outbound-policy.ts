import type { Workload } from './workload.ts';

/** What becomes of connections to where neither the mesh nor the cluster is; in Istio's words. */
export const outboundTrafficPolicies = ['ALLOW_ANY', 'REGISTRY_ONLY'] as const;
export type OutboundTrafficPolicy = (typeof outboundTrafficPolicies)[number];

/** For a namespace; '' is the whole mesh. */
export interface NamespaceOutboundPolicy {
  readonly namespace: string;
  readonly policy: OutboundTrafficPolicy;
}

const workloadExtension = 'hadal.workload.v1.OutboundTrafficPolicy/';

/** How a workload's resource says its own. */
export function outboundPolicyExtension(policy: OutboundTrafficPolicy): string {
  return `${workloadExtension}${policy}`;
}

/** What a workload's resource says; undefined: what holds for its namespace. */
export function ownOutboundPolicy({
  extensions,
}: Pick<Workload, 'extensions'>): OutboundTrafficPolicy | undefined {
  const found = extensions.find((name) => name.startsWith(workloadExtension));
  return parseOutboundPolicy(found?.slice(workloadExtension.length));
}

export function parseOutboundPolicy(text: string | undefined): OutboundTrafficPolicy | undefined {
  return outboundTrafficPolicies.find((policy) => policy === text);
}
