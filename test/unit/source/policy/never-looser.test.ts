/** Generated policies against a naive reading of their documentation. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type NaiveConnection, type NaivePolicy, naivelyAllowed } from './naive-policy.ts';
import { admits, authorizationPolicy, type Json } from './objects.ts';

/** Milliseconds; a second or two on an idle machine. */
const timeout = 60_000;

const some = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 2 });
const sometimes = <T>(item: fc.Arbitrary<T>) => fc.option(item, { nil: undefined, freq: 2 });

const namespaces = some(fc.constantFrom('shop', 'bank', 'sh*', '*nk', '*', 'x'));
const principals = some(
  fc.constantFrom(
    'cluster.local/ns/shop/sa/front',
    'cluster.local/ns/bank/sa/teller',
    'cluster.local/ns/shop/*',
    '*/sa/front',
    '*',
  ),
);
const accounts = some(fc.constantFrom('front', 'teller', 'bank/teller', 'shop/front'));
const ranges = some(fc.constantFrom('10.0.0.0/8', '10.0.1.0/24', '10.0.0.7', '0.0.0.0/0', '10.0.1.9/31'));
const ports = some(fc.constantFrom('80', '443'));
const words = some(fc.constantFrom('GET', '/x', '*'));

/** Fields of which at least one is given. */
function given(model: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Json> {
  return fc
    .record(
      Object.fromEntries(
        Object.entries(model).map(([key, value]) => [
          key,
          fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value }),
        ]),
      ),
    )
    .map(
      (fields): Json => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
    )
    .filter((fields) => Object.keys(fields).length > 0);
}

/** With what HTTP asks, or without. */
function sourceOf(http: boolean): fc.Arbitrary<Json> {
  const identity = fc.oneof(
    given({ principals, notPrincipals: principals, namespaces, notNamespaces: namespaces }),
    given({ serviceAccounts: accounts, notServiceAccounts: accounts }),
  );
  const other = given({
    ipBlocks: ranges,
    notIpBlocks: ranges,
    ...(http
      ? {
          requestPrincipals: words,
          notRequestPrincipals: words,
          remoteIpBlocks: ranges,
          notRemoteIpBlocks: ranges,
        }
      : {}),
  });
  return fc.oneof(
    identity,
    other,
    fc.tuple(identity, other).map(([left, right]) => ({ ...left, ...right })),
  );
}

const operationOf = (http: boolean) =>
  given({
    ports,
    notPorts: ports,
    ...(http
      ? { paths: words, notPaths: words, methods: words, notMethods: words, hosts: words, notHosts: words }
      : {}),
  });

function conditionOf(http: boolean): fc.Arbitrary<Json> {
  const of = (key: string, values: fc.Arbitrary<string[]>) =>
    given({ values, notValues: values }).map((both): Json => ({ key, ...both }));
  return fc.oneof(
    of('source.ip', ranges),
    of('destination.ip', ranges),
    of('source.namespace', namespaces),
    of('source.principal', principals),
    of('destination.port', ports),
    ...(http ? [of('request.headers[x]', words), of('remote.ip', ranges)] : []),
  );
}

function ruleOf(http: boolean): fc.Arbitrary<Json> {
  return fc
    .record({
      from: sometimes(some(sourceOf(http).map((source) => ({ source })))),
      to: sometimes(some(operationOf(http).map((operation) => ({ operation })))),
      when: sometimes(some(conditionOf(http))),
    })
    .map((rule): Json => Object.fromEntries(Object.entries(rule).filter(([, value]) => value !== undefined)));
}

function policyOf(http: boolean): fc.Arbitrary<NaivePolicy> {
  return fc
    .record({
      namespace: fc.constantFrom('shop', 'shop', 'istio-system', 'bank'),
      label: fc.constantFrom(undefined, undefined, 'front', 'back'),
      action: fc.constantFrom('ALLOW', 'DENY'),
      rules: fc.array(ruleOf(http), { maxLength: 2 }),
    })
    .map(({ namespace, label, action, rules }) => ({
      namespace,
      spec: { ...(label === undefined ? {} : { selector: { matchLabels: { app: label } } }), action, rules },
    }));
}

const connection: fc.Arbitrary<NaiveConnection> = fc.record({
  who: fc.constantFrom(
    undefined,
    { namespace: 'shop', account: 'front' },
    { namespace: 'bank', account: 'teller' },
    { namespace: 'bank', account: 'front' },
  ),
  from: fc.constantFrom('10.0.0.7', '10.0.1.9', '192.0.2.1'),
  to: fc.constant('10.0.0.1'),
  port: fc.constantFrom(80, 443, 22),
});

const pod = { namespace: 'shop', labels: { app: 'front' } };

function verdicts(policies: readonly NaivePolicy[], each: NaiveConnection) {
  const objects = policies.map(({ namespace, spec }, index) =>
    authorizationPolicy(spec, { namespace, name: `p${index}` }),
  );
  const who = each.who === undefined ? {} : { who: `${each.who.namespace}/${each.who.account}` };
  return {
    enforced: admits(objects, { ...who, from: each.from, port: each.port }, pod),
    written: naivelyAllowed(policies, pod, each),
  };
}

it('what is let in is what a policy surely allows and does not possibly deny', { timeout }, () => {
  let both = 0;
  fc.assert(
    fc.property(fc.array(policyOf(true), { minLength: 1, maxLength: 3 }), connection, (policies, each) => {
      const { enforced, written } = verdicts(policies, each);
      if (enforced) both += 1;
      // Let in although the documentation refuses: the one thing that must never be.
      expect(enforced && !written).toBe(false);
    }),
    { numRuns: 1000 },
  );
  // Otherwise the test would be content with refusing everything.
  expect(both).toBeGreaterThan(30);
});

it('without HTTP it is exactly what the documentation says', { timeout }, () => {
  fc.assert(
    fc.property(fc.array(policyOf(false), { minLength: 1, maxLength: 3 }), connection, (policies, each) => {
      const { enforced, written } = verdicts(policies, each);
      expect(enforced).toBe(written);
    }),
    { numRuns: 1000 },
  );
});
