/** What rows have to reach, and what they are to reach: ratios to no mesh (of `policy.scale`, to few policies). */
import type { ResultRow } from './report.ts';

export interface Goal {
  readonly floor: number;
  readonly aim: number;
  /** A time rather than a rate. */
  readonly less?: true;
}

const nearNoMesh: Goal = { floor: 0.97, aim: 1 };
const newConnections: Goal = { floor: 0.85, aim: 0.95 };

export const goals: Readonly<Record<string, Goal>> = {
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

export function verdictOf({ row, ratio }: Pick<ResultRow, 'row' | 'ratio'>): Verdict | undefined {
  const goal = goals[row];
  if (goal === undefined || ratio === null) return undefined;
  const reaches = (bound: number): boolean => (goal.less === true ? ratio <= bound : ratio >= bound);
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
    return [`${row.row} ${row.ratio?.toFixed(3)}: ${said} (${bound} ${goal.floor}, aim ${goal.aim})`];
  });
}
