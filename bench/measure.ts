import { setTimeout as sleep } from 'node:timers/promises';
import { Generator, type SliceAnswer } from './generator.ts';
import { sliceMs } from './options.ts';
import type { Reading, Scenario } from './scenarios.ts';
import { type PodRole, type Side, serverPort } from './side.ts';

export type Readings = Readonly<Record<Reading, number>>;

export interface Pair {
  readonly baseline: Readings;
  readonly hadal: Readings;
}

const portOffset = { rr: 0, connections: 3, upload: 1, download: 2 } as const;
const clientPod: Readonly<Record<Scenario['topology'], PodRole>> = {
  cross: 'client',
  aa: 'client',
  same: 'local-client',
  turbo: 'local-client',
  policy: 'client',
  plaintext: 'outside-client',
};

/** One side of a scenario: a server that runs all along and a connected, warm client. */
export class Runner {
  readonly side: Side;
  readonly #scenario: Scenario;
  readonly #server: Generator;
  readonly #client: Generator;

  private constructor(side: Side, scenario: Scenario, server: Generator, client: Generator) {
    this.side = side;
    this.#scenario = scenario;
    this.#server = server;
    this.#client = client;
  }

  /** `first` is the lowest of the ports that the server takes. */
  static async start(side: Side, scenario: Scenario, first = serverPort): Promise<Runner> {
    const server = await new Generator(
      side.spawnGenerator('server', ['server', String(first)]),
      `server (${side.name})`,
    ).ready();
    try {
      const port = first + portOffset[scenario.load];
      const { load, connections, messageBytes } = scenario;
      const args = [
        'client',
        load,
        side.serverAddress(),
        String(port),
        String(connections),
        String(messageBytes),
      ];
      const client = new Generator(
        side.spawnGenerator(clientPod[scenario.topology], args),
        `client (${side.name})`,
      );
      return new Runner(side, scenario, server, await client.ready());
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  async slice(ms = sliceMs): Promise<Readings> {
    const cpuBefore = this.side.agentCpuNs();
    const measured = await this.#measured(ms);
    const cpuNs = this.side.agentCpuNs() - cpuBefore;
    if (measured.answer.failures > 0) {
      throw new Error(
        `${this.#scenario.topology}.${this.#scenario.name} (${this.side.name}): ${measured.answer.failures} failed connections`,
      );
    }
    return readings(measured, cpuNs);
  }

  async close(): Promise<void> {
    await this.#client.close();
    await this.#server.close();
  }

  async #measured(ms: number): Promise<Measured> {
    if (this.#scenario.load === 'download') await this.#server.ask('source on');
    const before = await this.#server.ask<Mark>('mark');
    const answer = await this.#client.ask<SliceAnswer>(`run ${ms}`);
    const after = await this.#server.ask<Mark>('mark');
    if (this.#scenario.load === 'download') await this.#server.ask('source off');
    if (this.#scenario.load !== 'upload') return { answer, bytes: answer.bytes, ns: answer.ns };
    // The receiver counts: what it has until it is asked, over the time since the first write.
    return { answer, bytes: after.bytes - before.bytes, ns: after.ns - answer.start };
  }
}

interface Mark {
  readonly bytes: number;
  readonly ns: number;
}

interface Measured {
  readonly answer: SliceAnswer;
  readonly bytes: number;
  readonly ns: number;
}

function readings({ answer, bytes, ns }: Measured, cpuNs: number): Readings {
  return {
    rate: (answer.operations * 1e9) / answer.ns,
    gbits: (bytes * 8) / ns,
    p50: answer.p50,
    p90: answer.p90,
    p99: answer.p99,
    cpuPerOperation: cpuNs / 1000 / Math.max(1, answer.operations),
    cpuPerGigabyte: cpuNs / 1e6 / Math.max(1e-9, bytes / 1e9),
  };
}

/**
 * One draw, with processes and connections of its own: slices alternate between the sides, so that the machine's own drift falls on
 * both alike.
 */
export async function measureDraw(
  sides: readonly [baseline: Side, hadal: Side],
  scenario: Scenario,
  {
    seconds,
    swapped,
    swapsPairs,
  }: { readonly seconds: number; readonly swapped: boolean; readonly swapsPairs: boolean },
): Promise<Pair[]> {
  const runners: Runner[] = [];
  try {
    for (const side of swapped ? [...sides].reverse() : sides) {
      // Two sides of one world cannot share their server's ports.
      const port = runners.some((runner) => runner.side === side) ? serverPort + 10 : serverPort;
      runners.push(await Runner.start(side, scenario, port));
    }
    const [first, second] = runners as [Runner, Runner];
    const count = Math.max(1, Math.round((seconds * 1000) / sliceMs));
    const slices = await alternate(first, second, { count, swapsPairs });
    return slices.map(([one, other]) =>
      swapped ? { baseline: other, hadal: one } : { baseline: one, hadal: other },
    );
  } finally {
    for (const runner of runners) await runner.close();
  }
}

/** A pair takes a second: what else goes on in a rhythm of its own must not meet the same side draw after draw. */
const mostDelayMs = 1_000;
const runUpMs = 250;

async function alternate(
  first: Runner,
  second: Runner,
  { count, swapsPairs }: { readonly count: number; readonly swapsPairs: boolean },
): Promise<[Readings, Readings][]> {
  const slices: [Readings, Readings][] = [];
  await sleep(Math.random() * mostDelayMs);
  await first.slice(runUpMs);
  await second.slice(runUpMs);
  for (let i = 0; i < count; i++) {
    const isSwapped = swapsPairs && i % 2 === 1;
    const before = await (isSwapped ? second : first).slice();
    const after = await (isSwapped ? first : second).slice();
    slices.push(isSwapped ? [after, before] : [before, after]);
  }
  return slices;
}
