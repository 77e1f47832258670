/** Two evaluators, one that is enforced and one that is only plain, over random policies, workloads and connections. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/model/address.ts';
import {
  type AddressMatch,
  type Authorization,
  authorizationActions,
  authorizationScopes,
  createAuthorization,
  createMatch,
  type Match,
  policyKey,
  type StringMatch,
} from '../../../src/model/authorization.ts';
import { createCidr } from '../../../src/model/cidr.ts';
import { reasonDetails } from '../../../src/model/reasons.gen.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { parseSpiffeId } from '../../../src/model/spiffe-id.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { evaluate } from '../../../src/policy/evaluate.ts';
import { naiveVerdict, type PlainFacts } from './naive-evaluator.ts';

/** Alphabets are so small that what is generated meets itself often. */
const trustDomain = fc.constantFrom('td', 'td2');
const namespace = fc.constantFrom('a', 'ab');
const account = fc.constantFrom('s', 's2');
const port = fc.constantFrom(80, 443, 8080);
const principal = fc
  .tuple(trustDomain, namespace, account)
  .map(([domain, within, name]) => `${domain}/ns/${within}/sa/${name}`);

const ipv4 = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.1.1', '11.0.0.1');
const ipv6 = fc.constantFrom('fd00::1', 'fd00::2', 'fd00:0:0:1::1', '::1');
/** Also IPv4 as a dual-stack socket shows it. */
const address = fc.oneof(
  { weight: 3, arbitrary: ipv4 },
  { weight: 1, arbitrary: ipv4.map((text) => `::ffff:${text}`) },
  { weight: 2, arbitrary: ipv6 },
);
const range: fc.Arbitrary<AddressMatch> = fc
  .tuple(fc.oneof(ipv4, ipv6), fc.constantFrom(0, 1, 8, 24, 31, 32, 64, 127, 128))
  .map(([text, length]) => {
    const base = parseAddress(text);
    const cidr = base && createCidr(base, Math.min(length, base.family === 4 ? 32 : 128));
    return { address: cidr?.base.text ?? text, length: cidr?.length ?? 0 };
  });

/** A text whole, any part of its ends down to nothing, a text that only contains it, or any. */
function stringMatch(texts: fc.Arbitrary<string>): fc.Arbitrary<StringMatch> {
  const cut = fc.tuple(texts, fc.integer({ min: 0, max: 30 }));
  return fc.oneof(
    texts.map((value) => ({ kind: 'exact' as const, value })),
    cut.map(([value, length]) => ({ kind: 'prefix' as const, value: value.slice(0, length) })),
    cut.map(([value, length]) => ({ kind: 'suffix' as const, value: value.slice(length) })),
    texts.map((value) => ({ kind: 'suffix' as const, value: `x${value}` })),
    fc.constant({ kind: 'presence' as const }),
  );
}

const schemed = fc.oneof(
  { weight: 4, arbitrary: principal },
  { weight: 1, arbitrary: principal.map((text) => `spiffe://${text}`) },
);
/** Mostly nothing, else a match would hardly ever hold. */
const few = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.constant([] as T[]) },
    { weight: 1, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 2 }) },
  );
const serviceAccount = fc.record({ namespace, serviceAccount: account });
const match: fc.Arbitrary<Match> = fc
  .record({
    namespaces: few(stringMatch(namespace)),
    notNamespaces: few(stringMatch(namespace)),
    principals: few(stringMatch(schemed)),
    notPrincipals: few(stringMatch(schemed)),
    sourceIps: few(range),
    notSourceIps: few(range),
    destinationIps: few(range),
    notDestinationIps: few(range),
    destinationPorts: few(port),
    notDestinationPorts: few(port),
    serviceAccounts: few(serviceAccount),
    notServiceAccounts: few(serviceAccount),
  })
  .map(createMatch);

const clause = fc.record({ matches: fc.array(match, { maxLength: 3 }) });
const rule = fc.record({ clauses: fc.array(clause, { maxLength: 3 }) });
const seldom = (weight: number) =>
  fc.oneof({ weight, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) });
