/** One test per rule of strictness: what an agent cannot see is decided so that never more is let in than was written. */
import { describe, expect, it } from 'vitest';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import { translateObject } from '../../../../src/source/translate/translators.ts';
import { admits, authorizationPolicy, enforced, type Json, outline, type Peer } from './objects.ts';

const from = (...sources: Json[]) => ({ from: sources.map((source) => ({ source })) });
const to = (...operations: Json[]) => ({ to: operations.map((operation) => ({ operation })) });
const when = (key: string, ...values: string[]) => ({ when: [{ key, values }] });

const lets = (action: string, rules: readonly Json[], peer: Peer) =>
  admits([authorizationPolicy({ action, rules })], peer);

const front: Peer = { who: 'shop/front' };
const friend = { principals: ['cluster.local/ns/shop/sa/front'] };

/** Everything that only HTTP shows, in a rule of its own. */
const http: readonly (readonly [string, Json])[] = [
  ...['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'].map(
    (name) => [name, to({ [name]: ['x'] })] as const,
  ),
  ...['requestPrincipals', 'notRequestPrincipals'].map((name) => [name, from({ [name]: ['x'] })] as const),
  ...['remoteIpBlocks', 'notRemoteIpBlocks'].map((name) => [name, from({ [name]: ['10.0.0.0/8'] })] as const),
  ...[
    'request.headers[x]',
    'request.auth.claims[x]',
    'request.auth.principal',
    'request.auth.audiences',
    'request.auth.presenter',
    'connection.sni',
    'source.serviceAccount',
    'experimental.envoy.filters.a.b[c]',
    'moon.phase',
  ].map((key) => [`when ${key}`, when(key, 'x')] as const),
  ['when remote.ip', when('remote.ip', '10.0.0.0/8')],
];

describe('an ALLOW rule that asks HTTP allows nothing', () => {
  it.each(http)('%s', (_, rule) => {
    expect(outline(enforced({ rules: [rule] }))).toEqual([]);
    expect(lets('ALLOW', [rule], front)).toBe(false);
  });

  it('also what the rest of the rule would allow', () => {
    const rule = { ...from(friend), ...to({ ports: ['80'], methods: ['GET'] }) };
    expect(lets('ALLOW', [rule], front)).toBe(false);
    expect(lets('ALLOW', [{ ...from(friend), ...to({ ports: ['80'] }) }], front)).toBe(true);
  });
  it('also when only one of several operations asks it', () => {
    expect(lets('ALLOW', [to({ ports: ['80'] }, { paths: ['/x'] })], front)).toBe(false);
  });
  it('also when only one of several sources asks it', () => {
    expect(lets('ALLOW', [from(friend, { requestPrincipals: ['*'] })], front)).toBe(false);
  });
  it('also when only one of several conditions asks it', () => {
    const rule = { when: [...when('destination.port', '80').when, ...when('request.headers[a]', 'b').when] };
    expect(lets('ALLOW', [rule], front)).toBe(false);
  });
  it('while the other rules of the policy stay', () => {
    expect(lets('ALLOW', [to({ paths: ['/x'] }), from(friend)], front)).toBe(true);
  });
  it('and a policy of which no rule is left lets nobody in', () => {
    expect(lets('ALLOW', [to({ paths: ['/x'] })], front)).toBe(false);
    expect(admits([], front)).toBe(true);
  });
});

