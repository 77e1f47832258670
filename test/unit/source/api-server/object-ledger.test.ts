import { describe, expect, it } from 'vitest';
import { mergeChanges, ObjectLedger } from '../../../../src/source/api-server/object-ledger.ts';
import type { RawObject, WatchEvent } from '../../../../src/source/api-server/watch-events.ts';
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
