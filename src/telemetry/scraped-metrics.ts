/** Metrics of a catalogue that are read when they are asked for, with those of the process itself. */
import { readdirSync, readFileSync } from 'node:fs';
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import Registry from 'prom-client/lib/registry.js';
import type { MetricDescription, processMetrics } from './metric-catalogue.ts';

export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

export interface Sample {
  /** Of a histogram: `<name>_bucket`, `<name>_sum` or `<name>_count`. */
  readonly metricName?: string;
  readonly labels: object;
  /** Printed ahead of `labels`; the text is kept as long as the object lives. */
  readonly sharedLabels?: object;
  readonly value: number;
}

export type ProcessMetric = keyof typeof processMetrics;

export const noLabels = Object.freeze({});

export class ScrapedMetrics<Name extends string> {
  readonly #read: () => Iterable<readonly [Name, readonly Sample[]]>;
  readonly #registry = new Registry();
  #samples = new Map<string, readonly Sample[]>();
  #utilization: EventLoopUtilization = performance.eventLoopUtilization();

  constructor(
    catalogue: Readonly<Record<Name | ProcessMetric, MetricDescription>>,
    read: () => Iterable<readonly [Name, readonly Sample[]]>,
  ) {
    this.#read = read;
    for (const [name, { help, type }] of Object.entries<MetricDescription>(catalogue)) {
      const get = async () => ({
        name,
        help,
        type,
        aggregator: 'sum',
        values: this.#samples.get(name) ?? [],
      });
      this.#registry.registerMetric({ name, get });
    }
  }

  async render(): Promise<Exposition> {
    this.#samples = new Map<string, readonly Sample[]>([...this.#read(), ...this.#processSamples()]);
    const body = await this.#registry.metrics();
    return { contentType: this.#registry.contentType, body };
  }

  *#processSamples(): Generator<[ProcessMetric, Sample[]]> {
    const cpu = process.cpuUsage();
    yield ['process_cpu_seconds_total', one((cpu.user + cpu.system) / 1e6)];
    yield ['process_resident_memory_bytes', one(process.memoryUsage.rss())];
    yield ['process_start_time_seconds', one(performance.timeOrigin / 1000)];
    yield ['process_open_fds', one(countOpenFiles())];
    yield ['process_max_fds', one(maxOpenFiles())];
    yield ['nodejs_heap_size_used_bytes', one(process.memoryUsage().heapUsed)];
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    yield ['nodejs_eventloop_utilization', one(utilization)];
  }
}

export function one(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ labels: noLabels, value }];
}

export function byLabel(
  label: string,
  values: Readonly<Record<string, number>> | undefined,
  text: (name: string) => string = String,
): Sample[] {
  return Object.entries(values ?? {}).map(([name, value]) => ({ labels: { [label]: text(name) }, value }));
}

function countOpenFiles(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return undefined;
  }
}

function maxOpenFiles(): number | undefined {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return line?.[1] === undefined ? undefined : Number(line[1]);
  } catch {
    return undefined;
  }
}
