import { describe, expect, it } from 'vitest';
import { type LedgerEntry, RowLedger } from '../../../src/tunnel/row-ledger.ts';

function entry(key: string, fields: Partial<LedgerEntry<string>> = {}): LedgerEntry<string> {
  return { key, podIndex: 1, dependencies: [], refused: false, value: key, ...fields };
}

describe('the ledger of rows', () => {
  it('finds the rows that depend on what changed, each once', () => {
    const ledger = new RowLedger<string>(10);
    ledger.put(entry('a', { dependencies: ['service:x', 'workload:1'] }));
    ledger.put(entry('b', { dependencies: ['service:x'] }));
    ledger.put(entry('c', { dependencies: ['service:y'] }));
    const affected = [...ledger.affectedBy(['service:x', 'workload:1', 'nothing'])];
    expect(affected.map(({ key }) => key)).toEqual(['a', 'b']);
  });

  it('forgets the dependencies of a replaced row', () => {
    const ledger = new RowLedger<string>(10);
    ledger.put(entry('a', { dependencies: ['service:x'] }));
    const { replaced } = ledger.put(entry('a', { dependencies: ['service:y'] }));
    expect(replaced?.dependencies).toEqual(['service:x']);
    expect(ledger.affectedBy(['service:x']).size).toBe(0);
    expect(ledger.affectedBy(['service:y']).size).toBe(1);
    expect(ledger.size).toBe(1);
  });

  it('evicts the oldest row of the same pod only', () => {
    const ledger = new RowLedger<string>(3);
    ledger.put(entry('neighbour', { podIndex: 2 }));
    const evicted = ['a', 'b', 'c', 'd', 'e'].map((key) => ledger.put(entry(key)).evicted?.key);
    expect(evicted).toEqual([undefined, undefined, undefined, 'a', 'b']);
    expect(ledger.get('neighbour')).toBeDefined();
    expect(ledger.sizeOf(1)).toBe(3);
  });

  it('evicts refusals before rows that carry, so a scan does not cost a pod its own traffic', () => {
    const ledger = new RowLedger<string>(3);
    ledger.put(entry('carried'));
    for (let port = 0; port < 1000; port++) ledger.put(entry(`port ${port}`, { refused: true }));
    expect(ledger.get('carried')).toBeDefined();
    expect(ledger.sizeOf(1)).toBe(3);
    expect(ledger.size).toBe(3);
  });

  it('does not evict when a row is replaced', () => {
    const ledger = new RowLedger<string>(2);
    ledger.put(entry('a'));
    ledger.put(entry('b'));
    expect(ledger.put(entry('a', { refused: true })).evicted).toBeUndefined();
    expect(ledger.sizeOf(1)).toBe(2);
  });

  it('keeps a limit of one', () => {
    const ledger = new RowLedger<string>(1);
    ledger.put(entry('a'));
    expect(ledger.put(entry('b')).evicted?.key).toBe('a');
    expect(ledger.ofPod(1).map(({ key }) => key)).toEqual(['b']);
  });

  it('lets go of everything when rows are removed', () => {
    const ledger = new RowLedger<string>(10);
    ledger.put(entry('a', { dependencies: ['service:x'] }));
    ledger.put(entry('b', { dependencies: ['service:x'], refused: true }));
    for (const { key } of ledger.ofPod(1)) ledger.remove(key);
    expect(ledger.size).toBe(0);
    expect(ledger.sizeOf(1)).toBe(0);
    expect(ledger.affectedBy(['service:x']).size).toBe(0);
    expect(ledger.remove('a')).toBeUndefined();
  });
});
