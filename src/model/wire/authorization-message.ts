import { parseAddress } from '../address.ts';
import {
  type AddressMatch,
  type Authorization,
  authorizationActions,
  authorizationScopes,
  type Clause,
  createAuthorization,
  createMatch,
  type Match,
  type Rule,
  type ServiceAccountMatch,
  type StringMatch,
} from '../authorization.ts';
import { type Cidr, createCidr, parseCidr } from '../cidr.ts';
import { anyText, type Decoder, enumeration, flag, integer, list, message, text } from './decoder.ts';
import { address, noExtensions, port, resourceName } from './shared-messages.ts';

const presence = message({}, { name: 'Empty' }, () => Object.freeze({ kind: 'presence' as const }));

const stringMatch: Decoder<StringMatch> = message(
  { exact: anyText, prefix: anyText, suffix: anyText, presence },
  { name: 'StringMatch' },
  (given, wrong) => {
    const [kind, ...more] = (['exact', 'prefix', 'suffix', 'presence'] as const).filter(
      (each) => each in given,
    );
    if (kind === undefined || more.length > 0) {
      return wrong('exact', 'expected one of exact, prefix, suffix, presence');
    }
    return given.presence ?? Object.freeze({ kind: kind as 'exact', value: given[kind as 'exact'] ?? '' });
  },
);

const addressMatchMap: Decoder<AddressMatch> = message(
  { address, length: integer(0, 128) },
  { name: 'Address', required: ['address'] },
  ({ address: given = '', length }, wrong) => {
    // The wire has no length for "this one alone" but 0, which would be every address: it must be written.
    const parsed = parseAddress(given);
    const range = parsed && length !== undefined ? createCidr(parsed, length) : undefined;
    return range ? toMatch(range) : wrong('length', 'expected the length of the prefix, 0 to 32 or 128');
  },
);

const rangeText = 'an address or a range such as 10.0.0.0/8';

/** `10.0.0.0/8`, `10.0.0.1`, or a map of address and length. */
const addressMatch: Decoder<AddressMatch> = {
  schema: { anyOf: [{ type: 'string', description: rangeText }, addressMatchMap.schema] },
  decode(value, path, problems) {
    if (typeof value !== 'string') {
      return addressMatchMap.decode(value, path, problems);
    }
    const range = text(rangeText, parseCidr).decode(value, path, problems);
    return range && toMatch(range);
  },
};

const serviceAccountMatch: Decoder<ServiceAccountMatch> = message(
  { namespace: resourceName, serviceAccount: resourceName },
  { name: 'ServiceAccountMatch', required: ['namespace', 'serviceAccount'] },
  ({ namespace = '', serviceAccount = '' }) => Object.freeze({ namespace, serviceAccount }),
);

const match: Decoder<Match> = message(
  {
    namespaces: list(stringMatch),
    notNamespaces: list(stringMatch),
    principals: list(stringMatch),
    notPrincipals: list(stringMatch),
    sourceIps: list(addressMatch),
    notSourceIps: list(addressMatch),
    destinationIps: list(addressMatch),
    notDestinationIps: list(addressMatch),
    destinationPorts: list(port),
    notDestinationPorts: list(port),
    serviceAccounts: list(serviceAccountMatch),
    notServiceAccounts: list(serviceAccountMatch),
    extensions: noExtensions,
  },
  { name: 'Match', description: 'Holds when all of its fields do; one without any field never holds.' },
  createMatch,
);

const clause: Decoder<Clause> = message(
  { matches: list(match) },
  { name: 'Clause', description: 'Holds when any of its matches does, or when it has none.' },
  ({ matches = Object.freeze([]) }) => Object.freeze({ matches }),
);

const rule: Decoder<Rule> = message(
  { clauses: list(clause) },
  { name: 'Rule', description: 'Holds when all of its clauses do.' },
  ({ clauses = Object.freeze([]) }) => Object.freeze({ clauses }),
);

/** `istio.security.Authorization`. */
export const authorizationMessage: Decoder<Authorization> = message(
  {
    name: resourceName,
    namespace: resourceName,
    scope: enumeration(authorizationScopes),
    action: enumeration(authorizationActions),
    rules: list(rule),
    dryRun: flag,
    extensions: noExtensions,
  },
  {
    name: 'Authorization',
    required: ['namespace', 'name'],
    description: 'Who may connect. Matches when any of its rules does, so never without rules.',
  },
  ({ name = '', namespace = '', extensions: _none, ...given }) =>
    createAuthorization({ ...given, name, namespace }),
);

function toMatch(range: Cidr): AddressMatch {
  return Object.freeze({ address: range.base.text, length: range.length });
}
