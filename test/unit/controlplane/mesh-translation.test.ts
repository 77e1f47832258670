import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import { meshTranslators, type Translators } from '../../../src/controlplane/translators.ts';
import { policyKey } from '../../../src/model/authorization.ts';
import type { MeshChange } from '../../../src/model/change.ts';
import { serviceKey } from '../../../src/model/service.ts';
import type { ObjectChange, SourceObject } from '../../../src/source/object-source.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { namespace, pod, service, sourceObject } from './objects.ts';

/** What somebody who applies every change holds in the end. */
class Follower {
  readonly workloads = new Map<string, unknown>();
  readonly services = new Map<string, unknown>();
  readonly policies = new Map<string, unknown>();

  apply(change: MeshChange): void {
    for (const each of change.workloads.upserts) this.workloads.set(each.uid, each);
    for (const each of change.services.upserts) this.services.set(serviceKey(each), each);
    for (const each of change.policies.upserts) this.policies.set(policyKey(each), each);
    for (const kind of ['workloads', 'services', 'policies'] as const)
      for (const name of change[kind].removals) this[kind].delete(name);
  }

  get sorted() {
    const sorted = (map: Map<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
    return [sorted(this.workloads), sorted(this.services), sorted(this.policies)];
  }
}

function upserts(...objects: SourceObject[]): ObjectChange {
  return { upserts: objects, removals: [] };
}

function changed(translation: MeshTranslation, change: ObjectChange): MeshChange {
  translation.apply(change);
  translation.work();
  return translation.take();
}

const held = { 'ambient.istio.io/redirection': 'enabled' };
const names = fc.constantFrom('a', 'b', 'c');
const namespaces = fc.constantFrom('shop', 'bank');
const created = fc.constantFrom(undefined, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z');
const colours = fc.constantFrom({ app: 'red' }, { app: 'blue' });
const object = fc.oneof(
  fc.record({ ns: namespaces, ambient: fc.boolean() }).map(({ ns, ambient }) => namespace(ns, ambient)),
  fc
    .record({ ns: namespaces, name: names, labels: colours, ready: fc.boolean(), created, ip: fc.nat(3) })
    .map(({ ns, name, labels, ready, created: at, ip }) =>
      pod(ns, name, {
        labels,
        ready,
        created: at,
        annotations: held,
        addresses: ip === 0 ? [] : [`10.0.0.${ip}`],
      }),
    ),
  fc
    .record({ ns: namespaces, name: names, selector: colours, created })
    .map(({ ns, name, selector, created: at }) => service(ns, name, { selector, created: at })),
);
const step = fc.oneof(
  { weight: 3, arbitrary: object.map((each) => ({ put: sourceObject(each) })) },
  { weight: 1, arbitrary: object.map((each) => ({ remove: sourceObject(each).id })) },
);

describe('an incremental translation', () => {
  it('ends with what a translation from scratch gives, after any history', () => {
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 25 }), (history) => {
        const incremental = new MeshTranslation(defaultMeshNames);
        const follower = new Follower();
        const objects = new Map<string, SourceObject>();
        for (const steps of history) {
          const change = lastOfEach(steps);
          for (const each of change.upserts) objects.set(each.id, each);
          for (const id of change.removals) objects.delete(id);
          follower.apply(changed(incremental, change));
        }
        const scratch = new Follower();
        scratch.apply(changed(new MeshTranslation(defaultMeshNames), upserts(...objects.values())));
        expect(follower.sorted).toEqual(scratch.sorted);
      }),
      { numRuns: 300 },
    );
  });

  it('is the same whatever the order in which objects come, also when two claim one name', () => {
    // Two kinds that give one resource: as a Service and a ServiceEntry of one host do.
    const translators: Translators = {
      ...meshTranslators,
      ServiceAccount: (account, view) =>
        meshTranslators.Service?.(
          service('shop', 'a', {
            created: account.metadata.creationTimestamp,
            port: account.metadata.name.length,
          }),
          view,
        ) ?? {},
    };
    const account = (name: string, created?: string) =>
      sourceObject({
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name, namespace: 'shop', creationTimestamp: created },
      });
    const all = [
      sourceObject(service('shop', 'a', { created: '2026-01-03T00:00:00Z', port: 80 })),
      account('x'.repeat(9), '2026-01-02T00:00:00Z'),
      account('y'.repeat(8), '2026-01-02T00:00:00Z'),
      account('z'),
    ];
    const portOf = (order: SourceObject[]) => {
      const translation = new MeshTranslation(defaultMeshNames, translators);
      const follower = new Follower();
      for (const each of order) follower.apply(changed(translation, upserts(each)));
      expect(translation.conflicts).toEqual([
        {
          kind: 'services',
          name: 'shop/a.shop.svc.cluster.local',
          objects: [all[1]?.id, all[2]?.id, all[0]?.id, all[3]?.id],
        },
      ]);
      return follower.sorted;
    };
    const first = portOf(all);
    expect(first).toMatchObject([[], [[expect.anything(), { ports: [{ servicePort: 9 }] }]], []]);
    expect(portOf([...all].reverse())).toEqual(first);
  });

  it('gives the name to the next one when the object that had it goes', () => {
    const translation = new MeshTranslation(defaultMeshNames);
    const old = {
      ...sourceObject(pod('shop', 'a', { addresses: ['10.0.0.1'], created: '2026-01-01T00:00:00Z' })),
      id: 'v0/Pod/shop/a',
    };
    const later = sourceObject(
      pod('shop', 'a', { addresses: ['10.0.0.2'], created: '2026-01-02T00:00:00Z' }),
    );
    changed(translation, upserts(later, withApiVersion(old, 'v0')));
    expect(translation.objects.shared.size).toBe(1);
    const change = changed(translation, { upserts: [], removals: [old.id] });
    expect(change.workloads.upserts).toMatchObject([{ addresses: ['10.0.0.2'] }]);
    expect(translation.objects.shared.size).toBe(0);
  });

  it('makes only those again that looked at what changed', () => {
    const translation = new MeshTranslation(defaultMeshNames);
    const pods = (ns: string) =>
      Array.from({ length: 20 }, (_, n) =>
        sourceObject(pod(ns, `p${n}`, { addresses: [`10.0.0.${n}`], labels: n < 5 ? { app: 'web' } : {} })),
      );
    changed(translation, upserts(...pods('shop'), ...pods('bank'), sourceObject(service('shop', 'web', {}))));
    const made = (change: ObjectChange) => {
      const before = translation.made;
      changed(translation, change);
      return translation.made - before;
    };
    expect(made(upserts(sourceObject(pod('shop', 'p3', { addresses: ['10.0.1.3'] }))))).toBe(1);
    // The namespace itself too: only what is wrong with its labels comes of that.
    expect(made(upserts(sourceObject(namespace('bank', true))))).toBe(21);
    // Only pods that it could select looked for such a service; the look found nothing, and was a look all the same.
    expect(made(upserts(sourceObject(service('bank', 'web', {}))))).toBe(6);
    expect(made(upserts(sourceObject(service('bank', 'web', {}))))).toBe(0);
  });

  it('says nothing of resources that come out equal', () => {
    const translation = new MeshTranslation(defaultMeshNames);
    changed(translation, upserts(sourceObject(pod('shop', 'a', { addresses: ['10.0.0.1'] }))));
    const before = translation.made;
    const change = changed(translation, upserts(sourceObject(namespace('shop', false))));
    expect(translation.made - before).toBe(2);
    expect(change.workloads.upserts).toEqual([]);
  });

  it('keeps the last good resources of an object that cannot be translated, and says so', () => {
    const broken: Translators = {
      ...meshTranslators,
      Pod: (each, view) => {
        if (each.metadata.labels.app === 'broken') throw new Error('no such colour');
        return meshTranslators.Pod?.(each, view) ?? {};
      },
    };
    const translation = new MeshTranslation(defaultMeshNames, broken);
    const good = pod('shop', 'a', { addresses: ['10.0.0.1'] });
    changed(translation, upserts(sourceObject(good)));
    const bad = sourceObject(pod('shop', 'a', { addresses: ['10.0.0.2'], labels: { app: 'broken' } }));
    expect(changed(translation, upserts(bad)).workloads).toEqual({ upserts: [], removals: [] });
    expect(translation.problems).toEqual([{ id: bad.id, reason: 'no such colour' }]);
    expect(translation.resourceCounts.workloads).toBe(1);
    expect(changed(translation, { upserts: [], removals: [bad.id] }).workloads.removals).toHaveLength(1);
    expect(translation.problems).toEqual([]);
  });
});

/** An object is in one of the two lists at most. */
function lastOfEach(steps: readonly ({ put: SourceObject } | { remove: string })[]): ObjectChange {
  const last = new Map(
    steps.map((each) => ('put' in each ? [each.put.id, each.put] : ([each.remove, undefined] as const))),
  );
  return {
    upserts: [...last.values()].filter((each) => each !== undefined),
    removals: [...last].filter(([, each]) => each === undefined).map(([id]) => id),
  };
}

function withApiVersion(entry: SourceObject, apiVersion: string): SourceObject {
  return { id: entry.id, object: { ...entry.object, apiVersion } as SourceObject['object'] };
}
