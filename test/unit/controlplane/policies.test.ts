/** Policies and what names them, as objects come and go: what agents hold is always what all objects together make. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import { policyKey } from '../../../src/model/authorization.ts';
import type { MeshChange } from '../../../src/model/change.ts';
import { ManifestFiles } from '../../../src/source/directory/manifest-files.ts';
import type { KnownObject } from '../../../src/source/kubernetes/objects.ts';
import { objectId } from '../../../src/source/kubernetes/objects.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { translateObjects } from '../../../src/source/translate/mesh.ts';
import { authorizationPolicy, peerAuthentication } from '../source/policy/objects.ts';
import { namespace, pod } from './objects.ts';

function follow(translation: MeshTranslation) {
  const held = { policies: new Map<string, unknown>(), workloads: new Map<string, unknown>() };
  const take = (change: MeshChange) => {
    for (const each of change.policies.upserts) held.policies.set(policyKey(each), each);
    for (const name of change.policies.removals) held.policies.delete(name);
    for (const each of change.workloads.upserts) held.workloads.set(each.uid, each);
    for (const name of change.workloads.removals) held.workloads.delete(name);
  };
  const apply = (upserts: readonly KnownObject[], removals: readonly KnownObject[] = []) => {
    translation.apply({
      upserts: upserts.map((object) => ({ id: objectId(object), object })),
      removals: removals.map(objectId),
    });
    translation.work();
    const change = translation.take();
    take(change);
    return change;
  };
  return { held, apply };
}

const strict = 'istio-system/istio_converted_static_strict';
const front = pod('shop', 'front', { labels: { app: 'front' }, addresses: ['10.0.0.1'] });
const back = pod('shop', 'back', { labels: { app: 'back' }, addresses: ['10.0.0.2'] });
const selecting = { selector: { matchLabels: { app: 'front' } } };

describe('policies as objects come and go', () => {
  it('the strict policy stays until the last PeerAuthentication goes', () => {
    const { held, apply } = follow(new MeshTranslation(defaultMeshNames));
    const [one, other] = ['a', 'b'].map((name) => peerAuthentication({ mtls: { mode: 'STRICT' } }, { name }));
    if (one === undefined || other === undefined) throw new Error('two are made');
    apply([one, other]);
    expect([...held.policies.keys()]).toEqual([strict]);
    expect(apply([], [one]).policies).toEqual({ upserts: [], removals: [] });
    expect(apply([], [other]).policies.removals).toEqual([strict]);
  });

  it('a policy that comes touches the workloads that it selects, and no others', () => {
    const { apply } = follow(new MeshTranslation(defaultMeshNames));
    apply([front, back]);
    const policy = authorizationPolicy(selecting);
    const came = apply([policy]);
    expect(
      came.workloads.upserts.map(({ name, authorizationPolicies }) => [name, authorizationPolicies]),
    ).toEqual([['front', ['shop/p']]]);
    expect(apply([authorizationPolicy({}, { name: 'all' })]).workloads.upserts).toEqual([]);
    expect(
      apply([], [policy]).workloads.upserts.map(({ authorizationPolicies }) => authorizationPolicies),
    ).toEqual([[]]);
  });

  it('whatever the order, it is what all objects together make', () => {
    const labels = fc.constantFrom({ app: 'front' }, { app: 'back' });
    const place = fc.constantFrom('shop', 'bank', 'istio-system');
    const name = fc.constantFrom('a', 'b');
    const mode = fc.constantFrom('UNSET', 'PERMISSIVE', 'STRICT');
    const object: fc.Arbitrary<KnownObject> = fc.oneof(
      fc
        .tuple(place, name, fc.option(labels, { nil: undefined }), fc.constantFrom('ALLOW', 'DENY', 'AUDIT'))
        .map(([within, called, matchLabels, action]) =>
          authorizationPolicy(
            { ...(matchLabels === undefined ? {} : { selector: { matchLabels } }), action },
            { namespace: within, name: called },
          ),
        ),
      fc
        .tuple(place, name, fc.option(labels, { nil: undefined }), mode, mode)
        .map(([within, called, matchLabels, all, port]) =>
          peerAuthentication(
            {
              mtls: { mode: all },
              ...(matchLabels === undefined
                ? {}
                : { selector: { matchLabels }, portLevelMtls: { '80': { mode: port } } }),
            },
            { namespace: within, name: called },
          ),
        ),
      fc
        .tuple(place, name, labels)
        .map(([within, called, own]) => pod(within, called, { labels: own, addresses: ['10.0.0.1'] })),
      place.map((within) => namespace(within, true)),
    );
    const step = fc.record({ object, gone: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const { held, apply } = follow(new MeshTranslation(defaultMeshNames));
        const all = new Map<string, KnownObject>();
        for (const { object: each, gone } of steps) {
          if (gone) all.delete(objectId(each));
          else all.set(objectId(each), each);
          apply(gone ? [] : [each], gone ? [each] : []);
        }
        const whole = translateObjects([...all.values()]);
        const sorted = (entries: Iterable<[string, unknown]>) =>
          [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(sorted(held.policies)).toEqual(sorted(whole.policies.map((each) => [policyKey(each), each])));
        expect(sorted(held.workloads)).toEqual(sorted(whole.workloads.map((each) => [each.uid, each])));
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});

describe('a policy whose newest version is bad', () => {
  const text = (action: string) =>
    JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: 'shop' },
      spec: { action, rules: [{}] },
    });

  it('stays as it was, and is rejected by its name and field', () => {
    const files = new ManifestFiles();
    files.read('p.yaml', text('DENY'));
    expect(files.take().upserts).toHaveLength(1);
    files.read('p.yaml', text('REFUSE'));
    expect(files.take()).toEqual({ upserts: [], removals: [] });
    expect(files.rejected).toMatchObject([
      { id: 'security.istio.io/v1/AuthorizationPolicy/shop/p', field: 'spec.action' },
    ]);
    files.read('p.yaml', text('ALLOW'));
    expect(files.take().upserts).toMatchObject([{ object: { spec: { action: 'ALLOW' } } }]);
    expect(files.rejected).toEqual([]);
  });
});
