/** `npm run bench`: Hadal beside no mesh, in slices that alternate. What each row means: docs/benchmark.md. */
import { existsSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { controlPlaneRows, measureControlPlane } from './control-plane.ts';
import { tellGoals } from './floors.ts';
import { LabSide } from './lab-side.ts';
import { measureDraw, type Pair, type Readings, Runner } from './measure.ts';
import { type BenchOptions, parseBenchOptions } from './options.ts';
import { onItsPath } from './path-check.ts';
import {
  type ExternalRow,
  formatExternalTable,
  formatTable,
  machineFacts,
  type ResultRow,
  weakness,
} from './report.ts';
import { measureResting, restingRows } from './resting.ts';
import { drawsOf, type Scenario, sidesOf, wantedScenarios } from './scenarios.ts';
import type { SideName } from './side.ts';
import { Sides } from './sides.ts';
import { median, medianRatio } from './statistics.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Outcome {
  readonly rows: ResultRow[];
  readonly failed: string[];
}

async function compare(options: BenchOptions): Promise<void> {
  const wanted = (row: string): boolean => options.rows.test(row);
  const scenarios = wantedScenarios(options.rows);
  const rest = restingRows.some(wanted);
  const controlPlane = controlPlaneRows.some(wanted);
  if (scenarios.length === 0 && !rest && !controlPlane)
    throw new Error(`no row matches --rows ${options.rows.source}`);
  const outcome: Outcome = { rows: [], failed: [] };
  // In a lab of its own, alone: its processes want all the cores.
  if (controlPlane) {
    await attempt('control-plane', outcome, async () => {
      outcome.rows.push(...(await measureControlPlane(wanted, say)));
    });
  }
  if (scenarios.length > 0 || rest) await compareSides(options, scenarios, outcome);
  const { rows, failed } = outcome;
  console.log(formatTable(rows));
  const told = tellGoals(rows);
  if (told.length > 0) console.log(`\n${told.join('\n')}`);
  const weak = weakness(rows);
  if (weak !== '') console.log(`\n${weak}`);
  for (const row of failed) console.log(`\nfailed: ${row}`);
  if (options.json !== '')
    writeFileSync(options.json, `${JSON.stringify({ rows, ...machineFacts() }, null, 2)}\n`);
  if (failed.length > 0) process.exitCode = 1;
}

async function compareSides(
  options: BenchOptions,
  scenarios: readonly Scenario[],
  outcome: Outcome,
): Promise<void> {
  const wanted = (row: string): boolean => options.rows.test(row);
  const { rows } = outcome;
  const sides = new Sides(say);
  const onSignal = (): void => {
    say('stopped: taking the labs down');
    void sides.stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    if (restingRows.some(wanted)) rows.push(...(await measureResting(await sides.get('hadal'), wanted, say)));
    for (const [index, scenario] of scenarios.entries()) {
      await attempt(`${scenario.topology}.${scenario.name}`, outcome, async () => {
        await sides.keepOnly(new Set(scenarios.slice(index).flatMap(sideNames)));
        const [left, right = left] = sidesOf[scenario.topology];
        const [first, second] = [await sides.get(left), await sides.get(right)];
        const compared = () => compareScenario(scenario, first, second, options);
        rows.push(...(await onItsPath(scenario, [first, second], compared)));
      });
    }
  } finally {
    await sides.stop();
  }
}

const sideNames = ({ topology }: Scenario): SideName[] =>
  sidesOf[topology].filter((name) => name !== undefined);

/** One row that cannot be measured does not end the others. */
async function attempt(name: string, { failed }: Outcome, measure: () => Promise<void>): Promise<void> {
  try {
    await measure();
  } catch (error) {
    failed.push(`${name}: ${(error as Error).message}`);
    say(`  failed: ${failed.at(-1)}`);
  }
}

