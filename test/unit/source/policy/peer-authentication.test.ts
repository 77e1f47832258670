import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KnownObject } from '../../../../src/source/kubernetes/objects.ts';
import { translateObjects } from '../../../../src/source/translate/mesh.ts';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import { policiesOf } from '../../../../src/source/translate/workload-policies.ts';
import { admits, authorizationPolicy, fields, type Json, outline, peerAuthentication } from './objects.ts';

const strict = 'istio-system/istio_converted_static_strict';
const modes = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] as const;
type Mode = (typeof modes)[number];

const mesh = (mode: Mode, metadata: Json = {}) =>
  peerAuthentication({ mtls: { mode } }, { name: 'mesh', namespace: 'istio-system', ...metadata });
const wide = (mode: Mode, metadata: Json = {}) =>
  peerAuthentication({ mtls: { mode } }, { name: 'wide', ...metadata });
const own = (mode: Mode, ports: Record<string, Mode> = {}, metadata: Json = {}) =>
  peerAuthentication(
    {
      selector: { matchLabels: { app: 'front' } },
      mtls: { mode },
      portLevelMtls: Object.fromEntries(Object.entries(ports).map(([port, each]) => [port, { mode: each }])),
    },
    { name: 'own', ...metadata },
  );
const at = (time: string) => ({ creationTimestamp: `2024-01-0${time}T00:00:00Z` });

const names = (...objects: KnownObject[]) =>
  policiesOf(viewOf(objects), { namespace: 'shop', labels: { app: 'front' } });
const converted = (...objects: KnownObject[]) =>
  translateObjects(objects).policies.find(({ name }) => name === 'converted_peer_authentication_own');
const noIdentity = { notPrincipals: [{ kind: 'presence' }] } as const;

describe('whether a workload must be called with an identity', () => {
  it.each<[string, KnownObject[], readonly string[]]>([
    ['nothing says so', [], []],
    ['the mesh says so', [mesh('STRICT')], [strict]],
    ['the mesh is permissive', [mesh('PERMISSIVE')], []],
    ['the mesh is disabled, which is permissive', [mesh('DISABLE')], []],
    ['the mesh says nothing', [mesh('UNSET')], []],
    ['the namespace says so', [wide('STRICT')], [strict]],
    ['the namespace says so, the mesh not', [mesh('PERMISSIVE'), wide('STRICT')], [strict]],
    ['the namespace does not, the mesh does', [mesh('STRICT'), wide('PERMISSIVE')], []],
    ['the namespace is disabled, the mesh strict', [mesh('STRICT'), wide('DISABLE')], []],
    ['the namespace says nothing, the mesh does', [mesh('STRICT'), wide('UNSET')], [strict]],
    ['the workload says so', [own('STRICT')], [strict]],
    ['the workload says so, the rest not', [mesh('PERMISSIVE'), wide('PERMISSIVE'), own('STRICT')], [strict]],
    ['the workload does not, the rest does', [mesh('STRICT'), wide('STRICT'), own('PERMISSIVE')], []],
    ['the workload is disabled, the rest strict', [mesh('STRICT'), wide('STRICT'), own('DISABLE')], []],
    ['the workload says nothing, its namespace does', [wide('STRICT'), own('UNSET')], [strict]],
    [
      'the workload says nothing, its namespace does not, the mesh does',
      [mesh('STRICT'), wide('PERMISSIVE'), own('UNSET')],
      [],
    ],
    ['neither says anything, the mesh does', [mesh('STRICT'), wide('UNSET'), own('UNSET')], [strict]],
    [
      'another workload says so',
      [peerAuthentication({ selector: { matchLabels: { app: 'x' } }, mtls: { mode: 'STRICT' } })],
      [],
    ],
    ['another namespace says so', [wide('STRICT', { namespace: 'bank' })], []],
    [
      'the root namespace says so for labels, which it cannot',
      [own('STRICT', {}, { namespace: 'istio-system' })],
      [],
    ],
    [
      'an empty selector is the whole namespace',
      [peerAuthentication({ selector: {}, mtls: { mode: 'STRICT' } })],
      [strict],
    ],
  ])('%s', (_, objects, expected) => {
    expect(names(...objects)).toEqual(expected);
    expect(admits(objects, {})).toBe(expected.length === 0);
    expect(admits(objects, { who: 'shop/front' })).toBe(true);
  });

  it.each<[string, KnownObject[], boolean]>([
    [
      'in the mesh',
      [mesh('PERMISSIVE', { name: 'a', ...at('2') }), mesh('STRICT', { name: 'b', ...at('1') })],
      true,
    ],
    [
      'in a namespace',
      [wide('STRICT', { name: 'a', ...at('2') }), wide('PERMISSIVE', { name: 'b', ...at('1') })],
      false,
    ],
    [
      'for a workload',
      [own('STRICT', {}, { name: 'b', ...at('1') }), own('PERMISSIVE', {}, { name: 'a', ...at('2') })],
      true,
    ],
    [
      'by name among those of one age',
      [wide('STRICT', { name: 'a', ...at('1') }), wide('PERMISSIVE', { name: 'b', ...at('1') })],
      true,
    ],
    [
      'by name where none says its age',
      [wide('PERMISSIVE', { name: 'a' }), wide('STRICT', { name: 'b' })],
      false,
    ],
    [
      'and one that does not say its age is the youngest',
      [wide('PERMISSIVE', { name: 'a' }), wide('STRICT', { name: 'b', ...at('1') })],
      true,
    ],
  ])('the oldest counts %s', (_, objects, isStrict) => {
    expect(admits(objects, {})).toBe(!isStrict);
    expect(admits(objects.toReversed(), {})).toBe(!isStrict);
  });
});

