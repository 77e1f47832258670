import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/model/address.ts';
import {
  type Authorization,
  type AuthorizationFields,
  createAuthorization,
  createMatch,
  type MatchFields,
  type StringMatch,
} from '../../../src/model/authorization.ts';
import { createChange } from '../../../src/model/change.ts';
import { reasonDetails } from '../../../src/model/reasons.gen.ts';
import { createSnapshot, emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { parseSpiffeId } from '../../../src/model/spiffe-id.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { evaluate } from '../../../src/policy/evaluate.ts';

interface Connection {
  readonly principal?: string;
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
}

const front = 'cluster.local/ns/shop/sa/front';

function judge(
  policies: readonly Authorization[],
  connection: Connection = {},
  named: readonly string[] = [],
  snapshot = createSnapshot({ workloads: [], services: [], policies }),
) {
  const workload = createWorkload({ uid: 'w', namespace: 'shop', authorizationPolicies: named });
  const address = (text: string) => parseAddress(text) ?? (parseAddress('0.0.0.0') as never);
  return evaluate(snapshot, workload, {
    identity: parseSpiffeId(`spiffe://${connection.principal}`),
    sourceAddress: address(connection.from ?? '10.0.0.1'),
    destinationAddress: address(connection.to ?? '10.0.1.7'),
    destinationPort: connection.port ?? 80,
  });
}

const reasonOf = (...given: Parameters<typeof judge>) => reasonDetails.get(judge(...given).reason)?.name;

/** Rules as lists: rules of clauses of matches. */
const policyOf = (
  rules: readonly (readonly (readonly MatchFields[])[])[],
  fields: Partial<AuthorizationFields> = {},
) =>
  createAuthorization({
    name: 'p',
    namespace: 'shop',
    scope: 'NAMESPACE',
    rules: rules.map((clauses) => ({
      clauses: clauses.map((matches) => ({ matches: matches.map(createMatch) })),
    })),
    ...fields,
  });

const exact = (value: string): StringMatch => ({ kind: 'exact', value });
const prefix = (value: string): StringMatch => ({ kind: 'prefix', value });
const suffix = (value: string): StringMatch => ({ kind: 'suffix', value });
const presence: StringMatch = { kind: 'presence' };

describe('one match', () => {
  const cases: readonly (readonly [string, MatchFields, Connection, boolean])[] = [
    ['a principal by its whole name', { principals: [exact(front)] }, { principal: front }, true],
    [
      'a principal written with its scheme',
      { principals: [exact(`spiffe://${front}`)] },
      { principal: front },
      true,
    ],
    ['a principal by prefix', { principals: [prefix('cluster.local/ns/shop/')] }, { principal: front }, true],
    [
      'a principal by prefix with its scheme',
      { principals: [prefix('spiffe://cluster.local/')] },
      { principal: front },
      true,
    ],
    ['a principal by suffix', { principals: [suffix('/sa/front')] }, { principal: front }, true],
    [
      'not another trust domain that ends alike',
      { principals: [suffix(`spiffe://${front}`)] },
      { principal: `x${front}` },
      false,
    ],
    ['not another principal', { principals: [exact(front)] }, { principal: `${front}2` }, false],
    ['any principal', { principals: [presence] }, { principal: front }, true],
    ['no principal where any is asked for', { principals: [presence] }, {}, false],
    ['no principal by an empty prefix', { principals: [prefix('')] }, {}, false],
    ['a missing principal by a negative', { notPrincipals: [exact(front)] }, {}, true],
    ['a missing principal by no presence', { notPrincipals: [presence] }, {}, true],
    ['no present principal by no presence', { notPrincipals: [presence] }, { principal: front }, false],
    ['a namespace', { namespaces: [exact('shop')] }, { principal: front }, true],
    ['no namespace without identity', { namespaces: [presence] }, {}, false],
    ['the empty namespace of a peer without identity', { namespaces: [exact('')] }, {}, true],
    ['a missing namespace by a negative', { notNamespaces: [exact('shop')] }, {}, true],
    [
      'a service account',
      { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] },
      { principal: front },
      true,
    ],
    [
      'not the account of another namespace',
      { serviceAccounts: [{ namespace: 'bank', serviceAccount: 'front' }] },
      { principal: front },
      false,
    ],
    ['no account without identity', { serviceAccounts: [{ namespace: '', serviceAccount: '' }] }, {}, false],
    [
      'a missing account by a negative',
      { notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] },
      {},
      true,
    ],
    ['a source range', { sourceIps: [{ address: '10.0.0.0', length: 24 }] }, {}, true],
    ['not the range beside', { sourceIps: [{ address: '10.0.1.0', length: 24 }] }, {}, false],
    ['any IPv4 but no IPv6', { sourceIps: [{ address: '0.0.0.0', length: 0 }] }, { from: 'fd00::1' }, false],
    [
      'a source by its IPv4-mapped form',
      { sourceIps: [{ address: '10.0.0.1', length: 32 }] },
      { from: '::ffff:10.0.0.1' },
      true,
    ],
    ['a source that no negative names', { notSourceIps: [{ address: '10.0.1.0', length: 24 }] }, {}, true],
    ['a destination range', { destinationIps: [{ address: 'fd00::', length: 64 }] }, { to: 'fd00::9' }, true],
    [
      'not a destination that a negative names',
      { notDestinationIps: [{ address: '10.0.1.7', length: 32 }] },
      {},
      false,
    ],
    ['a port', { destinationPorts: [443, 80] }, {}, true],
    ['not another port', { destinationPorts: [443] }, {}, false],
    ['not a port that a negative names', { destinationPorts: [80], notDestinationPorts: [80] }, {}, false],
    [
      'all fields together',
      { principals: [exact(front)], destinationPorts: [80] },
      { principal: front },
      true,
    ],
    [
      'not one field of two',
      { principals: [exact(front)], destinationPorts: [81] },
      { principal: front },
      false,
    ],
    ['nothing when it says nothing', {}, { principal: front }, false],
  ];

  it.each(cases)('finds %s', (_, match, connection, expected) => {
    expect(reasonOf([policyOf([[[match]]])], connection)).toBe(expected ? 'NONE' : 'POLICY_NOT_ALLOWED');
    expect(reasonOf([policyOf([[[match]]], { action: 'DENY' })], connection)).toBe(
      expected ? 'POLICY_DENIED' : 'NONE',
    );
  });
});

