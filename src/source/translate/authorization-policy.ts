/**
 * AuthorizationPolicy into what agents enforce. An agent sees connections, never requests, so what a policy asks of HTTP
 * is decided towards the stricter side: an ALLOW rule that asks it allows nothing, a DENY rule denies all that the rest of
 * it matches, since the request could be the one it means; so AUDIT tells of all that the rest matches.
 */

import { HadalError } from '../../base/errors.ts';
import type {
  AddressMatch,
  Clause,
  Match,
  MatchFields,
  Rule,
  ServiceAccountMatch,
  StringMatch,
} from '../../model/authorization.ts';
import { type Authorization, createAuthorization, createMatch } from '../../model/authorization.ts';
import { parseCidr } from '../../model/cidr.ts';
import type {
  AuthorizationPolicyObject,
  PolicyCondition,
  PolicyOperation,
  PolicyRule,
  PolicySource,
} from '../kubernetes/authorization-policy.ts';
import { type ConnectionKey, httpAttributes, isConnectionKey } from './http-attributes.ts';
import { hasSelector } from './policy-selector.ts';
import { policyWarnings } from './policy-warnings.ts';
import { type TranslatedResources, translated } from './resources.ts';
import type { ClusterView } from './view.ts';

/** Nothing for a policy of a waypoint (targetRefs) and for the action that agents do not know. */
export function translateAuthorizationPolicy(
  policy: AuthorizationPolicyObject,
  view: ClusterView,
): TranslatedResources {
  const warnings = policyWarnings(policy, view);
  const { action, targetRefs, rules } = policy.spec;
  if (targetRefs.length > 0 || action === 'CUSTOM') return translated({ warnings });
  const { name, namespace, annotations } = policy.metadata;
  const kept = action === 'ALLOW' ? rules.filter((rule) => httpAttributes(rule).length === 0) : rules;
  const authorization = createAuthorization({
    name,
    namespace,
    action,
    scope: scopeOf(policy, view),
    rules: kept.map((rule) => translateRule(rule, namespace)),
    dryRun: isTrue(annotations['istio.io/dry-run']),
  });
  return translated({ policies: [authorization], warnings });
}

/** Whether agents enforce the policy or tell of it, as opposed to waypoints or nobody. */
export function isForAgents({ spec }: AuthorizationPolicyObject): boolean {
  return spec.targetRefs.length === 0 && spec.action !== 'CUSTOM';
}

function scopeOf(
  policy: AuthorizationPolicyObject,
  { names }: Pick<ClusterView, 'names'>,
): Authorization['scope'] {
  if (hasSelector(policy)) return 'WORKLOAD_SELECTOR';
  return policy.metadata.namespace === names.rootNamespace ? 'GLOBAL' : 'NAMESPACE';
}

function translateRule({ from = [], to = [], when }: PolicyRule, namespace: string): Rule {
  const clauses = [
    clauseOf(to.map(({ operation }) => operationMatch(operation))),
    clauseOf(from.map(({ source }) => sourceMatch(source, namespace))),
    ...when.map((condition) => clauseOf([conditionMatch(condition)])),
  ];
  return Object.freeze({ clauses: Object.freeze(clauses.filter((clause) => clause !== undefined)) });
}

/**
 * Undefined when it holds always: nothing is asked, or one alternative asks only HTTP. That one must not be written as a
 * match without fields, which never matches: then a DENY rule would deny nothing.
 */
function clauseOf(alternatives: readonly MatchFields[]): Clause | undefined {
  const matches = alternatives.map(createMatch);
  if (matches.length === 0 || matches.some(isWithoutFields)) return undefined;
  return Object.freeze({ matches: Object.freeze(matches) });
}

function isWithoutFields(match: Match): boolean {
  return Object.values(match).every((values: readonly unknown[]) => values.length === 0);
}

function sourceMatch(source: PolicySource, namespace: string): MatchFields {
  return {
    principals: source.principals.map(stringMatch),
    notPrincipals: source.notPrincipals.map(stringMatch),
    namespaces: source.namespaces.map(stringMatch),
    notNamespaces: source.notNamespaces.map(stringMatch),
    serviceAccounts: source.serviceAccounts.map(accountMatch(namespace)),
    notServiceAccounts: source.notServiceAccounts.map(accountMatch(namespace)),
    sourceIps: source.ipBlocks.map(addressMatch),
    notSourceIps: source.notIpBlocks.map(addressMatch),
  };
}

function operationMatch({ ports, notPorts }: PolicyOperation): MatchFields {
  return { destinationPorts: ports.map(Number), notDestinationPorts: notPorts.map(Number) };
}

const conditionMatches: Readonly<Record<ConnectionKey, (condition: PolicyCondition) => MatchFields>> = {
  'source.ip': ({ values, notValues }) => ({
    sourceIps: values.map(addressMatch),
    notSourceIps: notValues.map(addressMatch),
  }),
  'source.namespace': ({ values, notValues }) => ({
    namespaces: values.map(stringMatch),
    notNamespaces: notValues.map(stringMatch),
  }),
  'source.principal': ({ values, notValues }) => ({
    principals: values.map(stringMatch),
    notPrincipals: notValues.map(stringMatch),
  }),
  'destination.ip': ({ values, notValues }) => ({
    destinationIps: values.map(addressMatch),
    notDestinationIps: notValues.map(addressMatch),
  }),
  'destination.port': ({ values, notValues }) => ({
    destinationPorts: values.map(Number),
    notDestinationPorts: notValues.map(Number),
  }),
};

function conditionMatch(condition: PolicyCondition): MatchFields {
  return isConnectionKey(condition.key) ? conditionMatches[condition.key](condition) : {};
}

/** `*` any but empty, `*x` ends with x, `x*` starts with x; else exactly this. */
function stringMatch(text: string): StringMatch {
  if (text === '*') return Object.freeze({ kind: 'presence' });
  if (text.startsWith('*')) return Object.freeze({ kind: 'suffix', value: text.slice(1) });
  if (text.endsWith('*')) return Object.freeze({ kind: 'prefix', value: text.slice(0, -1) });
  return Object.freeze({ kind: 'exact', value: text });
}

function accountMatch(ownNamespace: string): (text: string) => ServiceAccountMatch {
  return (text) => {
    const [first = '', second] = text.split('/');
    return second === undefined
      ? Object.freeze({ namespace: ownNamespace, serviceAccount: first })
      : Object.freeze({ namespace: first, serviceAccount: second });
  };
}

/** The parser has let in only ranges; one that is none here would have to match nothing, which a list cannot say. */
function addressMatch(text: string): AddressMatch {
  const range = parseCidr(text);
  if (range === undefined) throw new HadalError('ERR_INTERNAL', `${text} is no range of addresses`);
  return Object.freeze({ address: range.base.text, length: range.length });
}

/** As Go reads a truth value, which is how the annotation is read elsewhere. */
function isTrue(text: string | undefined): boolean {
  return ['1', 't', 'T', 'true', 'True', 'TRUE'].includes(text ?? '');
}
