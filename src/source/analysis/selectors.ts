/** Selectors that choose nothing, or only what no agent stands before. */
import { isForAgents } from '../translate/authorization-policy.ts';
import { hasSelector } from '../translate/policy-selector.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';
import { describeMiss, isWanted, selectables, selected } from './workloads.ts';

export function checkSelectors(analysed: Analysed): Finding[] {
  return [...policies(analysed), ...services(analysed), ...shadowed(analysed)];
}

function policies(analysed: Analysed): Finding[] {
  const { set, view } = analysed;
  const all = [
    ...writtenOf(set, 'AuthorizationPolicy').filter(({ object }) => isForAgents(object)),
    ...writtenOf(set, 'PeerAuthentication'),
  ];
  return all.flatMap((written) => {
    const { metadata, spec } = written.object;
    const reach = selectables(
      analysed,
      metadata.namespace === view.names.rootNamespace ? undefined : metadata.namespace,
    );
    const found = selected(reach, spec.selector.matchLabels);
    if (hasSelector(written.object) && found.length === 0) {
      const message = `selects nothing: ${describeMiss(reach, spec.selector.matchLabels)}`;
      return [finding('warning', 'selects-nothing', written, 'spec.selector.matchLabels', message)];
    }
    const pods = found.flatMap(({ pod }) => pod ?? []);
    if (found.length === 0 || pods.length < found.length || pods.some((pod) => isWanted(analysed, pod)))
      return [];
    const message = 'is only for pods that are not in the mesh, where nobody enforces it';
    return [finding('error', 'selects-outside', written, '', message)];
  });
}

function services(analysed: Analysed): Finding[] {
  return writtenOf(analysed.set, 'Service').flatMap((written) => {
    const { metadata, spec } = written.object;
    if (Object.keys(spec.selector).length === 0) return [];
    const reach = selectables(analysed, metadata.namespace);
    if (selected(reach, spec.selector).length > 0) return [];
    const message = `has no endpoints: ${describeMiss(reach, spec.selector)}`;
    return [finding('warning', 'selects-nothing', written, 'spec.selector', message)];
  });
}

/** Of several PeerAuthentications for the same workloads one counts. */
function shadowed({ set }: Analysed): Finding[] {
  const first = new Map<string, string>();
  const byAge = [...writtenOf(set, 'PeerAuthentication')].sort((left, right) => {
    const age = ({ object: { metadata } }: typeof left) => metadata.creationTimestamp ?? '9';
    return age(left) < age(right) ? -1 : age(left) > age(right) ? 1 : left.id < right.id ? -1 : 1;
  });
  return byAge.flatMap((written) => {
    const { metadata, spec } = written.object;
    const key = `${metadata.namespace} ${JSON.stringify(Object.entries(spec.selector.matchLabels).sort())}`;
    const winner = first.get(key);
    if (winner === undefined) {
      first.set(key, written.title);
      return [];
    }
    const message = `has no effect: ${winner} is for the same workloads and counts, as the older one, or by its name`;
    return [finding('warning', 'policy-shadowed', written, '', message)];
  });
}
