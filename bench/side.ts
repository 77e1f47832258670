import type { GeneratorProcess } from './generator.ts';

/** Ports of the load generator's server: echo, discard, source. */
export const serverPort = 7700;

export type PodRole = 'client' | 'local-client' | 'outside-client' | 'server';

/** No mesh; Hadal as it is; with the sockmap switch on; with few and with many policies. */
export type SideName = 'baseline' | 'hadal' | 'turbo' | 'fewpolicies' | 'manypolicies';

/** One of the two worlds that a row compares: the same lab with Hadal on, or with nothing. */
export interface Side {
  readonly name: SideName;
  /** Starts the load generator in the pod. */
  spawnGenerator(pod: PodRole, args: readonly string[]): GeneratorProcess;
  serverAddress(): string;
  /** CPU time of all threads of all agents so far, in ns; 0 where there are none. */
  agentCpuNs(): number;
}
