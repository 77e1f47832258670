import type { IpAddress } from '../model/address.ts';
import { parseAddress } from '../model/address.ts';
import type {
  AddressMatch,
  Clause,
  Match,
  Rule,
  ServiceAccountMatch,
  StringMatch,
} from '../model/authorization.ts';
import { cidrContains, createCidr } from '../model/cidr.ts';
import { formatSpiffeId, type SpiffeId } from '../model/spiffe-id.ts';

/** One new connection as policies see it. */
export interface ConnectionFacts {
  /** Proved by the peer's certificate; undefined for everything in the clear. */
  readonly identity: SpiffeId | undefined;
  /** The TCP peer. */
  readonly sourceAddress: IpAddress;
  /** Where it is delivered, after ports were mapped. */
  readonly destinationAddress: IpAddress;
  readonly destinationPort: number;
}

/** All clauses hold; a rule without any matches everything. */
export function ruleMatches(rule: Rule, facts: ConnectionFacts): boolean {
  return rule.clauses.every((clause) => clauseMatches(clause, facts));
}

function clauseMatches(clause: Clause, facts: ConnectionFacts): boolean {
  return clause.matches.length === 0 || clause.matches.some((match) => matchHolds(match, facts));
}

function isEmpty(match: Match): boolean {
  return Object.values(match).every((field: readonly unknown[]) => field.length === 0);
}

/** A match that names nothing never holds: what was left out of it may have been a condition that nobody here understands. */
function matchHolds(match: Match, facts: ConnectionFacts): boolean {
  const { identity } = facts;
  const namespace = identity?.namespace ?? '';
  return (
    !isEmpty(match) &&
    fieldHolds(match.namespaces, match.notNamespaces, (wanted) => stringMatches(wanted, namespace)) &&
    fieldHolds(match.principals, match.notPrincipals, (wanted) => principalMatches(wanted, identity)) &&
    fieldHolds(match.serviceAccounts, match.notServiceAccounts, (wanted) =>
      isServiceAccount(wanted, identity),
    ) &&
    fieldHolds(match.sourceIps, match.notSourceIps, (wanted) => isWithin(wanted, facts.sourceAddress)) &&
    fieldHolds(match.destinationIps, match.notDestinationIps, (wanted) =>
      isWithin(wanted, facts.destinationAddress),
    ) &&
    fieldHolds(
      match.destinationPorts,
      match.notDestinationPorts,
      (wanted) => wanted === facts.destinationPort,
    )
  );
}

function fieldHolds<T>(
  positive: readonly T[],
  negative: readonly T[],
  matches: (wanted: T) => boolean,
): boolean {
  return (positive.length === 0 || positive.some(matches)) && !negative.some(matches);
}

function stringMatches(wanted: StringMatch, text: string): boolean {
  switch (wanted.kind) {
    case 'exact':
      return text === wanted.value;
    case 'prefix':
      return text.startsWith(wanted.value);
    case 'suffix':
      return text.endsWith(wanted.value);
    case 'presence':
      return text !== '';
  }
}

/** Policies write principals without the scheme; one that is written with it means the same. */
function principalMatches(wanted: StringMatch, identity: SpiffeId | undefined): boolean {
  if (identity === undefined) {
    return false;
  }
  const text = formatSpiffeId(identity);
  const hasScheme = wanted.kind !== 'presence' && wanted.value.startsWith('spiffe://');
  return stringMatches(wanted, hasScheme ? text : text.slice('spiffe://'.length));
}

function isServiceAccount(wanted: ServiceAccountMatch, identity: SpiffeId | undefined): boolean {
  return identity?.namespace === wanted.namespace && identity.serviceAccount === wanted.serviceAccount;
}

function isWithin(wanted: AddressMatch, address: IpAddress): boolean {
  const base = parseAddress(wanted.address);
  const range = base === undefined ? undefined : createCidr(base, wanted.length);
  return range !== undefined && cidrContains(range, address);
}
