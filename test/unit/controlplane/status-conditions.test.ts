import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import { StatusWishes } from '../../../src/controlplane/status-wishes.ts';
import { parseDocument } from '../../../src/source/kubernetes/objects.ts';
import type { InForce, RejectedObject, SourceObject } from '../../../src/source/object-source.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';

const origin = { file: 'test', document: 1, line: 1 };

function object(value: object): SourceObject {
  const parsed = parseDocument({ origin, value });
  if (parsed.kind !== 'object') throw new Error(JSON.stringify(parsed));
  return { id: parsed.key, object: parsed.object };
}

/** A mesh with namespace `shop`, and what is said of it. */
function follow(values: readonly object[], rejected: readonly RejectedObject[] = []) {
  const translation = new MeshTranslation(defaultMeshNames);
  const wishes = new StatusWishes(translation.objects, () => rejected);
  const shop = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
  translation.apply({ upserts: [shop, ...values].map(object), removals: [] });
  wishes.begin();
  const said = () =>
    Object.fromEntries(
      wishes
        .take()
        .filter(({ conditions: all }) => all.length > 0)
        .map(({ target, conditions: all }) => [`${target.kind}/${target.name}`, all]),
    );
  const change = (upserts: readonly object[], removals: readonly object[] = []) =>
    wishes.changed(
      translation.apply({ upserts: upserts.map(object), removals: removals.map((each) => object(each).id) }),
    );
  return { wishes, said, change };
}

/** Conditions by `Kind/name` of what is in namespace `shop`. */
const conditions = (values: readonly object[], rejected: readonly RejectedObject[] = []) =>
  follow(values, rejected).said();

const policy = (name: string, spec: object) => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name, namespace: 'shop' },
  spec,
});
const service = (name: string, labels: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'shop', labels },
  spec: { ports: [{ port: 80 }] },
});
const waypoint = (labels: Record<string, string>, addresses: object[] = [{ value: '10.0.0.9' }]) => ({
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'Gateway',
  metadata: { name: 'w', namespace: 'shop', labels },
  spec: { gatewayClassName: 'istio-waypoint', listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }] },
  status: { addresses },
});
const named = { 'istio.io/use-waypoint': 'w' };

describe('what a status says', () => {
  it('of a policy: that agents enforce it, or what of it they cannot', () => {
    const http = { to: [{ operation: { methods: ['GET'] } }] };
    const found = conditions([
      policy('plain', {}),
      policy('http', { rules: [http, { from: [{ source: { namespaces: ['a'] } }] }, http] }),
      policy('audit', { action: 'AUDIT' }),
      policy('custom', { action: 'CUSTOM' }),
    ]);
    expect(found['AuthorizationPolicy/plain']).toEqual([
      { type: 'ZtunnelAccepted', isTrue: true, reason: 'Accepted', message: 'enforced by agents' },
    ]);
    expect(found['AuthorizationPolicy/http']).toEqual([
      expect.objectContaining({ type: 'ZtunnelAccepted', isTrue: true, reason: 'UnsupportedValue' }),
    ]);
    expect(found['AuthorizationPolicy/audit']).toEqual([
      {
        type: 'ZtunnelAccepted',
        isTrue: true,
        reason: 'Accepted',
        message: 'refuses nothing; logs of agents and hadal explain tell what it matches',
      },
    ]);
    expect(found['AuthorizationPolicy/custom']).toEqual([
      expect.objectContaining({ type: 'ZtunnelAccepted', isTrue: false, reason: 'UnsupportedValue' }),
    ]);
  });

  it.each<[InForce, string]>([
    ['last good version', 'spec.action is "MAYBE"; spec.rules is 1; the last good version stays in force'],
    ['nothing', 'spec.action is "MAYBE"; spec.rules is 1; it was never good, so nothing of it is in force'],
    ['placeholder', 'spec.action is "MAYBE"; spec.rules is 1'],
  ])('of a bad one: all that is wrong with it, and what counts instead: %s', (inForce, message) => {
    const id = 'security.istio.io/v1/AuthorizationPolicy/shop/bad';
    const bad = { id, origin: 'test', inForce, generation: 7 };
    const rejected = [
      { ...bad, field: 'spec.action', reason: 'is "MAYBE"' },
      { ...bad, field: 'spec.rules', reason: 'is 1' },
    ];
    const { wishes } = follow([policy('bad', {})], rejected);
    expect(wishes.take()).toEqual([
      {
        target: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'bad' },
        conditions: [{ type: 'ZtunnelAccepted', isTrue: false, reason: 'Invalid', message }],
        generation: 7,
      },
    ]);
  });

  it('is weighed again where something changed that it depends on, and nowhere else', () => {
    const many = Array.from({ length: 50 }, (_, index) => service(`other-${index}`));
    const { wishes, said, change } = follow([...many, service('s', named), policy('p', {})]);
    expect(said()['Service/s']).toEqual([expect.objectContaining({ reason: 'WaypointIsNotReady' })]);
    const before = wishes.made;
    change([waypoint({})]);
    expect(said()).toEqual({ 'Service/s': [expect.objectContaining({ reason: 'WaypointAccepted' })] });
    wishes.judged(['security.istio.io/v1/AuthorizationPolicy/shop/p', 'v1/Pod/shop/none']);
    expect(Object.keys(said())).toEqual(['AuthorizationPolicy/p']);
    change([], [policy('p', {})]);
    expect(wishes.take()).toEqual([
      { target: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'p' }, conditions: [] },
    ]);
    expect(wishes.made - before).toBe(3);
  });

  it('is of the generation that was weighed', () => {
    const { wishes } = follow([
      { ...policy('p', {}), metadata: { ...policy('p', {}).metadata, generation: 3 } },
    ]);
    expect(wishes.take()).toEqual([expect.objectContaining({ generation: 3 })]);
  });

  it.each([
    ['nothing without a waypoint', service('s'), [], undefined],
    ['a waypoint that is not there', service('s', named), [], [false, 'WaypointIsNotReady']],
    ['one without an address', service('s', named), [waypoint({}, [])], [false, 'WaypointIsNotReady']],
    ['one that takes it', service('s', named), [waypoint({})], [true, 'WaypointAccepted']],
    [
      'one for workloads only',
      service('s', named),
      [waypoint({ 'istio.io/waypoint-for': 'workload' })],
      [false, 'UnsupportedTrafficType'],
    ],
    [
      'one in another namespace that does not allow this one',
      service('s', { ...named, 'istio.io/use-waypoint-namespace': 'infra' }),
      [
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'infra' } },
        { ...waypoint({}), metadata: { name: 'w', namespace: 'infra' } },
      ],
      [false, 'AttachmentDenied'],
    ],
  ] as const)('of a service: %s', (_, object, others, expected) => {
    const found = conditions([object, ...others])['Service/s'];
    expect(found?.map(({ isTrue, reason }) => [isTrue, reason])[0]).toEqual(expected);
    for (const { message } of found ?? []) expect(message).toMatch(/waypoint (shop|infra)\/w/);
  });
});
