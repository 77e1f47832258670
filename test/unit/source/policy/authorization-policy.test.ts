import { describe, expect, it } from 'vitest';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import { translateObject } from '../../../../src/source/translate/translators.ts';
import { policiesOf } from '../../../../src/source/translate/workload-policies.ts';
import {
  admits,
  authorizationPolicy,
  enforced,
  fields,
  type Json,
  outline,
  service,
  waypoint,
} from './objects.ts';

const from = (...sources: Json[]) => ({ from: sources.map((source) => ({ source })) });
const to = (...operations: Json[]) => ({ to: operations.map((operation) => ({ operation })) });
const when = (key: string, values: string[], notValues: string[] = []) => ({
  when: [{ key, values, notValues }],
});
const exact = (value: string) => ({ kind: 'exact', value }) as const;
const presence = { kind: 'presence' } as const;
const allow = (...rules: Json[]) => ({ action: 'ALLOW', rules });
const deny = (...rules: Json[]) => ({ action: 'DENY', rules });

describe('what a rule asks of a connection', () => {
  it.each<[string, Json, unknown]>([
    ['nothing: everything matches', {}, []],
    [
      'who: principals',
      from({ principals: ['td/ns/a/sa/b'] }),
      [[fields({ principals: [exact('td/ns/a/sa/b')] })]],
    ],
    ['who not: principals', from({ notPrincipals: ['*'] }), [[fields({ notPrincipals: [presence] })]]],
    ['from where: namespaces', from({ namespaces: ['a'] }), [[fields({ namespaces: [exact('a')] })]]],
    [
      'from where not: namespaces',
      from({ notNamespaces: ['a'] }),
      [[fields({ notNamespaces: [exact('a')] })]],
    ],
    [
      'accounts of the own namespace',
      from({ serviceAccounts: ['front'] }),
      [[fields({ serviceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] })]],
    ],
    [
      'accounts of another namespace',
      from({ serviceAccounts: ['bank/teller'] }),
      [[fields({ serviceAccounts: [{ namespace: 'bank', serviceAccount: 'teller' }] })]],
    ],
    [
      'accounts that it may not be',
      from({ notServiceAccounts: ['front', 'bank/teller'] }),
      [
        [
          fields({
            notServiceAccounts: [
              { namespace: 'shop', serviceAccount: 'front' },
              { namespace: 'bank', serviceAccount: 'teller' },
            ],
          }),
        ],
      ],
    ],
    [
      'an address',
      from({ ipBlocks: ['10.0.0.7'] }),
      [[fields({ sourceIps: [{ address: '10.0.0.7', length: 32 }] })]],
    ],
    [
      'a range, whose low bits are cleared',
      from({ ipBlocks: ['10.0.0.7/8'] }),
      [[fields({ sourceIps: [{ address: '10.0.0.0', length: 8 }] })]],
    ],
    [
      'ranges of both families, denied',
      from({ notIpBlocks: ['fd00::/8', '0.0.0.0/0'] }),
      [
        [
          fields({
            notSourceIps: [
              { address: 'fd00::', length: 8 },
              { address: '0.0.0.0', length: 0 },
            ],
          }),
        ],
      ],
    ],
    ['a port', to({ ports: ['80', '443'] }), [[fields({ destinationPorts: [80, 443] })]]],
    ['not a port', to({ notPorts: ['22'] }), [[fields({ notDestinationPorts: [22] })]]],
    [
      'both at once: one alternative with two fields',
      to({ ports: ['80'], notPorts: ['22'] }),
      [[fields({ destinationPorts: [80], notDestinationPorts: [22] })]],
    ],
    [
      'alternatives: one clause of several matches',
      from({ namespaces: ['a'] }, { namespaces: ['b'], ipBlocks: ['::1'] }),
      [
        [
          fields({ namespaces: [exact('a')] }),
          fields({ namespaces: [exact('b')], sourceIps: [{ address: '::1', length: 128 }] }),
        ],
      ],
    ],
    [
      'from, to and when: one clause each',
      { ...from({ namespaces: ['a'] }), ...to({ ports: ['80'] }), ...when('source.ip', ['10.0.0.1']) },
      [
        [fields({ destinationPorts: [80] })],
        [fields({ namespaces: [exact('a')] })],
        [fields({ sourceIps: [{ address: '10.0.0.1', length: 32 }] })],
      ],
    ],
    [
      'several conditions: one clause each, as all must hold',
      {
        when: [
          { key: 'destination.port', values: ['80'] },
          { key: 'destination.port', notValues: ['22'] },
        ],
      },
      [[fields({ destinationPorts: [80] })], [fields({ notDestinationPorts: [22] })]],
    ],
    [
      'condition source.namespace',
      when('source.namespace', ['a'], ['b']),
      [[fields({ namespaces: [exact('a')], notNamespaces: [exact('b')] })]],
    ],
    [
      'condition source.principal',
      when('source.principal', ['*'], ['x']),
      [[fields({ principals: [presence], notPrincipals: [exact('x')] })]],
    ],
    [
      'condition source.ip',
      when('source.ip', ['10.0.0.0/8'], ['10.0.0.1']),
      [
        [
          fields({
            sourceIps: [{ address: '10.0.0.0', length: 8 }],
            notSourceIps: [{ address: '10.0.0.1', length: 32 }],
          }),
        ],
      ],
    ],
    [
      'condition destination.ip',
      when('destination.ip', ['10.0.0.0/8'], ['10.0.0.1']),
      [
        [
          fields({
            destinationIps: [{ address: '10.0.0.0', length: 8 }],
            notDestinationIps: [{ address: '10.0.0.1', length: 32 }],
          }),
        ],
      ],
    ],
    [
      'condition destination.port',
      when('destination.port', ['80'], ['81']),
      [[fields({ destinationPorts: [80], notDestinationPorts: [81] })]],
    ],
  ])('%s', (_, rule, clauses) => {
    expect(outline(enforced(allow(rule)))).toEqual([clauses]);
    expect(outline(enforced(deny(rule)))).toEqual([clauses]);
  });
});

