/** Names as in the proto; the order is their number. */
export const authorizationScopes = ['GLOBAL', 'NAMESPACE', 'WORKLOAD_SELECTOR'] as const;
/** AUDIT is not in Istio's proto. It is always sent as a dry run too, so that who does not know it refuses nothing for it. */
export const authorizationActions = ['ALLOW', 'DENY', 'AUDIT'] as const;

export type AuthorizationScope = (typeof authorizationScopes)[number];
export type AuthorizationAction = (typeof authorizationActions)[number];

/** `presence`: any text but the empty one. */
export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  | { readonly kind: 'presence' };

/** A CIDR range: canonical base address and prefix length. */
export interface AddressMatch {
  readonly address: string;
  readonly length: number;
}

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Each pair of fields: (none named or any matches) and no `not` one matches. Empty in all fields: never matches. */
export interface Match {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly sourceIps: readonly AddressMatch[];
  readonly notSourceIps: readonly AddressMatch[];
  readonly destinationIps: readonly AddressMatch[];
  readonly notDestinationIps: readonly AddressMatch[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
}

/** Any of its matches; with none it holds always. */
export interface Clause {
  readonly matches: readonly Match[];
}

/** All of its clauses; with none it matches everything. */
export interface Rule {
  readonly clauses: readonly Clause[];
}

/** Who may connect. Mirrors `istio.security.Authorization`; rules are alternatives, none means it never matches. */
export interface Authorization {
  readonly name: string;
  readonly namespace: string;
  readonly scope: AuthorizationScope;
  readonly action: AuthorizationAction;
  readonly rules: readonly Rule[];
  /** Told about, never enforced; so is every AUDIT. */
  readonly dryRun: boolean;
  /**
   * Why what it says is not understood here. Such a policy has no rules, and refuses whatever it applies to: what it says may
   * be a DENY. Absent of any other.
   */
  readonly notUnderstood?: string;
}

export type MatchFields = Partial<Match>;

/** A frozen match; fields not given are empty. */
export function createMatch(fields: MatchFields): Match {
  return Object.freeze({
    namespaces: Object.freeze([...(fields.namespaces ?? [])]),
    notNamespaces: Object.freeze([...(fields.notNamespaces ?? [])]),
    principals: Object.freeze([...(fields.principals ?? [])]),
    notPrincipals: Object.freeze([...(fields.notPrincipals ?? [])]),
    sourceIps: Object.freeze([...(fields.sourceIps ?? [])]),
    notSourceIps: Object.freeze([...(fields.notSourceIps ?? [])]),
    destinationIps: Object.freeze([...(fields.destinationIps ?? [])]),
    notDestinationIps: Object.freeze([...(fields.notDestinationIps ?? [])]),
    destinationPorts: Object.freeze([...(fields.destinationPorts ?? [])]),
    notDestinationPorts: Object.freeze([...(fields.notDestinationPorts ?? [])]),
    serviceAccounts: Object.freeze([...(fields.serviceAccounts ?? [])]),
    notServiceAccounts: Object.freeze([...(fields.notServiceAccounts ?? [])]),
  });
}

export type AuthorizationFields = Pick<Authorization, 'namespace' | 'name'> & Partial<Authorization>;

export function createAuthorization(fields: AuthorizationFields): Authorization {
  return Object.freeze({
    name: fields.name,
    namespace: fields.namespace,
    scope: fields.scope ?? 'GLOBAL',
    action: fields.action ?? 'ALLOW',
    rules: Object.freeze([...(fields.rules ?? [])]),
    dryRun: fields.action === 'AUDIT' || (fields.dryRun ?? false),
    ...(fields.notUnderstood !== undefined && { notUnderstood: fields.notUnderstood }),
  });
}

/** `namespace/name`: the resource name of a policy. One that is sent under another name, and is not understood, has no namespace. */
export function policyKey({ namespace, name }: Pick<Authorization, 'namespace' | 'name'>): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

/** Whom a policy is for, in words. */
export function policyReach({ scope, namespace }: Pick<Authorization, 'scope' | 'namespace'>): string {
  if (scope === 'GLOBAL') return 'all workloads';
  return scope === 'NAMESPACE' ? `all workloads of namespace ${namespace}` : 'the workloads that name it';
}
