import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/model/address.ts';
import type { Authorization } from '../../../src/model/authorization.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { parseSpiffeId } from '../../../src/model/spiffe-id.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { evaluate } from '../../../src/policy/evaluate.ts';
import { explain } from '../../../src/policy/explain.ts';
import { authorization } from '../../fixtures/policy-cases/policy-case.ts';

const front = 'spiffe://cluster.local/ns/shop/sa/front';

function sentences(policies: readonly Authorization[], id = front, named: readonly string[] = []) {
  const [source, destination] = [parseAddress('10.0.0.1'), parseAddress('10.0.1.7')];
  if (source === undefined || destination === undefined) throw new Error('no address');
  const facts = {
    identity: parseSpiffeId(id),
    sourceAddress: source,
    destinationAddress: destination,
    destinationPort: 80,
  };
  const workload = createWorkload({ uid: 'w', namespace: 'shop', authorizationPolicies: named });
  const snapshot = createSnapshot({ workloads: [], services: [], policies });
  return explain(evaluate(snapshot, workload, facts), facts);
}

const all = [[]];
const on81 = [[[{ destinationPorts: [81] }]]];
const last = (...given: Parameters<typeof sentences>) => sentences(...given).at(-1);

describe('explain', () => {
  it('begins with who asks', () => {
    expect(sentences([])[0]).toBe(`policies are asked for ${front} from 10.0.0.1 to 10.0.1.7 port 80`);
    expect(sentences([], '')[0]).toBe(
      'policies are asked for a peer without identity from 10.0.0.1 to 10.0.1.7 port 80',
    );
  });

  it.each<[string, Authorization[], string]>([
    ['that nothing applies', [], 'no DENY policy and no ALLOW policy applies: allowed'],
    [
      'that nothing matches',
      [authorization(on81, { action: 'DENY' })],
      'none of the DENY policies shop/p matches and no ALLOW policy applies: allowed',
    ],
    ['what allows', [authorization([...on81, []])], 'ALLOW policy shop/p matches by rule 2: allowed'],
    [
      'what denies',
      [authorization(all, { action: 'DENY' })],
      'DENY policy shop/p matches by rule 1: refused',
    ],
    [
      'that nothing allows',
      [authorization(on81), authorization(on81, { name: 'q' })],
      'none of the ALLOW policies shop/p, shop/q matches: refused',
    ],
    [
      'what is not understood',
      [authorization([], { notUnderstood: 'rule 1: a new field' })],
      'policy shop/p, for all workloads of namespace shop, is not understood here (rule 1: a new field): refused until it is, or is removed',
    ],
  ])('ends with %s', (_, policies, sentence) => {
    expect(last(policies)).toBe(sentence);
  });

  it('names a policy that the workload names and nobody knows', () => {
    expect(last([], front, ['shop/gone'])).toBe(
      'the workload names policy shop/gone, which is not known here: refused until it is',
    );
  });

  it('names the first of many policies and how many more there are', () => {
    const many = Array.from({ length: 20 }, (_, index) =>
      authorization(on81, { name: `p${String(index).padStart(2, '0')}` }),
    );
    expect(last(many)).toMatch(
      /^none of the ALLOW policies shop\/p00, .*, shop\/p07 and 12 more matches: refused$/,
    );
  });

  it('tells what would become of the connection if dry runs were enforced, where that differs', () => {
    const would = (...policies: Authorization[]) =>
      sentences(policies).filter((sentence) => sentence.startsWith('dry run: were'));
    const dryRun = true;
    const refused = 'dry run: were all of them enforced, the connection would be refused';
    expect(would(authorization(all, { action: 'DENY', dryRun }))).toEqual([`${refused} by policy shop/p`]);
    expect(would(authorization(on81, { dryRun }))).toEqual([`${refused} as no ALLOW policy matches`]);
    expect(would(authorization([], { dryRun, notUnderstood: 'new' }))).toEqual([
      `${refused} by policy shop/p`,
    ]);
    expect(would(authorization(on81), authorization(all, { name: 'q', dryRun }))).toEqual([
      'dry run: were all of them enforced, the connection would be allowed by policy shop/q',
    ]);
    expect(would(authorization(on81, { action: 'DENY', dryRun }))).toEqual([]);
    expect(would(authorization(all, { action: 'AUDIT' }))).toEqual([]);
  });

  it('tells of dry runs and audits before the verdict', () => {
    const policies = [
      authorization(all, { name: 'a', action: 'DENY', dryRun: true }),
      authorization(on81, { name: 'b', dryRun: true }),
      authorization(all, { name: 'c', action: 'AUDIT' }),
      authorization(on81, { name: 'd', action: 'AUDIT' }),
      authorization([], { name: 'e', action: 'DENY', dryRun: true, notUnderstood: 'a new field' }),
    ];
    expect(sentences(policies).slice(1, 6)).toEqual([
      'dry run: DENY policy shop/a would match by rule 1; not enforced',
      'dry run: ALLOW policy shop/b would not match; not enforced',
      'audit: policy shop/c matches by rule 1; not enforced',
      'audit: policy shop/d does not match; not enforced',
      'dry run: policy shop/e is not understood here (a new field); not enforced',
    ]);
  });
});
