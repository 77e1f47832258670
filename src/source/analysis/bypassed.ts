/** Pods that wish connections in clear past the agent, all or some, and the policies that do not hold for those. */
import { selectsInbound } from '../../model/traffic-exclusions.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import { isForAgents } from '../translate/authorization-policy.ts';
import { podCaptureSettings } from '../translate/capture-settings.ts';
import { matchesLabels } from '../translate/indexes.ts';
import { annotationField, annotations, exclusionAnnotations } from '../translate/label-names.ts';
import { peerAuthenticationOf } from '../translate/peer-authentication.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';
import { isWanted } from './workloads.ts';

const shownPolicies = 4;

export function checkBypassed(analysed: Analysed): Finding[] {
  const { set, view } = analysed;
  const policies = writtenOf(set, 'AuthorizationPolicy').filter(({ object }) => isForAgents(object));
  return writtenOf(set, 'Pod').flatMap((written) => {
    const { metadata } = written.object;
    const wish = inboundWish(written.object);
    if (wish === undefined || !isWanted(analysed, written.object)) return [];
    const selecting = policies
      .filter(({ object }) =>
        [metadata.namespace, view.names.rootNamespace].includes(object.metadata.namespace),
      )
      .filter(({ object }) => matchesLabels(object.spec.selector.matchLabels, metadata.labels))
      .map(({ title }) => title);
    const strict = peerAuthenticationOf(metadata, view) === undefined ? [] : ['a STRICT PeerAuthentication'];
    const all = [...selecting.slice(0, shownPolicies), ...strict];
    if (all.length === 0) return [];
    const more = selecting.length > shownPolicies ? ` and ${selecting.length - shownPolicies} more` : '';
    const message = `lets connections in clear${wish.which} reach the pod, and for those ${all.join(', ')}${more} does not hold`;
    const field = annotationField(wish.annotation);
    return [finding('warning', 'policy-bypassed', written, field, message)];
  });
}

/** Which of them, and by which annotation. */
function inboundWish(pod: PodObject): { readonly annotation: string; readonly which: string } | undefined {
  const { bypassInbound, exclusions } = podCaptureSettings(pod);
  if (bypassInbound) return { annotation: annotations.bypassInboundCapture, which: '' };
  if (exclusions === undefined || !selectsInbound(exclusions)) return undefined;
  const { excludeInboundPorts, includeInboundPorts } = exclusions;
  if (includeInboundPorts === undefined) {
    const which = ` to port ${excludeInboundPorts.join(', ')}`;
    return { annotation: exclusionAnnotations.excludeInboundPorts, which };
  }
  const but = includeInboundPorts.join(', ') || 'none';
  return { annotation: exclusionAnnotations.includeInboundPorts, which: ` to every port but ${but}` };
}
