import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import { statusWishes } from '../../../src/controlplane/status-conditions.ts';
import { parseDocument } from '../../../src/source/kubernetes/objects.ts';
import type { RejectedObject } from '../../../src/source/object-source.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';

const origin = { file: 'test', document: 1, line: 1 };

/** Conditions by `Kind/name` of what is in namespace `shop`. */
function conditions(values: readonly object[], rejected: readonly RejectedObject[] = []) {
  const translation = new MeshTranslation(defaultMeshNames);
  const upserts = [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, ...values].map(
    (value) => {
      const parsed = parseDocument({ origin, value });
      if (parsed.kind !== 'object') throw new Error(JSON.stringify(parsed));
      return { id: parsed.key, object: parsed.object };
    },
  );
  translation.apply({ upserts, removals: [] });
  const wishes = statusWishes(
    translation.objects.view(() => {}),
    rejected,
  );
  return Object.fromEntries(
    wishes.map(({ target, conditions: all }) => [`${target.kind}/${target.name}`, all]),
  );
}

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
    ]);
    expect(found['AuthorizationPolicy/plain']).toEqual([
      { type: 'ZtunnelAccepted', isTrue: true, reason: 'Accepted', message: 'enforced by agents' },
    ]);
    expect(found['AuthorizationPolicy/http']).toEqual([
      expect.objectContaining({ type: 'ZtunnelAccepted', isTrue: true, reason: 'UnsupportedValue' }),
    ]);
    expect(found['AuthorizationPolicy/audit']).toEqual([
      expect.objectContaining({ type: 'ZtunnelAccepted', isTrue: false, reason: 'UnsupportedValue' }),
    ]);
  });

  it('of a bad one: what is wrong with it', () => {
    const id = 'security.istio.io/v1/AuthorizationPolicy/shop/bad';
    const found = conditions([], [{ id, origin: 'test', field: 'spec.action', reason: 'is "MAYBE"' }]);
    expect(found['AuthorizationPolicy/bad']).toEqual([
      {
        type: 'ZtunnelAccepted',
        isTrue: false,
        reason: 'Invalid',
        message: 'spec.action is "MAYBE"; the last good version, if there was one, stays in force',
      },
    ]);
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