describe('ports that differ from the rest of their workload', () => {
  it.each<[string, KnownObject[], unknown]>([
    [
      'a lax port of a strict workload',
      [own('STRICT', { '80': 'PERMISSIVE' })],
      { ...noIdentity, notDestinationPorts: [80] },
    ],
    [
      'a disabled port of a strict workload',
      [own('STRICT', { '80': 'DISABLE' })],
      { ...noIdentity, notDestinationPorts: [80] },
    ],
    [
      'several lax ports, sorted by number',
      [own('STRICT', { '443': 'PERMISSIVE', '80': 'PERMISSIVE', '90': 'STRICT' })],
      { ...noIdentity, notDestinationPorts: [80, 443] },
    ],
    [
      'a strict port of a lax workload',
      [own('PERMISSIVE', { '80': 'STRICT', '81': 'DISABLE' })],
      { ...noIdentity, destinationPorts: [80] },
    ],
    [
      'a strict port of a disabled workload',
      [own('DISABLE', { '80': 'STRICT' })],
      { ...noIdentity, destinationPorts: [80] },
    ],
    [
      'a strict port of a workload that says nothing',
      [own('UNSET', { '80': 'STRICT' })],
      { ...noIdentity, destinationPorts: [80] },
    ],
    [
      'a lax port where the namespace is strict',
      [wide('STRICT'), own('UNSET', { '80': 'PERMISSIVE' })],
      { ...noIdentity, notDestinationPorts: [80] },
    ],
    [
      'a disabled port where the namespace is strict',
      [wide('STRICT'), own('UNSET', { '80': 'DISABLE' })],
      { ...noIdentity, notDestinationPorts: [80] },
    ],
    [
      'a lax port where the mesh is strict and the namespace silent',
      [mesh('STRICT'), wide('UNSET'), own('UNSET', { '80': 'PERMISSIVE' })],
      { ...noIdentity, notDestinationPorts: [80] },
    ],
    [
      'a strict port where the namespace is lax in a strict mesh',
      [mesh('STRICT'), wide('PERMISSIVE'), own('UNSET', { '80': 'STRICT' })],
      { ...noIdentity, destinationPorts: [80] },
    ],
  ])('%s', (_, objects, match) => {
    expect(outline(converted(...objects))).toEqual([[[match]]]);
    expect(converted(...objects)).toMatchObject({
      action: 'DENY',
      scope: 'WORKLOAD_SELECTOR',
      namespace: 'shop',
    });
    expect(names(...objects)).toEqual(['shop/converted_peer_authentication_own']);
  });

  it.each<[string, KnownObject[], readonly string[]]>([
    ['strict ports of a strict workload', [own('STRICT', { '80': 'STRICT' })], [strict]],
    ['lax ports of a lax workload', [own('PERMISSIVE', { '80': 'DISABLE' })], []],
    ['ports that say nothing', [own('STRICT', { '80': 'UNSET' })], [strict]],
    [
      'strict ports where the namespace is strict',
      [wide('STRICT'), own('UNSET', { '80': 'STRICT' })],
      [strict],
    ],
    ['lax ports where nothing is strict', [own('UNSET', { '80': 'PERMISSIVE' })], []],
    [
      'ports in the root namespace',
      [own('STRICT', { '80': 'PERMISSIVE' }, { namespace: 'istio-system' })],
      [],
    ],
  ])('do not: %s', (_, objects, expected) => {
    expect(converted(...objects)).toBeUndefined();
    expect(names(...objects)).toEqual(expected);
  });

  it('follow the namespace when it changes its mind', () => {
    const ports = own('UNSET', { '80': 'PERMISSIVE', '81': 'STRICT' });
    expect(outline(converted(wide('STRICT'), ports))).toEqual([
      [[fields({ ...noIdentity, notDestinationPorts: [80] })]],
    ]);
    expect(outline(converted(wide('PERMISSIVE'), ports))).toEqual([
      [[fields({ ...noIdentity, destinationPorts: [81] })]],
    ]);
  });
});