async function compareScenario(
  scenario: Scenario,
  baseline: LabSide,
  hadal: LabSide,
  options: BenchOptions,
): Promise<ResultRow[]> {
  const name = `${scenario.topology}.${scenario.name}`;
  const { count, seconds, swapsPairs } = drawsOf(scenario, options);
  const pairs: Pair[] = [];
  for (let draw = 1; draw <= count; draw++) {
    const measured = await measureDraw([baseline, hadal], scenario, {
      seconds,
      swapped: draw % 2 === 0,
      swapsPairs,
    });
    pairs.push(...measured);
    say(`  ${name}: draw ${draw} of ${count}${told(scenario, measured)}`);
  }
  const rows = resultRows(scenario, pairs).filter((row) => options.rows.test(row.row));
  for (const row of rows)
    say(`  ${row.row}: ${row.hadal.toFixed(2)} ${row.unit}, ratio ${row.ratio?.toFixed(3) ?? '-'}`);
  return rows;
}

/** The first row's medians of some pairs: how much one draw differs from the next. */
function told({ rows: [first] }: Scenario, pairs: readonly Pair[]): string {
  if (first === undefined) return '';
  const [baseline, hadal] = (['baseline', 'hadal'] as const).map((side) =>
    median(pairs.map((pair) => pair[side][first.reading])).toFixed(1),
  );
  return `: ${baseline} and ${hadal} ${first.unit}`;
}

function resultRows(scenario: Scenario, pairs: readonly Pair[]): ResultRow[] {
  return scenario.rows.map(({ row, unit, reading }) => {
    const of = (pick: (pair: Pair) => Readings): number => median(pairs.map((pair) => pick(pair)[reading]));
    const hadal = of((pair) => pair.hadal);
    if (row.includes('.cpu.')) return { row, unit, baseline: null, hadal, ratio: null };
    const ratio = medianRatio(
      pairs.map((pair) => ({ baseline: pair.baseline[reading], hadal: pair.hadal[reading] })),
    );
    return { row, unit, baseline: of((pair) => pair.baseline), hadal, ratio };
  });
}

/** The lab without agents, for another mesh that the operator starts in it by hand. */
async function measureExternal(options: BenchOptions): Promise<void> {
  const side = await LabSide.start('baseline');
  const rows: ExternalRow[] = [];
  try {
    for (const node of side.lab.nodes)
      say(`node ${node.name}: ip netns exec ${node.netns} sh   # ${node.address.v4} ${node.address.v6}`);
    for (const pod of side.lab.pods)
      say(`pod ${pod.key}: ip netns exec ${pod.netns} sh   # ${pod.addresses.join(' ')}`);
    await externalMeshIsUp(options.waitFile);
    for (const scenario of wantedScenarios(options.rows).filter((one) =>
      sidesOf[one.topology].includes('hadal'),
    )) {
      rows.push(...(await externalScenario(side, scenario, options)));
    }
  } finally {
    await side.stop();
  }
  console.log(formatExternalTable(rows));
  if (options.json !== '')
    writeFileSync(options.json, `${JSON.stringify({ rows, ...machineFacts() }, null, 2)}\n`);
}

async function externalScenario(
  side: LabSide,
  scenario: Scenario,
  options: BenchOptions,
): Promise<ExternalRow[]> {
  const runner = await Runner.start(side, scenario);
  try {
    const slices: Readings[] = [];
    const count = Math.max(1, Math.round(options.seconds * 2)) * options.rounds;
    for (let i = 0; i < count; i++) slices.push(await runner.slice());
    return scenario.rows
      .filter(({ row }) => options.rows.test(row) && !row.includes('.cpu.'))
      .map(({ row, unit, reading }) => ({ row, unit, value: median(slices.map((slice) => slice[reading])) }));
  } finally {
    await runner.close();
  }
}

async function externalMeshIsUp(waitFile: string): Promise<void> {
  if (waitFile !== '') {
    say(`waiting for ${waitFile}`);
    while (!existsSync(waitFile)) await sleep(200);
    return;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  await terminal.question('start the other mesh, then press Enter ');
  terminal.close();
}

try {
  const options = parseBenchOptions(process.argv.slice(2));
  await (options.external ? measureExternal(options) : compare(options));
} catch (error) {
  say(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
