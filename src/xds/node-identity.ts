/** Who an agent is to its control plane. Istio's own reads the same fields: the type before the first `~`, and the metadata. */

export interface NodeFacts {
  readonly nodeName: string;
  readonly clusterId: string;
  readonly network: string;
  /** Of the agent's own pod; '' outside Kubernetes. */
  readonly podName: string;
  readonly podNamespace: string;
  readonly podAddress: string;
}

export interface NodeIdentity {
  readonly id: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

const prefix = 'ISTIO_META_';
const jsonPrefix = 'ISTIO_METAJSON_';
/** What stands for an address where there is none. */
const noAddress = '1.1.1.1';

/** Variables that cannot be read as JSON are left out; `onProblem` hears of each. */
export function nodeIdentity(
  facts: NodeFacts,
  environment: Readonly<Record<string, string | undefined>>,
  onProblem: (problem: string) => void = () => {},
): NodeIdentity {
  const namespace = facts.podNamespace || 'hadal-system';
  const name = facts.podName || facts.nodeName;
  const metadata: Record<string, unknown> = {
    CLUSTER_ID: facts.clusterId,
    NETWORK: facts.network,
  };
  for (const [variable, text = ''] of Object.entries(environment)) {
    if (variable.startsWith(prefix)) metadata[variable.slice(prefix.length)] = text;
    if (!variable.startsWith(jsonPrefix)) continue;
    try {
      metadata[variable.slice(jsonPrefix.length)] = JSON.parse(text);
    } catch (caught) {
      onProblem(`${variable} is not sent to the control plane, it is no JSON: ${(caught as Error).message}`);
    }
  }
  return {
    id: `ztunnel~${facts.podAddress || noAddress}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: {
      ...metadata,
      NAME: name,
      NAMESPACE: namespace,
      INSTANCE_IPS: facts.podAddress,
      NODE_NAME: facts.nodeName,
    },
  };
}
