/** A mesh with many policies: half select one workload, and none of them decides what the benchmark does but the last. */

/** Names, addresses and ports that no connection of the benchmark has, each policy with its own. */
function strangers(number: number): object {
  const account = `cluster.local/ns/strangers/sa/s${number}`;
  const block = `198.18.${(number >> 8) & 255}.${number & 255}/32`;
  return {
    from: [{ source: { principals: [account] } }, { source: { ipBlocks: [block] } }],
    to: [{ operation: { ports: [String(20_000 + (number % 10_000))] } }],
  };
}

/**
 * `count` AuthorizationPolicies as JSON. One of ten allows and the others deny, so that the last one of all has to be found
 * that lets the benchmark in. Every other one selects `app`, the rest select workloads that are not there.
 */
export function policyManifests(count: number, namespace: string, app: string): string[] {
  return Array.from({ length: count }, (_, number) => {
    const selected = number % 2 === 0 ? app : `absent-${number}`;
    const last = number === count - 2;
    const allows = last || number % 10 === 4;
    const spec = {
      selector: { matchLabels: { app: selected } },
      action: allows ? 'ALLOW' : 'DENY',
      rules: [last ? { from: [{ source: { namespaces: [namespace] } }] } : strangers(number)],
    };
    return JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: `policy-${number}`, namespace },
      spec,
    });
  });
}
