/** What an agent of the lab tells about its connections and metrics, for tests. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../src/lab/lab.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import type { TunnelDescription } from '../../src/native/types.ts';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';

export async function connectionsOf(lab: Lab, node: string): Promise<readonly ConnectionEntry[]> {
  const answer = await agentOf(lab, node).get(15000, '/connections');
  if (answer.status !== 200) throw new Error(`/connections of ${node}: ${answer.status} ${answer.body}`);
  return (JSON.parse(answer.body) as { connections: ConnectionEntry[] }).connections;
}

/** The first connection that fits, waited for: flow records arrive in batches. */
export async function connectionWhere(
  lab: Lab,
  node: string,
  fits: (entry: ConnectionEntry) => boolean,
  timeoutMs = 8000,
): Promise<ConnectionEntry> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const entries = await connectionsOf(lab, node);
    const found = entries.find(fits);
    if (found !== undefined) return found;
    if (Date.now() > deadline) {
      throw new Error(
        `no such connection on ${node} after ${timeoutMs} ms; it has ${JSON.stringify(entries, null, 1)}`,
      );
    }
    await sleep(100);
  }
}

/** One section of `/config_dump`. */
export async function sectionOf<T>(lab: Lab, node: string, name: string): Promise<T> {
  const answer = await agentOf(lab, node).get(15000, `/config_dump?section=${name}`);
  if (answer.status !== 200) throw new Error(`/config_dump of ${node}: ${answer.status} ${answer.body}`);
  return (JSON.parse(answer.body) as Record<string, T>)[name] as T;
}

/** The open tunnels of an agent to or from an address. */
export async function tunnelsOf(lab: Lab, node: string, address: string): Promise<TunnelDescription[]> {
  const tunnels = await sectionOf<TunnelDescription[]>(lab, node, 'tunnels');
  return tunnels.filter(({ remoteAddress }) => remoteAddress === address);
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The samples of one metric, from the agent's own port. */
export async function samplesOf(lab: Lab, node: string, metric: string): Promise<readonly Sample[]> {
  const answer = await agentOf(lab, node).get(15020, '/metrics');
  if (answer.status !== 200) throw new Error(`/metrics of ${node}: ${answer.status} ${answer.body}`);
  return answer.body.split('\n').flatMap((line) => {
    const parts = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (parts?.[1] !== metric) return [];
    const pairs = [...(parts[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    return [
      { labels: Object.fromEntries(pairs.map(([, name, value]) => [name, value])), value: Number(parts[3]) },
    ];
  });
}

export async function sumOf(
  lab: Lab,
  node: string,
  metric: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const samples = await samplesOf(lab, node, metric);
  return samples
    .filter((sample) => Object.entries(labels).every(([name, value]) => sample.labels[name] === value))
    .reduce((sum, sample) => sum + sample.value, 0);
}

/** Memory of the agent's process. */
export function residentBytes(lab: Lab, node: string): number {
  const status = readFileSync(`/proc/${agentOf(lab, node).pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}

export function agentOf(lab: Lab, node: string) {
  const agent = lab.node(node).agent;
  if (agent === undefined) throw new Error(`node ${node} has no agent`);
  return agent;
}

/** Entries of the agent's pinned maps that have them per pod, row or socket, by map. */
export function mapEntriesOf(lab: Lab, node: string): Record<string, number> {
  const counts: Record<string, number> = {};
  const pins = join(lab.directory, 'bpf', 'hadal', node);
  for (const entry of readdirSync(pins, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.parentPath.endsWith('maps')) continue;
    const map = nativeAddon().openPinnedMap(join(entry.parentPath, entry.name));
    if (/hash|lpm/.test(map.type)) counts[entry.name] = map.keys().length;
    map.close();
  }
  return counts;
}
