/** The resolv.conf of a running pod, as its own processes see it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeNet } from '../native/types.ts';
import { clusterConfiguration, parseResolvConf, type ResolverConfiguration } from './resolv-conf.ts';

export interface ConfigurationSource {
  readonly native: Pick<NativeNet, 'readFileBelow'>;
  /** '' when not told. */
  readonly cgroup: string;
  readonly namespace: string;
  readonly clusterDomain: string;
}

/** A pod can change its file; until its first process runs there is none. */
const freshMs = 10_000;
const retryMs = 500;
const path = '/etc/resolv.conf';
/** kubelet, pod, container: processes stand below the pod's own cgroup. */
const deepest = 3;
const mostProcesses = 8;

export class PodConfiguration {
  readonly #source: ConfigurationSource;
  #known: ResolverConfiguration;
  #isRead = false;
  #readAgainAt = 0;

  constructor(source: ConfigurationSource) {
    this.#source = source;
    this.#known = clusterConfiguration(source.namespace, source.clusterDomain);
  }

  /** From the pod's own file; what Kubernetes gives by default as long as there is none. */
  read(now = performance.now()): ResolverConfiguration {
    if (now < this.#readAgainAt) return this.#known;
    const found = this.#find();
    if (found !== undefined) {
      this.#known = found;
      this.#isRead = true;
    }
    this.#readAgainAt = now + (this.#isRead ? freshMs : retryMs);
    return this.#known;
  }

  #find(): ResolverConfiguration | undefined {
    const { native, cgroup } = this.#source;
    if (cgroup === '') return undefined;
    for (const pid of processesBelow(cgroup, deepest).slice(0, mostProcesses)) {
      try {
        return parseResolvConf(native.readFileBelow(`/proc/${pid}/root`, path));
      } catch {
        // It ended just now, or its root is not made yet.
      }
    }
    return undefined;
  }
}

function processesBelow(cgroup: string, depth: number): string[] {
  try {
    const own = readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
    if (own.length > 0 || depth === 0) return own;
    return readdirSync(cgroup, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => processesBelow(join(cgroup, name), depth - 1));
  } catch {
    return [];
  }
}
