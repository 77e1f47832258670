import { describe, expect, it } from 'vitest';
import { ObjectLedger } from '../../../../src/source/api-server/object-ledger.ts';
import type { RawObject, WatchEvent } from '../../../../src/source/api-server/watch-events.ts';
import { mergeChanges } from '../../../../src/source/change-builder.ts';
import type { ObjectChange } from '../../../../src/source/object-source.ts';

const account = (name: string, resourceVersion: string, more: object = {}): RawObject => ({
  metadata: { name, namespace: 'shop', resourceVersion, ...more },
});
const id = (name: string) => `v1/ServiceAccount/shop/${name}`;
const event = (type: WatchEvent['type'], object: RawObject): WatchEvent => ({ type, object });

function listed(ledger: ObjectLedger, ...objects: RawObject[]): ObjectChange {
  const list = ledger.beginList('v1');
  for (const object of objects) list.add([object]);
  return list.finish();
}

const names = ({ upserts, removals }: ObjectChange) => ({
  upserts: upserts.map((one) => one.id),
  removals: [...removals],
});

describe('a ledger of one kind', () => {
  it('tells of a second list only what is different', () => {
    const ledger = new ObjectLedger('ServiceAccount');
    listed(ledger, account('same', '1'), account('changed', '2'), account('gone', '3'));
    expect(names(listed(ledger, account('same', '1'), account('changed', '4'), account('new', '5')))).toEqual(
      {
        upserts: [id('changed'), id('new')],
        removals: [id('gone')],
      },
    );
  });

  it('is left as it was by a list that breaks off', () => {
    const ledger = new ObjectLedger('ServiceAccount');
    listed(ledger, account('one', '1'));
    ledger.beginList('v1').add([account('two', '2')]);
    expect(ledger.size).toBe(1);
    expect(names(listed(ledger, account('one', '1'), account('two', '2')))).toEqual({
      upserts: [id('two')],
      removals: [],
    });
  });

  it('says of a batch of events the last word on each object', () => {
    const ledger = new ObjectLedger('ServiceAccount');
    listed(ledger, account('stays', '1'));
    const batch = [
      event('ADDED', account('brief', '2')),
      event('MODIFIED', account('stays', '3')),
      event('MODIFIED', account('stays', '4', { labels: { last: 'yes' } })),
      event('DELETED', account('brief', '5')),
      event('BOOKMARK', { metadata: { resourceVersion: '6' } }),
    ];
    const change = ledger.apply(batch, 'v1');
    expect(names(change)).toEqual({ upserts: [id('stays')], removals: [id('brief')] });
    expect(change.upserts[0]?.object.metadata.labels).toEqual({ last: 'yes' });
  });

  it('rejects one that is bad by name, and believes its next good version', () => {
    const ledger = new ObjectLedger('ServiceAccount');
    const bad = { labels: { a: 1 } };
    expect(names(listed(ledger, account('one', '1', bad)))).toEqual({ upserts: [], removals: [] });
    expect(ledger.rejected).toEqual([
      {
        id: id('one'),
        origin: 'resource version 1',
        field: 'metadata.labels.a',
        reason: expect.stringContaining('is 1'),
        inForce: 'nothing',
      },
    ]);
    expect(names(ledger.apply([event('MODIFIED', account('one', '2'))], 'v1'))).toEqual({
      upserts: [id('one')],
      removals: [],
    });
    expect(ledger.rejected).toEqual([]);
  });

  it('merges changes in their order', () => {
    const ledger = new ObjectLedger('ServiceAccount');
    const first = listed(ledger, account('a', '1'), account('b', '2'));
    const second = ledger.apply(
      [event('DELETED', account('a', '3')), event('ADDED', account('c', '4'))],
      'v1',
    );
    const third = ledger.apply([event('ADDED', account('a', '5'))], 'v1');
    expect(names(mergeChanges([first, second, third])).upserts.sort()).toEqual([id('a'), id('b'), id('c')]);
  });
});

const policyId = 'security.istio.io/v1/AuthorizationPolicy/shop/p';
const good = { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['evil'] } }] }] };
const bad = { action: 'DENY', rules: [{ form: [] }] };
const allDenied = { action: 'DENY', rules: [{ when: [] }] };

/** Its resource version is its generation, as nothing but its spec changes. */
const policy = (generation: number, spec: object, uid = 'one'): RawObject => ({
  metadata: { name: 'p', namespace: 'shop', uid, generation, resourceVersion: `${uid} ${generation}` },
  spec,
});

