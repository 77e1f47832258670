import type { LoadBalancing, LoadBalancingScope } from '../../model/service.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import { annotationField, annotations, type Texts } from './label-names.ts';
import { type TranslationWarning, warning } from './resources.ts';

/** By the word for it, in lower case. */
const distributions: ReadonlyMap<string, readonly LoadBalancingScope[]> = new Map([
  ['any', []],
  ['preferclose', ['NETWORK', 'REGION', 'ZONE']],
  ['prefersamezone', ['NETWORK', 'REGION', 'ZONE']],
  ['prefersamenode', ['NETWORK', 'REGION', 'ZONE', 'SUBZONE', 'NODE']],
]);

export interface BalancingWish {
  readonly object: KnownObject;
  /** Of the object, then of its namespace. */
  readonly annotations: readonly (Texts | undefined)[];
  /** `spec.trafficDistribution`, which counts before any annotation. */
  readonly field?: string | undefined;
  readonly nodeLocal?: boolean;
  readonly passthrough?: boolean;
  readonly allowUnhealthy: boolean;
}

export function loadBalancing(wish: BalancingWish, warnings: TranslationWarning[]): LoadBalancing {
  const healthPolicy = wish.allowUnhealthy ? 'ALLOW_ALL' : 'ONLY_HEALTHY';
  if (wish.passthrough === true) return { routingPreference: [], mode: 'PASSTHROUGH', healthPolicy };
  if (wish.nodeLocal === true) return { routingPreference: ['NODE'], mode: 'STRICT', healthPolicy };
  const routingPreference = preference(wish, warnings);
  return {
    routingPreference,
    mode: routingPreference.length > 0 ? 'FAILOVER' : 'UNSPECIFIED_MODE',
    healthPolicy,
  };
}

function preference(wish: BalancingWish, warnings: TranslationWarning[]): readonly LoadBalancingScope[] {
  const annotated = wish.annotations.map((each) => each?.[annotations.trafficDistribution]);
  const word = [wish.field, ...annotated].find((each) => each !== undefined && each !== '');
  if (word === undefined) return [];
  const known = distributions.get(word.toLowerCase());
  if (known !== undefined) return known;
  const field =
    word === wish.field ? 'spec.trafficDistribution' : annotationField(annotations.trafficDistribution);
  const reason = `is "${word}"; PreferClose, PreferSameZone, PreferSameNode or Any is meant, and until then every endpoint is as good as another`;
  warnings.push(warning(wish.object, field, reason));
  return [];
}