describe('how texts are compared', () => {
  it.each([
    ['*', presence],
    ['*x', { kind: 'suffix', value: 'x' }],
    ['x*', { kind: 'prefix', value: 'x' }],
    ['x', exact('x')],
    ['x*y', exact('x*y')],
    ['*x*', { kind: 'suffix', value: 'x*' }],
    ['**', { kind: 'suffix', value: '*' }],
  ])('%s', (text, match) => {
    for (const field of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']) {
      expect(outline(enforced(allow(from({ [field]: [text] }))))).toEqual([[[{ [field]: [match] }]]]);
    }
    expect(outline(enforced(deny(when('source.namespace', [text]))))).toEqual([[[{ namespaces: [match] }]]]);
  });
});

describe('whom a policy is for', () => {
  const selector = { selector: { matchLabels: { app: 'front', tier: 'web' } } };
  const root = { namespace: 'istio-system' };
  it.each<[string, Json, Json, string]>([
    ['its namespace', {}, {}, 'NAMESPACE'],
    ['the mesh, in the root namespace', {}, root, 'GLOBAL'],
    ['workloads with its labels', selector, {}, 'WORKLOAD_SELECTOR'],
    ['workloads with its labels in any namespace', selector, root, 'WORKLOAD_SELECTOR'],
    ['its namespace, when its selector has no labels', { selector: { matchLabels: {} } }, {}, 'NAMESPACE'],
    ['the mesh, when its selector has no labels', { selector: {} }, root, 'GLOBAL'],
  ])('%s', (_, spec, metadata, scope) => {
    expect(enforced(spec, metadata)?.scope).toBe(scope);
  });

  const policies = [
    authorizationPolicy(selector, { name: 'both' }),
    authorizationPolicy({ selector: { matchLabels: { app: 'front' } } }, { name: 'app' }),
    authorizationPolicy({ selector: { matchLabels: { app: 'front' } } }, { name: 'app', ...root }),
    authorizationPolicy({ selector: { matchLabels: { app: 'front' } } }, { name: 'app', namespace: 'bank' }),
    authorizationPolicy({}, { name: 'all' }),
    authorizationPolicy({}, { name: 'mesh', ...root }),
    authorizationPolicy(
      { selector: { matchLabels: { app: 'front' } }, action: 'CUSTOM' },
      { name: 'custom' },
    ),
    authorizationPolicy({ selector: { matchLabels: { app: 'front' } }, action: 'AUDIT' }, { name: 'audit' }),
    authorizationPolicy(
      { selector: { matchLabels: { app: 'front' } } },
      { name: 'trial', annotations: { 'istio.io/dry-run': 'true' } },
    ),
  ];
  it.each<[string, string, Record<string, string>, string[]]>([
    ['nothing selects', 'shop', { app: 'back' }, []],
    ['no label', 'shop', {}, []],
    [
      'one of two labels',
      'shop',
      { app: 'front' },
      ['istio-system/app', 'shop/app', 'shop/audit', 'shop/trial'],
    ],
    [
      'all labels and more',
      'shop',
      { app: 'front', tier: 'web', x: 'y' },
      ['istio-system/app', 'shop/app', 'shop/audit', 'shop/both', 'shop/trial'],
    ],
    ['another namespace', 'bank', { app: 'front' }, ['bank/app', 'istio-system/app']],
    ['the root namespace itself', 'istio-system', { app: 'front' }, ['istio-system/app']],
  ])('names for a workload with %s', (_, namespace, labels, names) => {
    expect(policiesOf(viewOf(policies), { namespace, labels })).toEqual(names);
  });

  it('gives a name for no policy that agents do not get', () => {
    const view = viewOf(policies);
    const known = policies.flatMap((policy) =>
      translateObject(policy, view).policies.map((each) => `${each.namespace}/${each.name}`),
    );
    const named = ['shop', 'bank', 'istio-system'].flatMap((namespace) =>
      policiesOf(view, { namespace, labels: { app: 'front', tier: 'web' } }),
    );
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('a policy that agents do not get', () => {
  const warningsOf = (spec: Json, ...others: Parameters<typeof viewOf>[0]) => {
    const policy = authorizationPolicy(spec);
    const { policies, warnings } = translateObject(policy, viewOf([policy, ...others]));
    return { policies, fields: warnings.map(({ field }) => field), text: warnings[0]?.reason };
  };

  it('is one of action CUSTOM, with a warning that it is not enforced', () => {
    expect(warningsOf({ action: 'CUSTOM', rules: [{}] })).toEqual({
      policies: [],
      fields: ['spec.action'],
      text: expect.stringContaining('CUSTOM is not supported by agents'),
    });
  });
  it('is none of action AUDIT, which they tell of: sent as a dry run, with all of a rule that is not HTTP', () => {
    const http = { to: [{ operation: { ports: ['80'], paths: ['/admin'] } }] };
    expect(warningsOf({ action: 'AUDIT', rules: [{}] })).toMatchObject({
      policies: [{ action: 'AUDIT', dryRun: true }],
      fields: [],
    });
    const { policies, fields: at, text } = warningsOf({ action: 'AUDIT', rules: [http] });
    expect(outline(policies[0])).toEqual([[[fields({ destinationPorts: [80] })]]]);
    expect([at, text]).toEqual([['spec.rules[0]'], expect.stringContaining('more than written')]);
  });

  const target = { targetRefs: [{ kind: 'Service', name: 'front' }] };
  it('is one of a target with a waypoint, without a warning', () => {
    const front = service('front', { 'istio.io/use-waypoint': 'w' });
    expect(warningsOf(target, front, waypoint('w'))).toEqual({ policies: [], fields: [], text: undefined });
  });
  it('is one of a target whose waypoint is not there, with a warning', () => {
    const front = service('front', { 'istio.io/use-waypoint': 'w' });
    expect(warningsOf(target, front).text).toContain('there is no such Gateway');
  });
  it('is one of a target without a waypoint, with a warning', () => {
    const { policies, fields: at, text } = warningsOf(target, service('front'));
    expect([policies, at]).toEqual([[], ['spec.targetRefs[0]']]);
    expect(text).toContain('Service shop/front has no waypoint');
  });
  it('is one of a target that is not there, with a warning', () => {
    expect(warningsOf(target).text).toContain('there is no Service shop/front');
  });
  it.each<[string, Json, Json, string | undefined]>([
    ['a Gateway that is there', { kind: 'Gateway', name: 'w' }, {}, undefined],
    ['a Gateway that is not there', { kind: 'Gateway', name: 'x' }, {}, 'there is no Gateway shop/x'],
    [
      'a ServiceEntry that is not there',
      { kind: 'ServiceEntry', name: 'x' },
      {},
      'there is no ServiceEntry shop/x',
    ],
    [
      'a GatewayClass outside the root namespace',
      { kind: 'GatewayClass', name: 'c' },
      {},
      'a GatewayClass can only be named in the root namespace istio-system',
    ],
    [
      'a GatewayClass that is not there',
      { kind: 'GatewayClass', name: 'c' },
      { namespace: 'istio-system' },
      'there is no GatewayClass c',
    ],
  ])('is one of %s', (_, ref, metadata, why) => {
    const policy = authorizationPolicy({ targetRefs: [ref] }, metadata);
    const { policies: none, warnings } = translateObject(policy, viewOf([policy, waypoint('w')]));
    expect(none).toEqual([]);
    if (why === undefined) expect(warnings).toEqual([]);
    else expect(warnings[0]?.reason).toContain(why);
  });
  it('is one of targets, each with its own warning', () => {
    const targets = { targetRefs: [...target.targetRefs, { kind: 'Moon', name: 'x' }] };
    expect(warningsOf(targets).fields).toEqual(['spec.targetRefs[0]', 'spec.targetRefs[1]']);
  });
  it('is one of a target in another namespace, with a warning', () => {
    const away = { targetRefs: [{ kind: 'Service', name: 'front', namespace: 'bank' }] };
    expect(warningsOf(away).text).toContain('another namespace');
  });
  it('never selects workloads either: a denial of a waypoint denies no connection', () => {
    const policy = authorizationPolicy({ ...target, action: 'DENY', rules: [{}] });
    expect(admits([policy, service('front')], {})).toBe(true);
  });
});

describe('a dry run', () => {
  it.each([
    ['true', true],
    ['True', true],
    ['1', true],
    ['false', false],
    ['yes', false],
    ['', false],
  ])('with annotation %j is %s', (value, dryRun) => {
    expect(enforced({}, { annotations: { 'istio.io/dry-run': value } })?.dryRun).toBe(dryRun);
  });
  it('is not one without the annotation', () => {
    expect(enforced({})?.dryRun).toBe(false);
  });
  it('denies nothing', () => {
    const spec = { action: 'DENY', rules: [{}] };
    expect(admits([authorizationPolicy(spec, { annotations: { 'istio.io/dry-run': 'true' } })], {})).toBe(
      true,
    );
    expect(admits([authorizationPolicy(spec)], {})).toBe(false);
  });
});
