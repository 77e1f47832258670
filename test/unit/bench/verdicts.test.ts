import { describe, expect, it } from 'vitest';
import { goals, tellGoals, verdictOf } from '../../../bench/floors.ts';
import { pathFault, turboFault } from '../../../bench/path-check.ts';
import { policyManifests } from '../../../bench/policy-manifests.ts';
import { restingRows } from '../../../bench/resting.ts';
import { drawsOf, scenarios } from '../../../bench/scenarios.ts';
import type { TurboCounts } from '../../../src/kernel/turbo.ts';

describe('goals of the benchmark', () => {
  it('are met from below where less is better, else from above', () => {
    const verdicts = (row: string, ...ratios: number[]) =>
      ratios.map((ratio) => verdictOf({ row, ratio, hadal: 0 }));
    expect(verdicts('same.rr64.1', 0.99, 1.02, 1.04)).toEqual(['aim', 'floor', 'missed']);
    expect(verdicts('same.rr64.16', 1.01, 0.98, 0.96)).toEqual(['aim', 'floor', 'missed']);
    expect(verdictOf({ row: 'cross.rr64.1.p99', ratio: 0.1, hadal: 0 })).toBeUndefined();
  });

  it('are the values themselves where nothing is there to compare with', () => {
    const verdicts = [0.05, 0.4, 0.6].map((hadal) => verdictOf({ row: 'cpu.rest', ratio: null, hadal }));
    expect(verdicts).toEqual(['aim', 'floor', 'missed']);
    const row = { row: 'memory.rest', unit: 'MB', baseline: null, hadal: 120, ratio: null };
    expect(tellGoals([row])).toEqual(['memory.rest 120.00 MB: THE FLOOR IS MISSED (at most 110, aim 70)']);
  });

  it('are those of rows that exist, and a missed one is said', () => {
    const rows = [...scenarios.flatMap((each) => each.rows.map(({ row }) => row)), ...restingRows];
    expect(Object.keys(goals).filter((row) => !rows.includes(row))).toEqual([]);
    expect(
      tellGoals([{ row: 'same.connections.1', unit: '1/s', baseline: 100, hadal: 80, ratio: 0.8 }]),
    ).toEqual(['same.connections.1 0.800: THE FLOOR IS MISSED (at least 0.85, aim 0.95)']);
  });
});

describe('the time of a row', () => {
  const draws = (row: string, rounds: number, seconds: number) => {
    const scenario = scenarios.find((each) => each.rows.some((one) => one.row === row));
    if (scenario === undefined) throw new Error(`no row ${row}`);
    return drawsOf(scenario, { rounds, seconds });
  };

  it('is one draw far from no mesh, and an even number of short ones near it', () => {
    expect(draws('cross.rr64.16', 5, 3)).toEqual({ count: 1, seconds: 15, swapsPairs: true });
    expect(draws('same.rr64.16', 5, 3)).toEqual({ count: 22, seconds: 2, swapsPairs: false });
    expect(draws('same.rr64.16', 17, 1)).toMatchObject({ count: 10, seconds: 2 });
    expect(draws('aa.connections.1', 40, 3)).toMatchObject({ count: 60, seconds: 2 });
    expect(draws('aa.connections.1', 5, 3)).toMatchObject({ count: 42, seconds: 2 });
  });
});

describe('the path of measured connections', () => {
  it('is proven by enough of its own and none of another', () => {
    const before = { node_local: 4, mutual_tls: 9 };
    expect(pathFault(before, { node_local: 20, mutual_tls: 9 }, 'node_local', 16)).toBe('');
    expect(pathFault(before, { node_local: 19, mutual_tls: 9 }, 'node_local', 16)).toContain(
      'counted 15 connections',
    );
    expect(pathFault(before, { node_local: 20, mutual_tls: 10 }, 'node_local', 16)).toContain(
      '1 with "mutual_tls"',
    );
  });
});

it('sends past TCP are what a row of turbo needs', () => {
  const counts = (joined: number, redirected: number, tcpUnacked: number) =>
    ({ joined, redirected, tcpUnacked, tcpUnread: 0 }) as TurboCounts;
  const fault = (after: TurboCounts, load: 'rr' | 'upload') =>
    turboFault(counts(2, 10, 5), after, { load, connections: 16 });
  expect(fault(counts(34, 900, 40), 'rr')).toBe('');
  expect(fault(counts(33, 900, 40), 'rr')).toContain('31 ends of 16 connections');
  expect(fault(counts(34, 40, 900), 'rr')).toContain('30 sends went past TCP, and 895 by it');
  expect(fault(counts(34, 40, 900), 'upload')).toBe('');
});

it('half of many policies select the server, and one of those lets the benchmark in', () => {
  const policies = policyManifests(1000, 'bench', 'server').map((text) => JSON.parse(text));
  const selecting = policies.filter(({ spec }) => spec.selector.matchLabels.app === 'server');
  const letting = policies.filter(({ spec }) =>
    JSON.stringify(spec.rules).includes('"namespaces":["bench"]'),
  );
  expect(policies).toHaveLength(1000);
  expect(selecting).toHaveLength(500);
  expect(letting).toHaveLength(1);
  expect(selecting).toContain(letting[0]);
  expect(letting[0].spec.action).toBe('ALLOW');
});
