/** What each row of the benchmark does. A scenario is measured once and yields one row or several. */

import type { SideName } from './side.ts';

export type Topology = 'cross' | 'same' | 'turbo' | 'plaintext' | 'aa' | 'policy';
export type LoadName = 'rr' | 'connections' | 'upload' | 'download';

export interface Scenario {
  readonly topology: Topology;
  readonly name: string;
  readonly load: LoadName;
  readonly connections: number;
  readonly messageBytes: number;
  /** Rows this scenario can yield, by full name, with their unit. */
  readonly rows: readonly ScenarioRow[];
}

/** What a slice measured, by the name a row asks for it. */
export type Reading = 'rate' | 'gbits' | 'p50' | 'p90' | 'p99' | 'cpuPerOperation' | 'cpuPerGigabyte';

export interface ScenarioRow {
  readonly row: string;
  readonly unit: string;
  readonly reading: Reading;
}

const kilobyte = 1024;

export const scenarios: readonly Scenario[] = [
  scenario('aa', 'throughput.1', 'upload', 1),
  scenario('aa', 'rr64.16', 'rr', 16, 64),
  scenario('aa', 'connections.1', 'connections', 1),
  ...loadsOf('cross'),
  ...loadsOf('plaintext'),
  ...loadsOf('same'),
  ...loadsOf('turbo'),
  {
    ...scenario('policy', 'scale', 'connections', 16),
    rows: [{ row: 'policy.scale', unit: '1/s', reading: 'rate' }],
  },
];

/** The worlds that a row compares. No mesh against itself is the same side twice, from two processes. */
export const sidesOf: Readonly<Record<Topology, readonly [SideName, SideName?]>> = {
  aa: ['baseline'],
  cross: ['baseline', 'hadal'],
  plaintext: ['baseline', 'hadal'],
  same: ['baseline', 'hadal'],
  turbo: ['baseline', 'turbo'],
  policy: ['fewpolicies', 'manypolicies'],
};

/** Whose rows are so near to no mesh that it takes many pairs, of many processes and connections, to tell them from it. */
function isNearNoMesh({ topology }: Scenario): boolean {
  return topology === 'same' || topology === 'turbo' || topology === 'policy' || topology === 'aa';
}

/** How a row's time is cut: every draw has processes and connections of its own. */
export interface Draws {
  readonly count: number;
  /** Per side. */
  readonly seconds: number;
  /** Who goes first is swapped in each pair of slices, else in each draw. */
  readonly swapsPairs: boolean;
}

const nearDrawSeconds = 2;
const leastNearRounds = 14;
/** The verdicts of a run hold where these lie within 3 % of 1, which single slices of 16 connections are far from. */
const leastSelfRounds = 28;

/**
 * Near no mesh at least 14 rounds (28 of no mesh itself), in draws of two seconds: how connections found their cores when they were
 * made lasts as long as they do. An even number, so that each side is first as often as the other; in each draw every slice follows one
 * of the other side, since after one of its own a lone connection runs in another state, its ends on two cores that sleep in between,
 * ten times as slow. Of what is far from no mesh one draw tells enough, and both states count.
 */
export function drawsOf(
  scenario: Scenario,
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Draws {
  if (!isNearNoMesh(scenario)) return { count: 1, seconds: rounds * seconds, swapsPairs: true };
  const least = scenario.topology === 'aa' ? leastSelfRounds : leastNearRounds;
  const count = Math.ceil((Math.max(least, rounds) * seconds) / nearDrawSeconds);
  return { count: count + (count % 2), seconds: nearDrawSeconds, swapsPairs: false };
}

function loadsOf(topology: Topology): Scenario[] {
  const bulk = [1, 4, 16].flatMap((n) => [
    scenario(topology, `throughput.${n}`, 'upload', n),
    scenario(topology, `throughput-back.${n}`, 'download', n),
  ]);
  return [
    ...bulk,
    ...[1, 16, 64].map((n) => scenario(topology, `rr64.${n}`, 'rr', n, 64)),
    scenario(topology, 'rr16k.16', 'rr', 16, 16 * kilobyte),
    ...[1, 16].map((n) => scenario(topology, `connections.${n}`, 'connections', n)),
  ];
}

function scenario(
  topology: Topology,
  name: string,
  load: LoadName,
  connections: number,
  messageBytes = 64,
): Scenario {
  return { topology, name, load, connections, messageBytes, rows: rowsOf(topology, name, load, connections) };
}

function rowsOf(topology: Topology, name: string, load: LoadName, connections: number): ScenarioRow[] {
  const full = `${topology}.${name}`;
  const rows: ScenarioRow[] = [];
  if (load === 'upload' || load === 'download') {
    rows.push({ row: full, unit: 'Gbit/s', reading: 'gbits' });
  } else {
    const single = load === 'rr' && connections === 1;
    rows.push(
      single ? { row: full, unit: 'us', reading: 'p50' } : { row: full, unit: '1/s', reading: 'rate' },
    );
    for (const p of ['p50', 'p90', 'p99'] as const)
      rows.push({ row: `${full}.${p}`, unit: 'us', reading: p });
  }
  if (topology !== 'aa' && load === 'rr' && (name === 'rr64.1' || name === 'rr64.16')) {
    rows.push({ row: `${topology}.cpu.${name}`, unit: 'us', reading: 'cpuPerOperation' });
  }
  if (topology !== 'aa' && name === 'throughput.1') {
    rows.push({ row: `${topology}.cpu.${name}`, unit: 'ms/GB', reading: 'cpuPerGigabyte' });
  }
  return rows;
}

/** The scenarios that yield at least one wanted row, in their order. */
export function wantedScenarios(pattern: RegExp): Scenario[] {
  return scenarios.filter((one) => one.rows.some((row) => pattern.test(row.row)));
}
