import type { Authorization, Match, StringMatch } from '../../../src/model/authorization.ts';

/** Facts of a connection in the plainest form: texts and numbers. */
export interface PlainFacts {
  /** `td/ns/a/sa/b`, or undefined. */
  readonly principal: string | undefined;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

/**
 * The rules of section 4.4 of the reference a second time, by bit strings and lists of outcomes, sharing no code with
 * src/policy: the two must agree.
 */
export function naiveVerdict(
  policies: readonly Authorization[],
  workload: { readonly namespace: string; readonly authorizationPolicies: readonly string[] },
  facts: PlainFacts,
): 'NONE' | 'POLICY_DENIED' | 'POLICY_NOT_ALLOWED' | 'UNKNOWN_POLICY' {
  const latest = new Map(policies.map((policy) => [`${policy.namespace}/${policy.name}`, policy]));
  const applies = [...latest.entries()]
    .filter(
      ([key, policy]) =>
        policy.scope === 'GLOBAL' ||
        (policy.scope === 'NAMESPACE' && policy.namespace === workload.namespace) ||
        workload.authorizationPolicies.includes(key),
    )
    .map(([, policy]) => policy)
    .filter((policy) => policy.dryRun === false);
  const denies = applies.filter((policy) => policy.action === 'DENY');
  const allows = applies.filter((policy) => policy.action === 'ALLOW');
  if (denies.map((policy) => matches(policy, facts)).includes(true)) return 'POLICY_DENIED';
  if (!workload.authorizationPolicies.every((key) => latest.has(key))) return 'UNKNOWN_POLICY';
  if (allows.length === 0) return 'NONE';
  return allows.map((policy) => matches(policy, facts)).includes(true) ? 'NONE' : 'POLICY_NOT_ALLOWED';
}

function matches(policy: Authorization, facts: PlainFacts): boolean {
  const outcomes = policy.rules.map((rule) => {
    const clauses = rule.clauses.map((clause) => {
      if (clause.matches.length === 0) return true;
      return clause.matches.map((match) => holds(match, facts)).includes(true);
    });
    return !clauses.includes(false);
  });
  return outcomes.includes(true);
}

function holds(match: Match, facts: PlainFacts): boolean {
  const [, , namespace = '', , account = ''] = facts.principal?.split('/') ?? [];
  const principals = facts.principal === undefined ? [] : [facts.principal, `spiffe://${facts.principal}`];
  const outcomes: boolean[] = [];
  const field = <T>(yes: readonly T[], no: readonly T[], test: (wanted: T) => boolean) => {
    if (yes.length > 0) outcomes.push(yes.map(test).includes(true));
    if (no.length > 0) outcomes.push(!no.map(test).includes(true));
  };
  field(match.namespaces, match.notNamespaces, (wanted) => like(wanted, namespace));
  field(match.principals, match.notPrincipals, (wanted) => {
    // Written with the scheme, it is compared with the whole id.
    const isWhole = wanted.kind !== 'presence' && wanted.value.startsWith('spiffe://');
    return principals.length > 0 && like(wanted, principals[isWhole ? 1 : 0] ?? '');
  });
  field(match.sourceIps, match.notSourceIps, ({ address, length }) => inRange(facts.source, address, length));
  field(match.destinationIps, match.notDestinationIps, ({ address, length }) =>
    inRange(facts.destination, address, length),
  );
  field(match.destinationPorts, match.notDestinationPorts, (wanted) => wanted === facts.port);
  field(
    match.serviceAccounts,
    match.notServiceAccounts,
    (wanted) =>
      facts.principal !== undefined &&
      `${wanted.namespace}/${wanted.serviceAccount}` === `${namespace}/${account}`,
  );
  return outcomes.length > 0 && !outcomes.includes(false);
}

function like(wanted: StringMatch, text: string): boolean {
  if (wanted.kind === 'presence') return text.length > 0;
  if (wanted.kind === 'exact') return wanted.value === text;
  const { length } = wanted.value;
  const cut =
    wanted.kind === 'prefix' ? text.slice(0, length) : text.slice(Math.max(0, text.length - length));
  return length === 0 || cut === wanted.value;
}

function inRange(text: string, base: string, length: number): boolean {
  const [left, right] = [bits(text), bits(base)];
  return left.length === right.length && left.slice(0, length) === right.slice(0, length);
}

/** Only for addresses without zero runs elided in the middle of nowhere: `::` is expanded by counting. */
function bits(text: string): string {
  if (!text.includes(':')) {
    return text
      .split('.')
      .map((octet) => Number(octet).toString(2).padStart(8, '0'))
      .join('');
  }
  const [head = '', tail = ''] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const middle = text.includes('::') ? new Array<string>(8 - left.length - right.length).fill('0') : [];
  return [...left, ...middle, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}
