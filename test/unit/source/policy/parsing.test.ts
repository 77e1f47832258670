import { describe, expect, it } from 'vitest';
import { parseDocument } from '../../../../src/source/kubernetes/objects.ts';
import { document, type Json } from './objects.ts';

const origin = { file: 'a.yaml', document: 1, line: 1 };
const parse = (value: unknown) => parseDocument({ origin, value });
const fieldsOf = (value: unknown) => {
  const parsed = parse(value);
  return parsed.kind === 'rejected' ? [...new Set(parsed.rejections.map(({ field }) => field))] : parsed.kind;
};

const rule = (part: Json) => ({ rules: [part] });
const from = (source: unknown) => rule({ from: [{ source }] });
const to = (operation: unknown) => rule({ to: [{ operation }] });
const when = (condition: unknown) => rule({ when: [condition] });

describe('an AuthorizationPolicy is accepted', () => {
  it.each<[string, unknown]>([
    ['without spec', undefined],
    ['with an empty spec', {}],
    ['with null for what it leaves out', { selector: null, rules: null, targetRef: null }],
    ['with a rule that asks nothing', rule({})],
    ['with a selector', { selector: { matchLabels: { app: 'front' } } }],
    ['with a selector without labels', { selector: {} }],
    ['of each action', { action: 'AUDIT', ...rule({}) }],
    ['of a provider', { action: 'CUSTOM', provider: { name: 'x' }, ...rule({}) }],
    ['for a target', { targetRefs: [{ kind: 'Service', name: 'front' }] }],
    [
      'for one target, as it was written once',
      { targetRef: { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'w' } },
    ],
    ['with single addresses and ranges', from({ ipBlocks: ['10.0.0.1', '10.0.0.0/8', 'fd00::/8', '::1'] })],
    ['with ports as text', to({ ports: ['1', '65535'], notPorts: ['80'] })],
    ['with accounts of both forms', from({ serviceAccounts: ['front', 'other/front'] })],
    ['with conditions that only HTTP shows', when({ key: 'request.headers[x]', values: ['a'] })],
    ['with a condition that nobody knows', when({ key: 'moon.phase', notValues: ['full'] })],
  ])('%s', (_, spec) => {
    expect(parse(document('AuthorizationPolicy', spec))).toMatchObject({ kind: 'object' });
  });

  it('under its older version as the same object', () => {
    const [older, newer] = ['v1beta1', 'v1'].map((version) =>
      parse(document('AuthorizationPolicy', {}, {}, version)),
    );
    expect(older).toEqual(newer);
    expect(older?.key).toBe('security.istio.io/v1/AuthorizationPolicy/shop/p');
  });
});

describe('an AuthorizationPolicy is rejected, by its field,', () => {
  it.each<[string, unknown, string]>([
    ['with a field that nobody knows', { rule: [] }, 'spec'],
    ['with an action that nobody knows', { action: 'REFUSE' }, 'spec.action'],
    ['with an action in small letters', { action: 'deny' }, 'spec.action'],
    ['with a selector of expressions', { selector: { matchExpressions: [] } }, 'spec.selector'],
    [
      'with a wildcard in a label',
      { selector: { matchLabels: { app: 'f*' } } },
      'spec.selector.matchLabels.app',
    ],
    [
      'with a label that is no text',
      { selector: { matchLabels: { on: true } } },
      'spec.selector.matchLabels.on',
    ],
    [
      'with both a selector and a target',
      { selector: { matchLabels: { a: 'b' } }, targetRefs: [{ kind: 'Service', name: 'x' }] },
      'spec',
    ],
    ['with a target without a name', { targetRefs: [{ kind: 'Service' }] }, 'spec.targetRefs[0].name'],
    ['with an empty list of sources', rule({ from: [] }), 'spec.rules[0].from'],
    ['with an empty list of operations', rule({ to: [] }), 'spec.rules[0].to'],
    ['with a source that is missing', rule({ from: [{}] }), 'spec.rules[0].from[0].source'],
    ['with a source that names nothing', from({}), 'spec.rules[0].from[0].source'],
    ['with a source of empty lists', from({ principals: [] }), 'spec.rules[0].from[0].source'],
    ['with a misspelt source', from({ principal: ['x'] }), 'spec.rules[0].from[0].source'],
    ['with an operation that names nothing', to({}), 'spec.rules[0].to[0].operation'],
    ['with a misspelt operation', to({ port: ['80'] }), 'spec.rules[0].to[0].operation'],
    ['with a misspelt part of a rule', rule({ form: [] }), 'spec.rules[0]'],
    ['with a rule that is null', { rules: [null] }, 'spec.rules[0]'],
    ['with an empty principal', from({ principals: [''] }), 'spec.rules[0].from[0].source.principals[0]'],
    ['with text for a list', from({ principals: 'x' }), 'spec.rules[0].from[0].source.principals'],
    [
      'with a range that is none',
      from({ ipBlocks: ['10.0.0.0/33'] }),
      'spec.rules[0].from[0].source.ipBlocks[0]',
    ],
    [
      'with a name for an address',
      from({ notIpBlocks: ['front'] }),
      'spec.rules[0].from[0].source.notIpBlocks[0]',
    ],
    [
      'with an account in two namespaces',
      from({ serviceAccounts: ['a/b/c'] }),
      'spec.rules[0].from[0].source.serviceAccounts[0]',
    ],
    [
      'with a wildcard account',
      from({ serviceAccounts: ['shop/*'] }),
      'spec.rules[0].from[0].source.serviceAccounts[0]',
    ],
    [
      'with accounts beside principals',
      from({ serviceAccounts: ['a'], principals: ['b'] }),
      'spec.rules[0].from[0].source',
    ],
    [
      'with accounts beside namespaces',
      from({ serviceAccounts: ['a'], namespaces: ['b'] }),
      'spec.rules[0].from[0].source',
    ],
    [
      'with accounts beside namespaces, both denied',
      from({ notServiceAccounts: ['a'], notNamespaces: ['b'] }),
      'spec.rules[0].from[0].source',
    ],
    ['with a port that is a number', to({ ports: [80] }), 'spec.rules[0].to[0].operation.ports[0]'],
    ['with port 0', to({ ports: ['0'] }), 'spec.rules[0].to[0].operation.ports[0]'],
    ['with port 65536', to({ ports: ['65536'] }), 'spec.rules[0].to[0].operation.ports[0]'],
    ['with a port by name', to({ notPorts: ['http'] }), 'spec.rules[0].to[0].operation.notPorts[0]'],
    ['with a condition without key', when({ values: ['a'] }), 'spec.rules[0].when[0].key'],
    ['with a condition without values', when({ key: 'source.ip' }), 'spec.rules[0].when[0]'],
    [
      'with a condition of a bad address',
      when({ key: 'source.ip', values: ['x'] }),
      'spec.rules[0].when[0].values[0]',
    ],
    [
      'with a condition of a bad range, denied',
      when({ key: 'destination.ip', notValues: ['10.0.0.1', 'x/8'] }),
      'spec.rules[0].when[0].notValues[1]',
    ],
    [
      'with a condition of a bad port',
      when({ key: 'destination.port', values: ['http'] }),
      'spec.rules[0].when[0].values[0]',
    ],
  ])('%s', (_, spec, field) => {
    expect(fieldsOf(document('AuthorizationPolicy', spec))).toEqual([field]);
  });

  it('and says what stood there', () => {
    const parsed = parse(document('AuthorizationPolicy', to({ ports: [80] })));
    expect(parsed).toMatchObject({
      rejections: [
        { object: 'AuthorizationPolicy shop/p', reason: 'is 80: must be text; quote it, as in "80"' },
      ],
    });
  });
});

