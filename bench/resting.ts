/** Rows about what an agent costs while nothing happens, or while connections only exist. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Generator, type SliceAnswer } from './generator.ts';
import { cpuNs, type LabSide, memoryOf } from './lab-side.ts';
import type { ResultRow } from './report.ts';
import { serverPort } from './side.ts';

const restMs = 60_000;
const idleConnections = 5000;
const idleMs = 30_000;

export const restingRows = ['memory.rest', 'cpu.rest', 'memory.per-idle-connection'] as const;

export async function measureResting(
  side: LabSide,
  wanted: (row: string) => boolean,
  progress: (what: string) => void,
): Promise<ResultRow[]> {
  const rows: ResultRow[] = [];
  const add = (row: string, unit: string, hadal: number) =>
    rows.push({ row, unit, baseline: null, hadal, ratio: null });

  if (wanted('memory.rest') || wanted('cpu.rest')) {
    await exchange(side, 100);
    progress(`rest for ${restMs / 1000} s`);
    const before = side.agentPids().map(cpuNs);
    await sleep(restMs);
    const shares = side
      .agentPids()
      .map((pid, index) => ((cpuNs(pid) - (before[index] ?? 0)) / (restMs * 1e6)) * 100);
    if (wanted('memory.rest'))
      add('memory.rest', 'MB', largest(side.agentPids().map((pid) => memoryOf(pid).rss / 1e6)));
    if (wanted('cpu.rest')) add('cpu.rest', '% of a core', largest(shares));
  }
  if (wanted('memory.per-idle-connection')) {
    progress(`${idleConnections} idle connections`);
    add('memory.per-idle-connection', 'KB', await perIdleConnection(side));
  }
  return rows;
}

async function perIdleConnection(side: LabSide): Promise<number> {
  const server = await startServer(side);
  const before = side.agentPids().map((pid) => memoryOf(pid).private);
  const args = ['client', 'idle', side.serverAddress(), String(serverPort), String(idleConnections)];
  const client = await new Generator(side.spawnGenerator('client', args), 'idle client').ready();
  await sleep(idleMs);
  const grown = side.agentPids().map((pid, index) => memoryOf(pid).private - (before[index] ?? 0));
  await client.close();
  await server.close();
  return largest(grown) / idleConnections / 1000;
}

async function exchange(side: LabSide, count: number): Promise<void> {
  const server = await startServer(side);
  const args = ['client', 'rr', side.serverAddress(), String(serverPort), '1', '64'];
  const client = await new Generator(side.spawnGenerator('client', args), 'client').ready();
  for (let done = 0; done < count; ) done += (await client.ask<SliceAnswer>('run 10')).operations;
  await client.close();
  await server.close();
}

async function startServer(side: LabSide): Promise<Generator> {
  return await new Generator(side.spawnGenerator('server', ['server', String(serverPort)]), 'server').ready();
}

function largest(values: readonly number[]): number {
  return Math.max(...values);
}
