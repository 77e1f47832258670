/** The resolv.conf of a running pod, as its own processes see it. */
import type { NativeNet, PodFile } from '../native/types.ts';
import { clusterConfiguration, parseResolvConf, type ResolverConfiguration } from './resolv-conf.ts';

export interface ConfigurationSource {
  readonly native: Pick<NativeNet, 'readPodFile'>;
  /** '' when not told. */
  readonly cgroup: string;
  readonly namespace: string;
  readonly clusterDomain: string;
  /** After each look at the file. */
  readonly onRead: () => void;
}

/** A pod can change its file; until its first process runs there is none. */
const freshMs = 10_000;
const retryMs = 500;
const path = '/etc/resolv.conf';

export class PodConfiguration {
  readonly #source: ConfigurationSource;
  #known: ResolverConfiguration;
  #isRead = false;
  #isReading = false;
  #readAgainAt = 0;
  #problem: string | undefined;
  /** One alone is nothing: the process ended just now, or its root is not made yet. */
  #failures = 0;

  constructor(source: ConfigurationSource) {
    this.#source = source;
    this.#known = clusterConfiguration(source.namespace, source.clusterDomain);
  }

  /** From the pod's own file, as it was read last; what Kubernetes gives by default as long as it never was. */
  get known(): ResolverConfiguration {
    return this.#known;
  }

  /** Why the file is not read, and what counts instead. */
  get problem(): string | undefined {
    if (this.#problem === undefined || this.#failures < 2) return undefined;
    return `${this.#isRead ? 'what was read before' : 'the default of Kubernetes'} counts: ${this.#problem}`;
  }

  /** Reads the file again if it is time. The pod's file may never answer; nobody waits for it. */
  refresh(now = performance.now()): void {
    const { native, cgroup } = this.#source;
    if (cgroup === '' || this.#isReading || now < this.#readAgainAt) return;
    this.#isReading = true;
    void native.readPodFile(cgroup, path).then((file) => this.#onFile(file));
  }

  #onFile(file: PodFile): void {
    this.#isReading = false;
    if ('text' in file) {
      const found = parseResolvConf(file.text);
      // The same value for the same words: answers that were made for it go on.
      if (JSON.stringify(found) !== JSON.stringify(this.#known)) this.#known = found;
      this.#isRead = true;
    }
    this.#problem = 'text' in file || file.code === 'ERR_NET_POD_EMPTY' ? undefined : file.message;
    this.#failures = this.#problem === undefined ? 0 : this.#failures + 1;
    const isFresh = 'text' in file || this.#failures > 1;
    this.#readAgainAt = performance.now() + (isFresh ? freshMs : retryMs);
    this.#source.onRead();
  }
}
