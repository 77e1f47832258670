import type { LoadBalancing, LoadBalancingScope } from '../model/service.ts';
import type { Workload } from '../model/workload.ts';

/** The endpoints that new connections of `source` go to: those of the best rank. Order is kept. */
export function preferredEndpoints<T extends { readonly workload: Workload }>(
  endpoints: readonly T[],
  source: Workload,
  loadBalancing: LoadBalancing,
): readonly T[] {
  const { mode, routingPreference } = loadBalancing;
  if (mode === 'STRICT') {
    return endpoints.filter(({ workload }) =>
      routingPreference.every((scope) => shares(scope, source, workload)),
    );
  }
  if (mode !== 'FAILOVER') {
    return endpoints;
  }
  const ranked = endpoints.map((endpoint) => failoverRank(routingPreference, source, endpoint.workload));
  const best = ranked.reduce((highest, rank) => Math.max(highest, rank), 0);
  return endpoints.filter((_, index) => ranked[index] === best);
}

/**
 * How many leading preferences hold. A network that is asked for first outweighs all others together, yet the others
 * still order the endpoints beyond it: nearest first, on another network too.
 */
export function failoverRank(
  preference: readonly LoadBalancingScope[],
  source: Workload,
  endpoint: Workload,
): number {
  let rank = 0;
  for (const [index, scope] of preference.entries()) {
    const isFirstNetwork = index === 0 && scope === 'NETWORK';
    if (shares(scope, source, endpoint)) {
      rank += isFirstNetwork ? preference.length : 1;
    } else if (!isFirstNetwork) {
      break;
    }
  }
  return rank;
}

function shares(scope: LoadBalancingScope, source: Workload, endpoint: Workload): boolean {
  switch (scope) {
    case 'REGION':
      return source.locality.region === endpoint.locality.region;
    case 'ZONE':
      return source.locality.zone === endpoint.locality.zone;
    case 'SUBZONE':
      return source.locality.subzone === endpoint.locality.subzone;
    case 'NODE':
      return source.node === endpoint.node;
    case 'CLUSTER':
      return source.clusterId === endpoint.clusterId;
    case 'NETWORK':
      return source.network === endpoint.network;
    case 'UNSPECIFIED_SCOPE':
      return false;
  }
}

/** Alternatives with their shares: each alternative's endpoints split its share by their weights. */
export function shareWeights<T extends { readonly weight: number }>(
  alternatives: readonly { readonly share: number; readonly endpoints: readonly T[] }[],
): readonly T[] {
  const usable = alternatives.filter(({ share, endpoints }) => share > 0 && endpoints.length > 0);
  if (usable.length <= 1) {
    return usable[0]?.endpoints ?? [];
  }
  const total = usable.reduce((sum, { share }) => sum + share, 0);
  return usable.flatMap(({ share, endpoints }) => {
    const weights = endpoints.reduce((sum, { weight }) => sum + weight, 0);
    return endpoints.map((endpoint) => ({
      ...endpoint,
      weight: Math.max(1, Math.round(((share / total) * endpoint.weight * weightScale) / weights)),
    }));
  });
}

/** Fine enough for a canary of one per cent over a hundred endpoints. */
const weightScale = 1_000_000;
