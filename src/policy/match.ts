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
import { type Cidr, cidrContains, createCidr } from '../model/cidr.ts';
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

/** The facts with what many matches ask of them, made once. */
export interface SeenConnection extends ConnectionFacts {
  /** `spiffe://…`; undefined without identity. */
  readonly spiffeId: string | undefined;
  /** '' without identity. */
  readonly namespace: string;
}

const scheme = 'spiffe://';

export function seenConnection(facts: ConnectionFacts): SeenConnection {
  const { identity } = facts;
  const spiffeId = identity === undefined ? undefined : formatSpiffeId(identity);
  return { ...facts, spiffeId, namespace: identity?.namespace ?? '' };
}

/** Index of the first rule that matches; undefined: none does. */
export function firstMatchingRule(rules: readonly Rule[], seen: SeenConnection): number | undefined {
  const index = rules.findIndex((rule) => ruleMatches(rule, seen));
  return index < 0 ? undefined : index;
}

/** All clauses hold; a rule without any matches everything. */
function ruleMatches(rule: Rule, seen: SeenConnection): boolean {
  return rule.clauses.every((clause) => clauseMatches(clause, seen));
}

function clauseMatches(clause: Clause, seen: SeenConnection): boolean {
  return clause.matches.length === 0 || clause.matches.some((match) => matchHolds(match, seen));
}

/** A match that names nothing never holds: what was left out of it may have been a condition that nobody here understands. */
function matchHolds(match: Match, seen: SeenConnection): boolean {
  return (
    fieldHolds(match.destinationPorts, match.notDestinationPorts, (port) => port === seen.destinationPort) &&
    fieldHolds(match.namespaces, match.notNamespaces, (text) => stringMatches(text, seen.namespace)) &&
    fieldHolds(match.principals, match.notPrincipals, (text) => principalMatches(text, seen)) &&
    fieldHolds(match.serviceAccounts, match.notServiceAccounts, (account) => isAccount(account, seen)) &&
    fieldHolds(match.sourceIps, match.notSourceIps, (range) => isWithin(range, seen.sourceAddress)) &&
    fieldHolds(match.destinationIps, match.notDestinationIps, (range) =>
      isWithin(range, seen.destinationAddress),
    ) &&
    !isEmpty(match)
  );
}

function isEmpty(match: Match): boolean {
  return Object.values(match).every((field: readonly unknown[]) => field.length === 0);
}

/** (None is named or any matches) and no negative one does. */
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
function principalMatches(wanted: StringMatch, { spiffeId }: SeenConnection): boolean {
  if (spiffeId === undefined) {
    return false;
  }
  const hasScheme = wanted.kind !== 'presence' && wanted.value.startsWith(scheme);
  return stringMatches(wanted, hasScheme ? spiffeId : spiffeId.slice(scheme.length));
}

function isAccount(wanted: ServiceAccountMatch, { identity }: SeenConnection): boolean {
  return identity?.namespace === wanted.namespace && identity.serviceAccount === wanted.serviceAccount;
}

/** A policy may name thousands of ranges, and is asked about again and again: they are read once, and go with the policy. */
const ranges = new WeakMap<AddressMatch, Cidr | undefined>();

function isWithin(wanted: AddressMatch, address: IpAddress): boolean {
  const range = rangeOf(wanted);
  return range !== undefined && cidrContains(range, address);
}

function rangeOf(wanted: AddressMatch): Cidr | undefined {
  if (ranges.has(wanted)) return ranges.get(wanted);
  const base = parseAddress(wanted.address);
  const range = base && createCidr(base, wanted.length);
  ranges.set(wanted, range);
  return range;
}
