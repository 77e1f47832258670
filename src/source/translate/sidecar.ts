/**
 * Sidecar: whether workloads may connect to where neither the mesh nor the cluster is. One with a selector speaks for the pods
 * that it selects, one without for its namespace, in the root namespace for the mesh. What says nothing leaves it to the wider.
 */
import type { NamespaceOutboundPolicy, OutboundTrafficPolicy } from '../../model/outbound-policy.ts';
import type { SidecarObject } from '../kubernetes/sidecar.ts';
import { matchesLabels, sidecars } from './indexes.ts';
import { comparePrecedence } from './precedence.ts';
import { type TranslatedResources, type TranslationWarning, translated, warning } from './resources.ts';
import type { ClusterView } from './view.ts';

/** Of its own it makes nothing: pods and the settings of the mesh look at it. */
export function translateSidecar(object: SidecarObject, view: ClusterView): TranslatedResources {
  const { spec, metadata } = object;
  const unread = (['egress', 'ingress', 'inboundConnectionPool'] as const).filter((field) => {
    const given = spec[field];
    return given !== undefined && given !== null && !(Array.isArray(given) && given.length === 0);
  });
  const warnings: TranslationWarning[] = unread.map((field) =>
    warning(object, `spec.${field}`, 'is not read: of a Sidecar only spec.outboundTrafficPolicy counts'),
  );
  if (spec.outboundTrafficPolicy?.egressProxy !== undefined) {
    const reason = 'is not read: what REGISTRY_ONLY refuses is refused, nobody carries it elsewhere';
    warnings.push(warning(object, 'spec.outboundTrafficPolicy.egressProxy', reason));
  }
  const first = peersOf(object, view)[0];
  if (policyOf(object) !== undefined && first !== undefined && first.metadata.name !== metadata.name) {
    const reason = `has no effect: ${first.metadata.name} is older and for the same workloads`;
    warnings.push(warning(object, 'spec.outboundTrafficPolicy', reason));
  }
  return translated({ warnings });
}

/** For namespaces, and for the mesh. */
export function outboundPolicies(view: ClusterView): NamespaceOutboundPolicy[] {
  const wide = view.indexed(sidecars, 'mesh').filter((object) => !hasSelector(object));
  const byNamespace = Map.groupBy(wide, ({ metadata }) => metadata.namespace);
  return [...byNamespace].flatMap(([namespace, objects]) => {
    const policy = firstPolicy(objects);
    const isMesh = namespace === view.names.rootNamespace;
    return policy === undefined ? [] : [{ namespace: isMesh ? '' : namespace, policy }];
  });
}

/** Namespaces some of whose pods may have a word of their own. */
export function selectedNamespaces(view: ClusterView): string[] {
  const selecting = view
    .indexed(sidecars, 'mesh')
    .filter((object) => hasSelector(object) && policyOf(object) !== undefined);
  return [...new Set(selecting.map(({ metadata }) => metadata.namespace))].sort();
}

/** What a Sidecar that selects the pod says. */
export function selectedOutboundPolicy(
  pod: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
  view: ClusterView,
): OutboundTrafficPolicy | undefined {
  const selecting = view
    .list('Sidecar', pod.namespace)
    .filter(
      (object) => hasSelector(object) && matchesLabels(object.spec.workloadSelector.labels, pod.labels),
    );
  return firstPolicy(selecting);
}

function firstPolicy(objects: readonly SidecarObject[]): OutboundTrafficPolicy | undefined {
  return inOrder(objects)
    .map(policyOf)
    .find((policy) => policy !== undefined);
}

/** Those that speak for exactly the same workloads. */
function peersOf({ metadata, spec }: SidecarObject, view: ClusterView): SidecarObject[] {
  const same = JSON.stringify(Object.entries(spec.workloadSelector.labels).sort());
  return inOrder(
    view
      .list('Sidecar', metadata.namespace)
      .filter((object) => policyOf(object) !== undefined)
      .filter(
        (object) => JSON.stringify(Object.entries(object.spec.workloadSelector.labels).sort()) === same,
      ),
  );
}

function inOrder(objects: readonly SidecarObject[]): SidecarObject[] {
  const keyed = objects.map((object) => ({
    object,
    id: object.metadata.name,
    createdAt: object.metadata.creationTimestamp,
  }));
  return keyed.sort(comparePrecedence).map(({ object }) => object);
}

function policyOf({ spec }: SidecarObject): OutboundTrafficPolicy | undefined {
  return spec.outboundTrafficPolicy?.mode;
}

function hasSelector({ spec }: SidecarObject): boolean {
  return Object.keys(spec.workloadSelector.labels).length > 0;
}