describe('rules and clauses', () => {
  const on80: MatchFields = { destinationPorts: [80] };
  const on81: MatchFields = { destinationPorts: [81] };
  const cases: readonly (readonly [string, MatchFields[][][], boolean])[] = [
    ['a policy without rules never', [], false],
    ['a rule without clauses always', [[]], true],
    ['a clause without matches always', [[[]]], true],
    ['a clause of nothing but empty matches never', [[[{}]]], false],
    ['an empty match beside another counts for nothing', [[[{}, on80]]], true],
    ['any match of a clause', [[[on81, on80]]], true],
    ['all clauses of a rule', [[[on80], [on81]]], false],
    ['an empty clause beside one that holds', [[[on80], []]], true],
    ['any rule of a policy', [[[on81]], [[on80]]], true],
  ];

  it.each(cases)('match: %s', (_, rules, expected) => {
    expect(reasonOf([policyOf(rules)])).toBe(expected ? 'NONE' : 'POLICY_NOT_ALLOWED');
    expect(reasonOf([policyOf(rules, { action: 'DENY' })])).toBe(expected ? 'POLICY_DENIED' : 'NONE');
  });
});

describe('authorize', () => {
  const all = [[]];

  it('lets everything in where no policy applies', () => {
    expect(judge([])).toMatchObject({ reason: 0, policy: undefined });
  });

  it('lets DENY win over ALLOW, and names the policy and the rule', () => {
    const allow = policyOf(all, { name: 'allow' });
    const deny = policyOf([[[{ destinationPorts: [1] }]], []], { name: 'deny', action: 'DENY' });
    expect(judge([allow, deny])).toMatchObject({ policy: { name: 'shop/deny', rule: 1 } });
    expect(judge([allow])).toMatchObject({ reason: 0, policy: { name: 'shop/allow', rule: 0 } });
  });

  it('refuses everything by an ALLOW without rules and nothing by a DENY without rules', () => {
    expect(reasonOf([policyOf([])])).toBe('POLICY_NOT_ALLOWED');
    expect(reasonOf([policyOf([], { action: 'DENY' })])).toBe('NONE');
  });

  it('asks policies of the mesh, of the own namespace, and those named, and no others', () => {
    const deny = (fields: Partial<AuthorizationFields>) => policyOf(all, { action: 'DENY', ...fields });
    expect(reasonOf([deny({ scope: 'GLOBAL', namespace: 'root' })])).toBe('POLICY_DENIED');
    expect(reasonOf([deny({ scope: 'NAMESPACE', namespace: 'shop' })])).toBe('POLICY_DENIED');
    expect(reasonOf([deny({ scope: 'NAMESPACE', namespace: 'bank' })])).toBe('NONE');
    expect(reasonOf([deny({ scope: 'WORKLOAD_SELECTOR' })])).toBe('NONE');
    expect(reasonOf([deny({ scope: 'WORKLOAD_SELECTOR' })], {}, ['shop/p'])).toBe('POLICY_DENIED');
    expect(reasonOf([deny({ scope: 'WORKLOAD_SELECTOR', namespace: 'root' })], {}, ['root/p'])).toBe(
      'POLICY_DENIED',
    );
  });

  it('refuses while the workload names a policy that is not known, and says which', () => {
    const verdict = judge([policyOf(all)], {}, ['shop/gone']);
    expect(reasonDetails.get(verdict.reason)?.name).toBe('UNKNOWN_POLICY');
    expect(verdict.policy).toEqual({ name: 'shop/gone', rule: undefined });
    expect(verdict.dependencies).toContain('policy:shop/gone');
  });

  it('asks no more after a named policy of which was said that it is gone', () => {
    const named = { uid: 'pod', namespace: 'shop', authorizationPolicies: ['shop/gone'] };
    const known = createChange({ workloads: { upserts: [createWorkload(named)] } });
    const { snapshot } = updateSnapshot(emptySnapshot, known);
    const removal = createChange({ policies: { removals: ['shop/gone'] } });
    const after = updateSnapshot(snapshot, removal);
    const reasonIn = (mesh: MeshSnapshot) => reasonOf([], {}, named.authorizationPolicies, mesh);
    expect(reasonIn(snapshot)).toBe('UNKNOWN_POLICY');
    expect(reasonIn(after.snapshot)).toBe('NONE');
    expect([...after.diff.keys]).toEqual(['policy:shop/gone']);
  });

  it('only talks about dry runs', () => {
    const dry = policyOf(all, { name: 'dry', action: 'DENY', dryRun: true });
    const verdict = judge([dry]);
    expect(verdict.reason).toBe(0);
    expect(verdict.told).toEqual([{ name: 'shop/dry', action: 'DENY', rule: 0 }]);
    expect(reasonOf([policyOf([], { dryRun: true })])).toBe('NONE');
  });

  it('tells which rule of a dry run matches, or that none does, whatever is decided', () => {
    const deny = policyOf(all, { name: 'deny', action: 'DENY' });
    const dry = policyOf([[[{ destinationPorts: [81] }]], []], { name: 'dry', dryRun: true });
    const never = policyOf([[[{ destinationPorts: [81] }]]], { name: 'never', dryRun: true });
    const verdict = judge([deny, dry, never]);
    expect(verdict.policy?.name).toBe('shop/deny');
    expect(verdict.told.map(({ name, rule }) => [name, rule])).toEqual([
      ['shop/dry', 1],
      ['shop/never', undefined],
    ]);
  });

  it('only tells of audits, and counts them for no ALLOW', () => {
    const audit = policyOf(all, { name: 'audit', action: 'AUDIT' });
    const verdict = judge([audit]);
    expect(verdict).toMatchObject({ reason: 0, policy: undefined });
    expect(verdict.told).toEqual([{ name: 'shop/audit', action: 'AUDIT', rule: 0 }]);
    expect(reasonOf([audit, policyOf([])])).toBe('POLICY_NOT_ALLOWED');
    // Who does not know the action takes it for a dry run, and who does not understand it for one that refuses nobody.
    expect(audit.dryRun).toBe(true);
    expect(reasonOf([policyOf([], { action: 'AUDIT', notUnderstood: 'new' })])).toBe('NONE');
  });

  it('reads no policy of another namespace or workload, however many there are', () => {
    const others = Array.from({ length: 5_000 }, (_, index) =>
      policyOf(all, {
        name: `p${index}`,
        namespace: index % 2 === 0 ? `n${index}` : 'shop',
        scope: index % 2 === 0 ? 'NAMESPACE' : 'WORKLOAD_SELECTOR',
        action: 'DENY',
      }),
    );
    const readable = others.map(({ rules: _, ...rest }) => ({
      ...rest,
      get rules(): never {
        throw new Error(`the rules of ${rest.name} were read`);
      },
    }));
    expect(reasonOf(readable)).toBe('NONE');
    expect(() => reasonOf(readable, {}, ['shop/p1'])).toThrow('the rules of p1 were read');
  });

  it('depends on the policies of the mesh and of the namespace, even where there are none', () => {
    expect(judge([]).dependencies).toEqual(['global:', 'namespace:shop']);
  });

  it('is STRICT mutual TLS by the policy that Istio makes of it', () => {
    const strict = policyOf([[[{ notPrincipals: [presence] }]]], {
      action: 'DENY',
      scope: 'WORKLOAD_SELECTOR',
    });
    expect(reasonOf([strict], {}, ['shop/p'])).toBe('POLICY_DENIED');
    expect(reasonOf([strict], { principal: front }, ['shop/p'])).toBe('NONE');
  });
});
