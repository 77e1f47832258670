/**
 * What rows have to reach, and what they are to reach: ratios to no mesh (of `policy.scale`, to few policies); the value itself, in the
 * row's unit, where nothing is there to compare with.
 */
import type { ResultRow } from './report.ts';

export interface Goal {
  readonly floor: number;
  readonly aim: number;
  /** A time or an expense rather than a rate. */
  readonly less?: true;
}

const nearNoMesh: Goal = { floor: 0.97, aim: 1 };
const newConnections: Goal = { floor: 0.85, aim: 0.95 };

export const goals: Readonly<Record<string, Goal>> = {
  'cross.throughput.1': { floor: 0.22, aim: 0.3 },
  'cross.throughput.4': { floor: 0.24, aim: 0.32 },
  'cross.throughput.16': { floor: 0.24, aim: 0.32 },
  'cross.rr64.1': { floor: 1.3, aim: 1.1, less: true },
  'cross.rr64.16': { floor: 0.27, aim: 0.4 },
  'cross.rr64.64': { floor: 0.45, aim: 0.6 },
  'cross.rr16k.16': { floor: 0.14, aim: 0.22 },
  'cross.connections.1': { floor: 0.33, aim: 0.5 },
  'cross.connections.16': { floor: 0.2, aim: 0.35 },
  'cross.cpu.rr64.1': { floor: 120, aim: 40, less: true },
  'cross.cpu.rr64.16': { floor: 28, aim: 15, less: true },
  'cpu.rest': { floor: 0.5, aim: 0.1, less: true },
  'memory.rest': { floor: 110, aim: 70, less: true },
  'memory.per-idle-connection': { floor: 6, aim: 3, less: true },
  'same.throughput.1': nearNoMesh,
  'same.throughput.16': nearNoMesh,
  'same.rr64.1': { floor: 1.03, aim: 1, less: true },
  'same.rr64.16': nearNoMesh,
  'same.rr64.64': nearNoMesh,
  'same.rr16k.16': nearNoMesh,
  'same.connections.1': newConnections,
  'same.connections.16': newConnections,
  'turbo.rr64.1': { floor: 0.8, aim: 0.55, less: true },
  'turbo.rr64.16': { floor: 1.15, aim: 1.5 },
  'policy.scale': { floor: 0.95, aim: 1 },
};

export type Verdict = 'aim' | 'floor' | 'missed';

export function verdictOf({
  row,
  ratio,
  hadal,
}: Pick<ResultRow, 'row' | 'ratio' | 'hadal'>): Verdict | undefined {
  const goal = goals[row];
  if (goal === undefined) return undefined;
  const reached = ratio ?? hadal;
  const reaches = (bound: number): boolean => (goal.less === true ? reached <= bound : reached >= bound);
  if (reaches(goal.aim)) return 'aim';
  return reaches(goal.floor) ? 'floor' : 'missed';
}

/** One line for each row that has a goal. */
export function tellGoals(rows: readonly ResultRow[]): string[] {
  return rows.flatMap((row) => {
    const verdict = verdictOf(row);
    const goal = goals[row.row];
    if (verdict === undefined || goal === undefined) return [];
    const bound = goal.less === true ? 'at most' : 'at least';
    const said = { aim: 'the aim is reached', floor: 'the floor holds', missed: 'THE FLOOR IS MISSED' }[
      verdict
    ];
    const reached = row.ratio?.toFixed(3) ?? `${row.hadal.toFixed(2)} ${row.unit}`;
    return [`${row.row} ${reached}: ${said} (${bound} ${goal.floor}, aim ${goal.aim})`];
  });
}
