/** A row counts only if its connections went the way it names: what is not captured would be measured as very fast. */
import type { LabSide } from './lab-side.ts';
import type { Scenario, Topology } from './scenarios.ts';

const securityPolicy: Readonly<Record<Topology, 'mutual_tls' | 'unknown' | undefined>> = {
  cross: 'mutual_tls',
  same: 'mutual_tls',
  plaintext: 'unknown',
  // No mesh against itself.
  aa: undefined,
};

/** Runs a scenario and throws when the server's agent did not count as many connections of its kind as it opens. */
export async function onItsPath<T>(
  scenario: Scenario,
  hadal: LabSide,
  measure: () => Promise<T>,
): Promise<T> {
  const policy = securityPolicy[scenario.topology];
  if (policy === undefined) return await measure();
  const before = await openedByServer(hadal, policy);
  const measured = await measure();
  const opened = (await openedByServer(hadal, policy)) - before;
  if (opened < scenario.connections) {
    throw new Error(
      `the server's agent counted ${opened} connections with connection_security_policy="${policy}", not the ${scenario.connections} of this scenario; what was measured is not Hadal`,
    );
  }
  return measured;
}

async function openedByServer({ lab }: LabSide, policy: string): Promise<number> {
  const metrics = (await lab.node(lab.pod('server').node).agent?.metrics()) ?? '';
  const wanted = (line: string): boolean =>
    line.startsWith('istio_tcp_connections_opened_total{') &&
    line.includes('reporter="destination"') &&
    line.includes(`connection_security_policy="${policy}"`);
  return metrics
    .split('\n')
    .filter(wanted)
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
