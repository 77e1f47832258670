import type { AuthorizationPolicyObject } from '../kubernetes/authorization-policy.ts';
import type { PeerAuthenticationObject } from '../kubernetes/peer-authentication.ts';
import { policyConditions } from './policy-conditions.ts';
import { hasSelector } from './policy-selector.ts';
import { type TranslationWarning, warning } from './resources.ts';
import type { ClusterView } from './view.ts';

/** Where a policy is enforced otherwise than it is written, or not at all. */
export function policyWarnings(policy: AuthorizationPolicyObject, view: ClusterView): TranslationWarning[] {
  return policyConditions(policy, view)
    .filter(({ reason }) => reason !== 'Accepted')
    .map(({ field, message }) => warning(policy, field, message));
}

export function peerAuthenticationWarnings(
  object: PeerAuthenticationObject,
  { names }: Pick<ClusterView, 'names'>,
): TranslationWarning[] {
  const { mtls, portLevelMtls } = object.spec;
  const disabled = [
    ...(mtls.mode === 'DISABLE' ? ['spec.mtls.mode'] : []),
    ...Object.entries(portLevelMtls).flatMap(([port, { mode }]) =>
      mode === 'DISABLE' ? [`spec.portLevelMtls["${port}"].mode`] : [],
    ),
  ];
  const isIdle = object.metadata.namespace === names.rootNamespace && hasSelector(object);
  return [
    ...disabled.map((field) =>
      warning(object, field, 'DISABLE is taken for PERMISSIVE: agents let tunnels in whatever a policy says'),
    ),
    ...(isIdle
      ? [
          warning(
            object,
            'spec.selector',
            `has no effect: in the root namespace ${names.rootNamespace} only PeerAuthentications without a selector count`,
          ),
        ]
      : []),
  ];
}
