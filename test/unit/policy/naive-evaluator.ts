/**
 * The rules of who may connect a second time, word by word from what Istio's agents do, slow and plain, sharing no code with
 * src/policy: the two must agree. Where Hadal is stricter on purpose, it says so.
 */
import type {
  AddressMatch,
  Authorization,
  Clause,
  Match,
  Rule,
  StringMatch,
} from '../../../src/model/authorization.ts';

/** Facts of a connection in the plainest form: texts and numbers. */
export interface PlainFacts {
  /** `td/ns/a/sa/b`, or undefined. */
  readonly principal: string | undefined;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

export interface PlainWorkload {
  readonly namespace: string;
  readonly authorizationPolicies: readonly string[];
}

export interface NaiveVerdict {
  readonly reason: 'NONE' | 'POLICY_DENIED' | 'POLICY_NOT_ALLOWED' | 'UNKNOWN_POLICY';
  /** Every one that could be named as the one that decided, `namespace/name`, with its first rule that matches. */
  readonly deciders: ReadonlyMap<string, number | undefined>;
  /** Policies that only tell, with the first rule that matches; undefined: none does. */
  readonly told: ReadonlyMap<string, number | undefined>;
}

/** `gone`: names of which the control plane has said that they are no more. */
export function naiveVerdict(
  policies: readonly Authorization[],
  workload: PlainWorkload,
  facts: PlainFacts,
  gone: readonly string[] = [],
): NaiveVerdict {
  // A later policy of the same name replaces the earlier.
  const known = new Map<string, Authorization>();
  for (const policy of policies) known.set(`${policy.namespace}/${policy.name}`, policy);

  // Candidates: those of the mesh, those of the destination's namespace, those that the workload names.
  const candidates = new Map<string, Authorization>();
  for (const [name, policy] of known) {
    if (policy.scope === 'GLOBAL') candidates.set(name, policy);
    if (policy.scope === 'NAMESPACE' && policy.namespace === workload.namespace) candidates.set(name, policy);
    if (workload.authorizationPolicies.includes(name)) candidates.set(name, policy);
  }

  // Stricter: a name that is not known, or that cannot be understood, refuses instead of being skipped.
  const unknown = new Map<string, undefined>();
  for (const name of workload.authorizationPolicies) {
    if (!known.has(name) && !gone.includes(name)) unknown.set(name, undefined);
  }

  const denying = new Map<string, number>();
  const allowing = new Map<string, number>();
  const told = new Map<string, number | undefined>();
  let allowExists = false;
  for (const [name, policy] of candidates) {
    const rule = firstRule(policy, facts);
    if (policy.dryRun) {
      told.set(name, rule);
    } else if (policy.notUnderstood !== undefined) {
      unknown.set(name, undefined);
    } else if (policy.action === 'DENY') {
      if (rule !== undefined) denying.set(name, rule);
    } else {
      allowExists = true;
      if (rule !== undefined) allowing.set(name, rule);
    }
  }
  const nobody = new Map<string, undefined>();
  if (denying.size > 0) return { reason: 'POLICY_DENIED', deciders: denying, told };
  if (unknown.size > 0) return { reason: 'UNKNOWN_POLICY', deciders: unknown, told };
  if (!allowExists) return { reason: 'NONE', deciders: nobody, told };
  if (allowing.size > 0) return { reason: 'NONE', deciders: allowing, told };
  return { reason: 'POLICY_NOT_ALLOWED', deciders: nobody, told };
}

/** A policy is the OR of its rules; with none it never matches. */
function firstRule(policy: Authorization, facts: PlainFacts): number | undefined {
  for (let index = 0; index < policy.rules.length; index += 1) {
    if (ruleIsTrue(policy.rules[index] as Rule, facts)) return index;
  }
  return undefined;
}

/** A rule is the AND of its clauses; with none it matches all. */
function ruleIsTrue(rule: Rule, facts: PlainFacts): boolean {
  for (const clause of rule.clauses) {
    if (!clauseIsTrue(clause, facts)) return false;
  }
  return true;
}

/** A clause is the OR of its matches; an empty one is true. */
function clauseIsTrue(clause: Clause, facts: PlainFacts): boolean {
  if (clause.matches.length === 0) return true;
  for (const match of clause.matches) {
    if (matchIsTrue(match, facts)) return true;
  }
  return false;
}

/** A match is the AND of its kinds of fields; one that says nothing is skipped, so never true. */
function matchIsTrue(match: Match, facts: PlainFacts): boolean {
  const { principal } = facts;
  const hasIdentity = principal !== undefined;
  const [, , namespace = '', , account = ''] = (principal ?? '').split('/');

  let said = 0;
  for (const field of Object.values(match) as readonly (readonly unknown[])[]) said += field.length;
  if (said === 0) return false;

  const kinds: boolean[] = [
    // The namespace is taken from the identity, '' without one.
    kind(match.namespaces, match.notNamespaces, (each) => textMatches(each, namespace)),
    // Without identity no positive principal holds, and every negative one does.
    kind(match.principals, match.notPrincipals, (each) => hasIdentity && principalMatches(each, principal)),
    kind(
      match.serviceAccounts,
      match.notServiceAccounts,
      (each) => hasIdentity && each.namespace === namespace && each.serviceAccount === account,
    ),
    kind(match.sourceIps, match.notSourceIps, (each) => isInRange(facts.source, each)),
    kind(match.destinationIps, match.notDestinationIps, (each) => isInRange(facts.destination, each)),
    kind(match.destinationPorts, match.notDestinationPorts, (each) => each === facts.port),
  ];
  return !kinds.includes(false);
}

/** (No positive one, or any positive one) and not any negative one. */
function kind<T>(positives: readonly T[], negatives: readonly T[], isMatch: (each: T) => boolean): boolean {
  let positive = positives.length === 0;
  for (const each of positives) if (isMatch(each)) positive = true;
  let negative = false;
  for (const each of negatives) if (isMatch(each)) negative = true;
  return positive && !negative;
}

/** The identity is compared without its scheme. A value written with the scheme means the whole id. */
function principalMatches(wanted: StringMatch, principal: string): boolean {
  if (wanted.kind !== 'presence' && wanted.value.startsWith('spiffe://')) {
    return textMatches(wanted, `spiffe://${principal}`);
  }
  return textMatches(wanted, principal);
}

function textMatches(wanted: StringMatch, text: string): boolean {
  if (wanted.kind === 'presence') return text.length > 0;
  if (wanted.kind === 'exact') return text === wanted.value;
  const { length } = wanted.value;
  if (length > text.length) return false;
  const part = wanted.kind === 'prefix' ? text.slice(0, length) : text.slice(text.length - length);
  return part === wanted.value;
}

/** As strings of bits; another family is never inside. */
function isInRange(text: string, { address, length }: AddressMatch): boolean {
  const [own, base] = [bits(text), bits(address)];
  return own.length === base.length && own.slice(0, length) === base.slice(0, length);
}

/** 32 for IPv4, also when written as IPv6 that means IPv4; else 128. */
function bits(text: string): string {
  const binary = (number: number, width: number) => number.toString(2).padStart(width, '0');
  if (!text.includes(':')) {
    return text
      .split('.')
      .map((octet) => binary(Number(octet), 8))
      .join('');
  }
  // A dotted end stands for two groups.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const hex =
    dotted === null
      ? text
      : `${dotted[1]}${(Number(dotted[2]) * 256 + Number(dotted[3])).toString(16)}:${(Number(dotted[4]) * 256 + Number(dotted[5])).toString(16)}`;
  const [head = '', tail] = hex.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...new Array<string>(missing).fill('0'), ...right];
  const all = groups.map((group) => binary(Number.parseInt(group, 16), 16)).join('');
  return all.startsWith(`${'0'.repeat(80)}${'1'.repeat(16)}`) ? all.slice(96) : all;
}