const policyName = fc.constantFrom('p', 'q', 'r');

const policy: fc.Arbitrary<Authorization> = fc
  .record({
    name: policyName,
    namespace,
    scope: fc.constantFrom(...authorizationScopes),
    action: fc.constantFrom(...authorizationActions),
    rules: fc.array(rule, { maxLength: 3 }),
    dryRun: seldom(4),
    isStrange: seldom(30),
  })
  .map(({ isStrange, ...fields }) =>
    // What is not understood has no rules.
    createAuthorization(isStrange ? { ...fields, rules: [], notUnderstood: 'a new field' } : fields),
  );

const connection: fc.Arbitrary<PlainFacts> = fc.record({
  principal: fc.option(principal, { nil: undefined, freq: 3 }),
  source: address,
  destination: address,
  port,
});

const someName = fc.tuple(namespace, policyName).map((parts) => parts.join('/'));
const world = fc
  .record({
    policies: fc.array(policy, { maxLength: 5 }),
    own: namespace,
    strangers: fc.oneof(
      { weight: 5, arbitrary: fc.constant([] as string[]) },
      { weight: 1, arbitrary: fc.array(someName, { maxLength: 2 }) },
    ),
    gone: fc.array(someName, { maxLength: 1 }),
    chosen: fc.array(fc.nat(), { maxLength: 3 }),
  })
  .map(({ policies, own, strangers, gone, chosen }) => {
    // Names mostly stand for policies that are there.
    const known = chosen.flatMap((index) => policies.slice(index % 5, (index % 5) + 1).map(policyKey));
    const names = new Set(policies.map(policyKey));
    const named = [...new Set([...known, ...strangers])];
    return { policies, own, named, gone: gone.filter((name) => !names.has(name)) };
  });

function parsed(text: string) {
  const found = parseAddress(text);
  if (found === undefined) throw new Error(`${text} is no address`);
  return found;
}

describe('evaluate and the naive evaluator', () => {
  it('agree on the verdict, on who decided and on what is only told', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(world, connection, ({ policies, own, named, gone }, facts) => {
        const workload = createWorkload({ uid: 'w', namespace: own, authorizationPolicies: named });
        const snapshot = createSnapshot({ workloads: [], services: [], policies }, new Set(gone));
        const verdict = evaluate(snapshot, workload, {
          identity: facts.principal === undefined ? undefined : parseSpiffeId(`spiffe://${facts.principal}`),
          sourceAddress: parsed(facts.source),
          destinationAddress: parsed(facts.destination),
          destinationPort: facts.port,
        });
        const expected = naiveVerdict(policies, workload, facts, gone);
        const reason = reasonDetails.get(verdict.reason)?.name ?? '';
        const outcome = `${reason}${verdict.policy === undefined ? '' : ' by policy'}`;
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
        expect(reason).toBe(expected.reason);
        if (verdict.policy === undefined) {
          expect(expected.deciders.size).toBe(0);
        } else {
          expect(expected.deciders.has(verdict.policy.name)).toBe(true);
          expect(expected.deciders.get(verdict.policy.name)).toBe(verdict.policy.rule);
        }
        const enforced = policies.map((each) =>
          each.action === 'AUDIT' ? each : { ...each, dryRun: false },
        );
        const would = verdict.withDryRuns ?? verdict;
        expect(reasonDetails.get(would.reason)?.name).toBe(
          naiveVerdict(enforced, workload, facts, gone).reason,
        );
        expect(new Map(verdict.told.map(({ name, rule }) => [name, rule]))).toEqual(expected.told);
      }),
      { numRuns: 10_000 },
    );
    // A test that only ever sees one outcome proves little.
    const outcomes = ['NONE', 'NONE by policy', 'POLICY_DENIED by policy', 'POLICY_NOT_ALLOWED'];
    expect([...seen.keys()].sort()).toEqual([...outcomes, 'UNKNOWN_POLICY by policy']);
    expect(Math.min(...seen.values())).toBeGreaterThan(400);
  });
});
