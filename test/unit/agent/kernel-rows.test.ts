import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { CaptureRows } from '../../../src/agent/kernel-rows.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { VERDICT_REFUSE } from '../../../src/kernel/constants.gen.ts';
import type { RowEntry, RowKey } from '../../../src/kernel/row-table.ts';

class Rows {
  readonly rows = new Map<string, RowEntry>();
  full = false;

  putRows(rows: readonly (readonly [RowKey, RowEntry])[]): void {
    if (this.full) throw new Error('E2BIG');
    for (const [key, row] of rows) this.rows.set(JSON.stringify(key), row);
  }

  directRows() {
    return [];
  }

  removeRows(keys: readonly RowKey[]): void {
    for (const key of keys) this.rows.delete(JSON.stringify(key));
  }
}

const refusal = { kind: 'refuse', reason: 122, error: 'ECONNREFUSED', edge: 7 } as const;
const key = (port: number, podIndex = 1) => ({ podIndex, address: '10.96.0.1', port });

describe('refusals in the kernel', () => {
  it('make connect() fail with ECONNREFUSED until they are lifted', () => {
    const rows = new Rows();
    const refusals = new CaptureRows(rows, silentLogger);
    refusals.put(key(81), refusal);
    expect([...rows.rows]).toEqual([
      [
        JSON.stringify(key(81)),
        { verdict: VERDICT_REFUSE, reason: 122, error: constants.errno.ECONNREFUSED, edge: 7 },
      ],
    ]);
    refusals.remove(key(81));
    refusals.remove(key(81));
    expect(rows.rows.size + refusals.size).toBe(0);
  });

  it('of one pod that scans leave room for the others', () => {
    const rows = new Rows();
    const refusals = new CaptureRows(rows, silentLogger);
    const taken = Array.from({ length: 5000 }, (_, index) => refusals.put(key(index + 1), refusal));
    expect(taken.filter(Boolean)).toHaveLength(4096);
    expect(refusals.put(key(1, 2), refusal)).toBe(true);
    expect(refusals.size).toBe(4097);
    for (let port = 1; port <= 5000; port++) refusals.remove(key(port));
    expect(rows.rows.size).toBe(1);
  });

  it('that find no room are the tunnel’s to make', () => {
    const rows = new Rows();
    rows.full = true;
    const refusals = new CaptureRows(rows, silentLogger);
    expect(refusals.put(key(81), refusal)).toBe(false);
    expect(refusals.size).toBe(0);
  });
});
