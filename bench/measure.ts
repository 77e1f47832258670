import { Generator, type SliceAnswer } from './generator.ts';
import { sliceMs } from './options.ts';
import type { Reading, Scenario } from './scenarios.ts';
import { type PodRole, type Side, serverPort } from './side.ts';

export type Readings = Readonly<Record<Reading, number>>;

export interface Pair {
  readonly baseline: Readings;
  readonly hadal: Readings;
}

const portOffset = { rr: 0, connections: 0, upload: 1, download: 2 } as const;
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

  static async start(side: Side, scenario: Scenario): Promise<Runner> {
    const server = await new Generator(
      side.spawnGenerator('server', ['server', String(serverPort)]),
      `server (${side.name})`,
    ).ready();
    try {
      const port = serverPort + portOffset[scenario.load];
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
 * Alternates slices between the sides, the order swapped in each pair, so that the machine's own drift falls
 * on both alike.
 */
export async function measurePairs(
  baseline: Runner,
  hadal: Runner,
  options: { seconds: number; rounds: number },
  progress: (done: number, of: number) => void,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const count = Math.max(1, Math.round((options.seconds * 1000) / sliceMs)) * options.rounds;
  await baseline.slice();
  await hadal.slice();
  for (let i = 0; i < count; i++) {
    progress(i, count);
    if (i % 2 === 0) {
      const first = await baseline.slice();
      pairs.push({ baseline: first, hadal: await hadal.slice() });
    } else {
      const first = await hadal.slice();
      pairs.push({ baseline: await baseline.slice(), hadal: first });
    }
  }
  return pairs;
}