function listedPolicies(ledger: ObjectLedger, ...objects: RawObject[]): ObjectChange {
  const list = ledger.beginList('security.istio.io/v1');
  list.add(objects);
  return list.finish();
}

function having(...events: WatchEvent[]): { ledger: ObjectLedger; change: ObjectChange } {
  const ledger = new ObjectLedger('AuthorizationPolicy');
  listedPolicies(ledger);
  return { ledger, change: ledger.apply(events, 'security.istio.io/v1') };
}

/** What the one that saw it all tells another. */
const recordOf = ({ ledger }: { ledger: ObjectLedger }) => ledger.lastGood;

describe('a policy that is bad in a list', () => {
  const saw = having(event('ADDED', policy(1, good)), event('MODIFIED', policy(2, bad)));

  it('keeps what others know was good of it', () => {
    const ledger = new ObjectLedger('AuthorizationPolicy');
    expect(saw.ledger.takeVerdicts()).toEqual([policyId]);
    ledger.remember(recordOf(saw));
    expect(listedPolicies(ledger, policy(2, bad)).upserts).toMatchObject([
      { id: policyId, object: { spec: good } },
    ]);
    expect(ledger.rejected).toMatchObject([{ inForce: 'last good version', generation: 2 }]);
    // And passes it on.
    expect(ledger.lastGood).toEqual(recordOf(saw));
  });

  it('is not what one of the same name was before it', () => {
    const ledger = new ObjectLedger('AuthorizationPolicy');
    ledger.remember(recordOf(saw));
    expect(names(listedPolicies(ledger, policy(1, bad, 'other')))).toEqual({ upserts: [], removals: [] });
    expect(ledger.rejected).toMatchObject([{ inForce: 'nothing' }]);
    const lasting = having(event('ADDED', policy(1, good)));
    expect(names(listedPolicies(lasting.ledger, policy(1, bad, 'other')))).toEqual({
      upserts: [],
      removals: [policyId],
    });
  });

  it('refuses everything where nobody knows, until somebody does', () => {
    const ledger = new ObjectLedger('AuthorizationPolicy');
    expect(listedPolicies(ledger, policy(2, bad)).upserts).toMatchObject([{ object: { spec: allDenied } }]);
    expect(ledger.rejected).toMatchObject([
      {
        inForce: 'placeholder',
        reason: expect.stringContaining('every connection to the workloads it is for is denied'),
      },
    ]);
    // Nobody else is to take that for its last good version.
    expect(ledger.lastGood).toEqual([]);
    // Another mistake does not make it known.
    ledger.apply([event('MODIFIED', policy(3, { ...bad, selector: {} }))], 'security.istio.io/v1');
    expect(ledger.rejected).toMatchObject([{ inForce: 'placeholder', generation: 3 }]);
    expect(ledger.remember(recordOf(saw)).upserts).toMatchObject([{ object: { spec: good } }]);
    expect(ledger.rejected).toMatchObject([
      { inForce: 'last good version', reason: expect.not.stringContaining('denied') },
    ]);
    expect(ledger.takeVerdicts()).toEqual([policyId]);
  });

  it('is not in force if it is new, and stays so after the next mistake, here and elsewhere', () => {
    const { ledger, change } = having(event('ADDED', policy(1, bad)), event('MODIFIED', policy(2, bad)));
    expect(names(change)).toEqual({ upserts: [], removals: [] });
    const other = new ObjectLedger('AuthorizationPolicy');
    expect(listedPolicies(other, policy(2, bad)).upserts).toHaveLength(1);
    expect(other.remember(recordOf({ ledger })).removals).toEqual([policyId]);
    expect(other.rejected).toMatchObject([{ inForce: 'nothing' }]);
  });

  it('is remembered while its kind is not served, and forgotten when it is good or gone', () => {
    const { ledger } = having(event('ADDED', policy(1, good)), event('MODIFIED', policy(2, bad)));
    expect(ledger.clear().removals).toEqual([policyId]);
    expect(ledger.lastGood).toEqual(recordOf(saw));
    expect(listedPolicies(ledger, policy(2, bad)).upserts).toMatchObject([{ object: { spec: good } }]);
    ledger.apply([event('MODIFIED', policy(3, good))], 'security.istio.io/v1');
    expect(ledger.lastGood).toEqual([]);
    ledger.remember(recordOf(saw));
    expect(listedPolicies(ledger).removals).toEqual([policyId]);
    expect(ledger.lastGood).toEqual([]);
  });
});