describe('a PeerAuthentication', () => {
  it.each<[string, unknown]>([
    ['without spec', undefined],
    ['with an empty spec', {}],
    ['of each mode', { mtls: { mode: 'DISABLE' } }],
    ['with mtls that is null', { mtls: null }],
    [
      'with ports',
      { selector: { matchLabels: { a: 'b' } }, portLevelMtls: { '80': { mode: 'STRICT' }, '81': {} } },
    ],
    [
      'with ports that are numbers, as YAML reads them',
      { selector: { matchLabels: { a: 'b' } }, portLevelMtls: { 80: { mode: 'STRICT' } } },
    ],
  ])('%s is accepted', (_, spec) => {
    expect(parse(document('PeerAuthentication', spec))).toMatchObject({ kind: 'object' });
  });

  it.each<[string, unknown, string]>([
    ['with a mode that nobody knows', { mtls: { mode: 'ON' } }, 'spec.mtls.mode'],
    ['with a field that nobody knows', { tls: {} }, 'spec'],
    ['with ports of no workload', { portLevelMtls: { '80': { mode: 'STRICT' } } }, 'spec.portLevelMtls'],
    [
      'with a port by name',
      { selector: { matchLabels: { a: 'b' } }, portLevelMtls: { http: {} } },
      'spec.portLevelMtls.http',
    ],
    [
      'with port 65536',
      { selector: { matchLabels: { a: 'b' } }, portLevelMtls: { '65536': {} } },
      'spec.portLevelMtls.65536',
    ],
  ])('%s is rejected, by its field', (_, spec, field) => {
    expect(fieldsOf(document('PeerAuthentication', spec))).toEqual([field]);
  });
});

describe('what was parsed has the form of what was written', () => {
  const labels = { selector: { matchLabels: { app: 'front' } } };
  const full = {
    from: [{ source: { principals: ['a'], notIpBlocks: ['10.0.0.0/8'] } }],
    to: [{ operation: { ports: ['80'] } }],
    when: [{ key: 'source.ip', values: ['::1'] }],
  };
  it.each<[string, Json]>([
    ['AuthorizationPolicy', document('AuthorizationPolicy', undefined)],
    [
      'AuthorizationPolicy with everything',
      document('AuthorizationPolicy', { ...labels, rules: [full, {}] }),
    ],
    ['one of a target', document('AuthorizationPolicy', { targetRef: { kind: 'Gateway', name: 'w' } })],
    ['one of its older version', document('AuthorizationPolicy', {}, {}, 'v1beta1')],
    ['PeerAuthentication', document('PeerAuthentication', { mtls: null })],
    [
      'PeerAuthentication of ports',
      document('PeerAuthentication', { ...labels, mtls: { mode: 'STRICT' }, portLevelMtls: { '80': {} } }),
    ],
  ])('%s', (_, written) => {
    const parsed = parse(written);
    if (parsed.kind !== 'object') throw new Error('it is refused');
    expect(parse(JSON.parse(JSON.stringify(parsed.object)))).toEqual(parsed);
  });
});
