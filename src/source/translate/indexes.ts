/** Looks that go the other way: from a pod to what selects it. Each keeps a change from touching more than it means. */
import type { ServiceObject } from '../kubernetes/service.ts';
import type { ClusterIndex } from './view.ts';

type Labels = Readonly<Record<string, string>>;

/** The key under which a selector is found by whom it selects: its first pair, which all of them have. */
function selectorKeys(namespace: string, selector: Labels): string[] {
  const first = Object.keys(selector).sort()[0];
  return first === undefined ? [] : [labelKey(namespace, first, selector[first] ?? '')];
}

function labelKey(namespace: string, label: string, value: string): string {
  return `${namespace}/${label}=${value}`;
}

/** Keys of all selectors that could select something with these labels. */
export function labelKeys(namespace: string, labels: Labels): string[] {
  return Object.entries(labels).map(([label, value]) => labelKey(namespace, label, value));
}

export function matchesLabels(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(([label, value]) => labels[label] === value);
}

/** Services that choose their endpoints by labels. */
export const servicesBySelector: ClusterIndex<'Service'> = {
  name: 'services by selector',
  kind: 'Service',
  keysOf: ({ metadata, spec }: ServiceObject) =>
    spec.type === 'ExternalName' ? [] : selectorKeys(metadata.namespace, spec.selector),
};

/** AuthorizationPolicies that choose workloads by labels. */
export const policiesBySelector: ClusterIndex<'AuthorizationPolicy'> = {
  name: 'policies by selector',
  kind: 'AuthorizationPolicy',
  keysOf: ({ metadata, spec }) => selectorKeys(metadata.namespace, spec.selector),
};

/** All of them, under one key: there are few, and what the mesh has one of must know the first. */
export const peerAuthentications: ClusterIndex<'PeerAuthentication'> = {
  name: 'peer authentications',
  kind: 'PeerAuthentication',
  keysOf: () => ['mesh'],
};
