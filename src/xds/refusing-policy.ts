/**
 * What holds in place of a policy that was not understood and has no good version: it refuses whatever it would have been asked
 * about. Whom it is for can mostly be read where a rule cannot; else its name tells the namespace.
 */
import {
  type Authorization,
  type AuthorizationScope,
  authorizationScopes,
  createAuthorization,
  policyKey,
  policyReach,
} from '../model/authorization.ts';
import * as policies from '../proto/authorization.gen.ts';
import type { Refusing } from './client-subscription.ts';
import type { NamedBytes } from './codec.ts';
import { authorizationType } from './type-urls.ts';

const longestReason = 1_000;
/** Of `istio.security.Authorization`. */
const scopeField = 3;

export function refusingWith(
  rootNamespace: string,
): (typeUrl: string, sent: NamedBytes, reason: string) => Refusing | undefined {
  return (typeUrl, sent, reason) => {
    if (typeUrl !== authorizationType) return undefined;
    const value = refusingPolicy(sent, reason, rootNamespace);
    return { kind: 'policies', value, refuses: refusesWhom(value) };
  };
}

/** Those among policies of before: why, and whom they refuse. */
export function refusingAmong(
  policies: readonly Authorization[],
): Map<string, { readonly reason: string; readonly refuses: string }> {
  const found = policies.flatMap((policy) => {
    const { notUnderstood: reason } = policy;
    return reason === undefined
      ? []
      : ([[policyKey(policy), { reason, refuses: refusesWhom(policy) }]] as const);
  });
  return new Map(found);
}

function refusesWhom(policy: Authorization): string {
  return policy.dryRun ? 'nobody, as it is a dry run' : policyReach(policy);
}

function refusingPolicy(sent: NamedBytes, reason: string, rootNamespace: string): Authorization {
  const slash = sent.name.indexOf('/');
  const namespace = sent.name.slice(0, Math.max(0, slash));
  const message = lenient(sent);
  return createAuthorization({
    namespace,
    name: sent.name.slice(slash + 1),
    scope: scopeOf(message) ?? (namespace === '' || namespace === rootNamespace ? 'GLOBAL' : 'NAMESPACE'),
    action: 'DENY',
    // What nobody is to enforce need not be understood.
    dryRun: message?.dryRun ?? false,
    notUnderstood: reason.slice(0, longestReason),
  });
}

function lenient({ resource }: NamedBytes): policies.Authorization | undefined {
  if (resource?.typeUrl !== authorizationType) return undefined;
  try {
    return policies.Authorization.decode(resource.value);
  } catch {
    return undefined;
  }
}

/** Undefined where it is not told, or cannot be told: not for fewer than it may be for. */
function scopeOf(message: policies.Authorization | undefined): AuthorizationScope | undefined {
  if (message === undefined) return undefined;
  const strange = Object.keys(message._unknownFields ?? {}).map((tag) => Number(tag) >>> 3);
  return strange.includes(scopeField) ? undefined : authorizationScopes[message.scope];
}
