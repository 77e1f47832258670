import type { GeneratorProcess } from './generator.ts';

/** Ports of the load generator's server: echo, discard, source. */
export const serverPort = 7700;

export type PodRole = 'client' | 'local-client' | 'outside-client' | 'server';

/** One of the two worlds that a row compares: the same lab with Hadal on, or with nothing. */
export interface Side {
  readonly name: 'baseline' | 'hadal';
  /** Starts the load generator in the pod. */
  spawnGenerator(pod: PodRole, args: readonly string[]): GeneratorProcess;
  serverAddress(): string;
  /** CPU time of all threads of all agents so far, in ns; 0 where there are none. */
  agentCpuNs(): number;
}
