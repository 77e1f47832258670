/** A row counts only if its connections went the way it names: what is not captured would be measured as very fast. */
import { join } from 'node:path';
import { Pins } from '../src/kernel/pins.ts';
import { readTurboCounts, type TurboCounts } from '../src/kernel/turbo.ts';
import { nativeAddon } from '../src/native/addon.ts';
import type { LabSide } from './lab-side.ts';
import { Runner } from './measure.ts';
import type { Scenario, Topology } from './scenarios.ts';

/** How the server's agent reports connections of this topology, which no others may join. */
const securityPolicy: Readonly<Record<Topology, string | undefined>> = {
  cross: 'mutual_tls',
  same: 'node_local',
  turbo: 'node_local',
  plaintext: 'unknown',
  policy: 'mutual_tls',
  // No mesh against itself.
  aa: undefined,
};

type Opened = Readonly<Record<string, number>>;

/** Runs a scenario and throws when an agent of its servers did not count its connections, or counted others as well. */
export async function onItsPath<T>(
  scenario: Scenario,
  sides: readonly LabSide[],
  measure: () => Promise<T>,
): Promise<T> {
  const policy = securityPolicy[scenario.topology];
  if (policy === undefined) return await measure();
  const meshed = sides.filter(({ name }) => name !== 'baseline');
  // The first connection of a pair is a question, and goes another way than those after it.
  for (const side of meshed) await connectOnce(side, scenario);
  const before = await Promise.all(meshed.map(openedByServer));
  const turboBefore = scenario.topology === 'turbo' ? meshed.map(turboCounts) : [];
  const measured = await measure();
  for (const [index, counts] of turboBefore.entries()) {
    const fault = turboFault(counts, turboCounts(meshed[index] as LabSide), scenario);
    if (fault !== '') throw new Error(`${fault}; what was measured is not turbo`);
  }
  for (const [index, side] of meshed.entries()) {
    const fault = pathFault(before[index] ?? {}, await openedByServer(side), policy, scenario.connections);
    if (fault !== '') throw new Error(`${fault}; what was measured is not what the row names`);
  }
  return measured;
}

async function connectOnce(side: LabSide, scenario: Scenario): Promise<void> {
  const runner = await Runner.start(side, { ...scenario, connections: 1 });
  await runner.close();
}

/** What the counters say against the row, in words; '' when they bear it out. */
export function pathFault(before: Opened, after: Opened, policy: string, connections: number): string {
  const opened = (each: string): number => (after[each] ?? 0) - (before[each] ?? 0);
  if (opened(policy) < connections)
    return `the server's agent counted ${opened(policy)} connections with connection_security_policy="${policy}", not the ${connections} of this scenario`;
  const others = Object.keys(after).filter((each) => each !== policy && opened(each) > 0);
  if (others.length === 0) return '';
  const told = others.map((each) => `${opened(each)} with "${each}"`).join(', ');
  return `beside ${opened(policy)} connections with connection_security_policy="${policy}" the server's agent counted ${told}`;
}

/** Both ends of every connection join; of one with an exchange or more behind it, sends go past TCP. */
export function turboFault(
  before: TurboCounts,
  after: TurboCounts,
  { load, connections }: Pick<Scenario, 'load' | 'connections'>,
): string {
  const joined = after.joined - before.joined;
  if (joined < 2 * connections) return `${joined} ends of ${connections} connections joined turbo`;
  const past = after.redirected - before.redirected;
  const byTcp = after.tcpUnacked + after.tcpUnread - before.tcpUnacked - before.tcpUnread;
  return load === 'rr' && past < byTcp ? `${past} sends went past TCP, and ${byTcp} by it` : '';
}

function turboCounts({ lab }: LabSide): TurboCounts {
  const pins = new Pins(join(lab.directory, 'bpf'), lab.pod('server').node);
  const map = nativeAddon().openPinnedMap(pins.map('turbo_counts'));
  try {
    return readTurboCounts(map);
  } finally {
    map.close();
  }
}

/** By connection_security_policy. */
async function openedByServer({ lab }: LabSide): Promise<Opened> {
  const metrics = (await lab.node(lab.pod('server').node).agent?.metrics()) ?? '';
  const opened: Record<string, number> = {};
  for (const line of metrics.split('\n')) {
    if (!line.startsWith('istio_tcp_connections_opened_total{') || !line.includes('reporter="destination"'))
      continue;
    const policy = /connection_security_policy="([^"]*)"/.exec(line)?.[1] ?? '';
    opened[policy] = (opened[policy] ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return opened;
}