describe('the strict policy of the mesh', () => {
  const strictOnes = (objects: readonly KnownObject[]) =>
    translateObjects(objects).policies.filter(({ name }) => name === 'istio_converted_static_strict');

  it('is there with any PeerAuthentication, once, and not without', () => {
    expect(strictOnes([authorizationPolicy({})])).toEqual([]);
    expect(strictOnes([wide('PERMISSIVE', { namespace: 'bank' })])).toHaveLength(1);
    const [one, ...more] = strictOnes([
      wide('STRICT', { namespace: 'bank' }),
      wide('STRICT'),
      mesh('UNSET'),
      own('STRICT'),
    ]);
    expect(more).toEqual([]);
    expect(one).toMatchObject({
      namespace: 'istio-system',
      scope: 'WORKLOAD_SELECTOR',
      action: 'DENY',
      dryRun: false,
    });
    expect(outline(one)).toEqual([[[noIdentity]]]);
  });
});

describe('what is taken otherwise than written', () => {
  const warned = (object: KnownObject) => translateObjects([object]).warnings.map(({ field }) => field);
  it.each<[string, KnownObject, readonly string[]]>([
    ['DISABLE', wide('DISABLE'), ['spec.mtls.mode']],
    ['DISABLE of a port', own('STRICT', { '80': 'DISABLE' }), ['spec.portLevelMtls["80"].mode']],
    ['a selector in the root namespace', own('STRICT', {}, { namespace: 'istio-system' }), ['spec.selector']],
    ['nothing of the rest', own('STRICT', { '80': 'PERMISSIVE' }), []],
  ])('%s', (_, object, expected) => {
    expect(warned(object)).toEqual(expected);
  });
});

/** The words of the documentation, one after the other. */
function naiveMode(port: number, given: Record<'mesh' | 'wide' | 'own' | 'port', Mode | undefined>): Mode {
  const isSaid = (mode: Mode | undefined) => mode !== undefined && mode !== 'UNSET';
  if (port === 80 && given.own !== undefined && isSaid(given.port)) return given.port as Mode;
  return ([given.own, given.wide, given.mesh].find(isSaid) ?? 'PERMISSIVE') as Mode;
}

it('is decided as the documentation says it, for every combination of modes', { timeout: 60_000 }, () => {
  const mode = fc.option(fc.constantFrom(...modes), { nil: undefined });
  const given = fc.record({ mesh: mode, wide: mode, own: mode, port: mode });
  fc.assert(
    fc.property(given, fc.constantFrom(80, 81), (all, port) => {
      const objects = [
        ...(all.mesh === undefined ? [] : [mesh(all.mesh)]),
        ...(all.wide === undefined ? [] : [wide(all.wide)]),
        ...(all.own === undefined ? [] : [own(all.own, all.port === undefined ? {} : { '80': all.port })]),
      ];
      expect(admits(objects, { port })).toBe(naiveMode(port, all) !== 'STRICT');
      expect(admits(objects, { port, who: 'bank/teller' })).toBe(true);
    }),
    { numRuns: 250 },
  );
});