describe('a DENY rule that asks HTTP denies all that the rest of it matches', () => {
  it.each(http)('%s, which asks nothing else: everything', (_, rule) => {
    expect(outline(enforced({ action: 'DENY', rules: [rule] }))).toEqual([[]]);
    expect(lets('DENY', [rule], front)).toBe(false);
    expect(lets('DENY', [rule], {})).toBe(false);
  });

  it('keeps the port beside a path', () => {
    const rule = to({ ports: ['80'], paths: ['/admin'] });
    expect(lets('DENY', [rule], { ...front, port: 80 })).toBe(false);
    expect(lets('DENY', [rule], { ...front, port: 81 })).toBe(true);
  });
  it('keeps the source beside a method', () => {
    const rule = { ...from(friend), ...to({ methods: ['DELETE'] }) };
    expect(lets('DENY', [rule], front)).toBe(false);
    expect(lets('DENY', [rule], { who: 'shop/other' })).toBe(true);
  });
  it('keeps the namespace beside a request principal in one source', () => {
    const rule = from({ namespaces: ['bank'], notRequestPrincipals: ['*'] });
    expect(lets('DENY', [rule], { who: 'bank/teller' })).toBe(false);
    expect(lets('DENY', [rule], front)).toBe(true);
  });
  it('lets any operation match when one of several asks only HTTP', () => {
    const rule = to({ ports: ['81'] }, { paths: ['/x'] });
    expect(lets('DENY', [rule], { ...front, port: 80 })).toBe(false);
  });
  it('lets any source match when one of several asks only HTTP, and keeps the operation', () => {
    const rule = {
      ...from({ namespaces: ['bank'] }, { requestPrincipals: ['x'] }),
      ...to({ ports: ['80'] }),
    };
    expect(lets('DENY', [rule], { ...front, port: 80 })).toBe(false);
    expect(lets('DENY', [rule], { ...front, port: 81 })).toBe(true);
  });
  it('lets a condition of HTTP hold, and keeps the others', () => {
    const rule = {
      when: [...when('request.headers[a]', 'b').when, ...when('source.namespace', 'bank').when],
    };
    expect(lets('DENY', [rule], { who: 'bank/teller' })).toBe(false);
    expect(lets('DENY', [rule], front)).toBe(true);
  });
  it('never becomes a match without fields, which would match nothing', () => {
    const rules = http.map(([, rule]) => rule);
    const policy = enforced({ action: 'DENY', rules });
    const matches = policy?.rules.flatMap(({ clauses }) => clauses.flatMap((clause) => clause.matches));
    expect(matches).toEqual([]);
  });
});

describe('what has no identity', () => {
  it.each<[string, Json, boolean, boolean]>([
    ['principals: *', { principals: ['*'] }, false, true],
    ['namespaces: shop', { namespaces: ['shop'] }, false, true],
    ['namespaces: *', { namespaces: ['*'] }, false, true],
    ['serviceAccounts: front', { serviceAccounts: ['front'] }, false, true],
    ['notPrincipals: *', { notPrincipals: ['*'] }, true, false],
    ['notPrincipals of somebody', { notPrincipals: ['cluster.local/ns/shop/sa/x'] }, true, false],
    ['notNamespaces: bank', { notNamespaces: ['bank'] }, true, false],
    ['notServiceAccounts: other', { notServiceAccounts: ['other'] }, true, false],
  ])('by %s: allowed %s, let through by a denial %s', (_, source, allowed, passed) => {
    expect(lets('ALLOW', [from(source)], {})).toBe(allowed);
    expect(lets('DENY', [from(source)], {})).toBe(passed);
  });
});

describe('policies without rules', () => {
  it('ALLOW without rules lets nobody in', () => {
    expect(lets('ALLOW', [], front)).toBe(false);
  });
  it('DENY without rules denies nothing', () => {
    expect(lets('DENY', [], front)).toBe(true);
  });
  it('ALLOW with a rule that asks nothing lets everybody in', () => {
    expect(lets('ALLOW', [{}], {})).toBe(true);
  });
  it('a denial counts before an allowance', () => {
    const objects = [
      authorizationPolicy({ rules: [{}] }, { name: 'a' }),
      authorizationPolicy({ action: 'DENY', rules: [from(friend)] }, { name: 'd' }),
    ];
    expect(admits(objects, front)).toBe(false);
    expect(admits(objects, { who: 'shop/other' })).toBe(true);
  });
});

describe('the warning of a rule that asks HTTP', () => {
  const warnings = (action: string) => {
    const policy = authorizationPolicy({
      action,
      rules: [{}, { ...to({ paths: ['/'], ports: ['80'] }), ...when('request.headers[a]', 'b') }],
    });
    return translateObject(policy, viewOf([policy])).warnings;
  };
  it.each([
    ['ALLOW', 'allows nothing'],
    ['DENY', 'denies every connection that the rest of it matches'],
  ])('%s names the rule, what it asks and that it %s', (action, effect) => {
    expect(warnings(action)).toEqual([
      {
        object: 'security.istio.io/v1/AuthorizationPolicy/shop/p',
        field: 'spec.rules[1]',
        reason: expect.stringMatching(new RegExp(`paths, request\\.headers\\[a\\], so the rule ${effect}`)),
      },
    ]);
  });
  it('is absent where nothing asks HTTP', () => {
    const policy = authorizationPolicy({ rules: [to({ ports: ['80'] })] });
    expect(translateObject(policy, viewOf([policy])).warnings).toEqual([]);
  });
});
