/**
 * Tells the connect hooks whose connections are probes: those of processes in the kubelet's cgroup, from the host's network
 * namespace. A kubelet that restarts gets a new cgroup of the same path, so its id is read again and again.
 */
import { statSync } from 'node:fs';
import type { BpfMap } from '../native/types.ts';
import type { KubeletEntry } from './capture-maps.ts';
import type { StructCodec } from './codec.ts';
import { KUBELET_ANY_HOST, KUBELET_BY_CGROUP } from './constants.gen.ts';
import { readCgroup } from './file-systems.ts';

export interface KubeletSettings {
  readonly hostNetnsCookie: bigint;
  /** The kubelet's cgroup; `any-host-process` where no cgroup isolates it. */
  readonly cgroup: string | 'any-host-process';
  /** How often the cgroup is looked at. Default 1,000 ms. */
  readonly intervalMs?: number;
}

/** Where distributions put the kubelet, below the cgroup root. */
export const usualKubeletCgroups = [
  'system.slice/kubelet.service',
  'podruntime.slice/kubelet.service',
  'runtime.slice/kubelet.service',
  'podruntime/kubelet',
  'kubelet.slice/kubelet.service',
  'kubelet',
] as const;

export class KubeletRegistration {
  readonly #map: BpfMap;
  readonly #codec: StructCodec<KubeletEntry>;
  readonly #settings: KubeletSettings;
  readonly #timer: NodeJS.Timeout | undefined;
  #state: 'cgroup' | 'any-host-process' | 'absent' = 'absent';
  #inode: bigint | undefined;

  constructor(map: BpfMap, codec: StructCodec<KubeletEntry>, settings: KubeletSettings) {
    this.#map = map;
    this.#codec = codec;
    this.#settings = settings;
    if (settings.cgroup === 'any-host-process') {
      this.#write({ cgroupId: 0n, cgroupLevel: 0, flags: KUBELET_ANY_HOST });
      this.#state = 'any-host-process';
      return;
    }
    this.refresh();
    this.#timer = setInterval(() => this.refresh(), settings.intervalMs ?? 1_000);
    this.#timer.unref();
  }

  /** `absent`: the cgroup is not there, so probes go to the plaintext listener. */
  get state(): 'cgroup' | 'any-host-process' | 'absent' {
    return this.#state;
  }

  /** Reads the cgroup's id and writes it down when it changed. */
  refresh(): void {
    const { cgroup } = this.#settings;
    const inode = statSync(cgroup, { bigint: true, throwIfNoEntry: false })?.ino;
    if (inode === this.#inode && this.#state !== 'absent') return;
    this.#inode = inode;
    if (inode === undefined) {
      this.#write({ cgroupId: 0n, cgroupLevel: 0, flags: 0 });
      this.#state = 'absent';
      return;
    }
    const { id, level } = readCgroup(cgroup);
    this.#write({ cgroupId: id, cgroupLevel: level, flags: KUBELET_BY_CGROUP });
    this.#state = 'cgroup';
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #write(entry: Omit<KubeletEntry, 'hostNetnsCookie'>): void {
    const { hostNetnsCookie } = this.#settings;
    this.#map.set(new Uint8Array(4), this.#codec.encode({ hostNetnsCookie, ...entry }));
  }
}
