/**
 * The capture of one agent: BPF programs in the kernel, what they look up, what they report. All state is pinned: it stays in
 * force while no agent runs, and the next one takes it over.
 */
import { fileURLToPath } from 'node:url';
import { HadalError } from '../base/errors.ts';
import { type Cidr, parseCidr } from '../model/cidr.ts';
import type { BpfObject, NativeBpf, NativeNet } from '../native/types.ts';
import { CaptureMaps, type RangeKey, type UntouchedKey } from './capture-maps.ts';
import { HBONE_PORT, RANGE_MESH, RANGE_PODS, RANGE_SERVICES, VERDICT_DIRECT } from './constants.gen.ts';
import { type CaptureCounters, directReasons, readCounters } from './counters.ts';
import { DnsCapture } from './dns-capture.ts';
import { ensureBpffs, readCgroup } from './file-systems.ts';
import { FlowReader, type FlowReaderOptions } from './flows.ts';
import { KubeletRegistration, type KubeletSettings } from './kubelet.ts';
import { sweepLetIn } from './let-in.ts';
import { type PinnedPod, Pins, removeDirectory } from './pins.ts';
import { forgetPod, PodCapture, type PodCaptureSettings } from './pod-capture.ts';
import type { DirectSlot, RowEntry, RowKey } from './row-table.ts';
import { type SharedPrograms, startSharedPrograms } from './shared-programs.ts';
import { PodSockets } from './sockets.ts';
import type { Turbo } from './turbo.ts';

export interface CaptureOptions {
  readonly native: NativeBpf & NativeNet;
  /** Names the pins; two agents of one machine differ in it. */
  readonly instance: string;
  /** cgroup v2 directory that holds all pods and the kubelet of the node: the hooks see what is below it. */
  readonly cgroupPath: string;
  /** Worker threads of the tunnel, each with its own listeners. */
  readonly workers: number;
  readonly hbonePort?: number;
  /** Whether pods may ask for turbo. Default false. */
  readonly turbo?: boolean;
  /** Default: the mounted BPF file system, mounted at /sys/fs/bpf when there is none. */
  readonly bpffs?: string;
  /** Default: build/bpf of this package. */
  readonly objectDirectory?: string;
}

export interface CaptureRanges {
  readonly pods: readonly string[];
  readonly services: readonly string[];
  /** Mesh destinations outside of both. */
  readonly mesh: readonly string[];
}

export const packagedObjects = fileURLToPath(new URL('../../build/bpf', import.meta.url));

export class BpfCapture {
  readonly maps: CaptureMaps;
  readonly sockets: PodSockets;
  readonly dns: DnsCapture;
  readonly #options: CaptureOptions;
  readonly #objectDirectory: string;
  readonly #pins: Pins;
  readonly #programs: SharedPrograms;
  #kubelet: KubeletRegistration | undefined;

  static start(options: CaptureOptions): BpfCapture {
    const pins = new Pins(options.bpffs ?? ensureBpffs(), options.instance);
    const objectDirectory = options.objectDirectory ?? packagedObjects;
    const cgroup = readCgroup(options.cgroupPath);
    const { native, turbo = false } = options;
    const programs = startSharedPrograms({ native, objectDirectory, pins, cgroup, turbo });
    try {
      return new BpfCapture(options, objectDirectory, pins, programs);
    } catch (error) {
      programs.close();
      throw error;
    }
  }

  private constructor(
    options: CaptureOptions,
    objectDirectory: string,
    pins: Pins,
    programs: SharedPrograms,
  ) {
    this.#options = options;
    this.#objectDirectory = objectDirectory;
    this.#pins = pins;
    this.#programs = programs;
    this.maps = new CaptureMaps(programs.maps, programs.iterators);
    if (programs.adopted) {
      this.maps.rows.sweep();
      sweepLetIn(this.maps);
    }
    this.dns = new DnsCapture(this.maps);
    this.sockets = new PodSockets(options.native, programs.iterators, programs.destroyer);
  }

  /** Whether pinned state of an earlier agent was taken over. */
  get adopted(): boolean {
    return this.#programs.adopted;
  }

  get turbo(): Turbo {
    return this.#programs.turbo;
  }

  /** The object of the iterators, which also tells the types of their records. */
  get iterators(): BpfObject {
    return this.#programs.iterators;
  }

  get pinDirectory(): string {
    return this.#pins.directory;
  }

  /** Value 1 for a socket in this SK_STORAGE map exempts it from the connect hooks. */
  get exemptMapFd(): number {
    return this.maps.map('exempt').fd;
  }

  /** Pods that an earlier agent has left attached. */
  pinnedPods(): PinnedPod[] {
    return this.#pins.pods();
  }

  attachPod(settings: PodCaptureSettings): PodCapture {
    const { native, workers, hbonePort = HBONE_PORT } = this.#options;
    const parts = {
      native,
      objectDirectory: this.#objectDirectory,
      pins: this.#pins,
      maps: this.maps,
      sharedMaps: this.#programs.maps,
      egressGuard: this.#programs.egressGuard,
      workers,
      hbonePort,
    };
    return PodCapture.attach(parts, settings);
  }

  /** Takes out the pinned pods that `isGone` names; returns them. */
  forgetPods(isGone: (pod: PinnedPod) => boolean): PinnedPod[] {
    const gone = this.#pins.pods().filter(isGone);
    for (const pod of gone) forgetPod(this.#pins, this.maps, pod);
    this.#forgetEntries(isGone);
    return gone;
  }

  /** Destinations that are captured even when no row says so. Entries that stay are never missing meanwhile. */
  setRanges({ pods, services, mesh }: CaptureRanges): { set: number; deleted: number } {
    const kinds = [
      [RANGE_MESH, mesh],
      [RANGE_SERVICES, services],
      [RANGE_PODS, pods],
    ] as const;
    const wanted = new Map<string, readonly [Cidr, number]>();
    for (const [kind, texts] of kinds) {
      for (const range of texts.map(rangeOf)) wanted.set(range.text, [range, kind]);
    }
    return this.maps.ranges.replace([...wanted.values()].map(([range, kind]) => [rangeKey(range), { kind }]));
  }

  /** Of the mesh's ranges, those that come and go; none may be one of the cluster's own. */
  changeMeshRanges({ added, removed }: { added: readonly string[]; removed: readonly string[] }): void {
    this.maps.ranges.setAll(added.map((text) => [rangeKey(rangeOf(text)), { kind: RANGE_MESH }]));
    this.maps.ranges.deleteAll(removed.map((text) => rangeKey(rangeOf(text))));
  }

  putRows(rows: readonly (readonly [RowKey, RowEntry])[]): void {
    this.maps.rows.put(rows);
  }

  removeRows(keys: readonly RowKey[]): void {
    this.maps.rows.remove(keys);
  }

  /** Makes a pod's rows exactly these. */
  replaceRows(
    podIndex: number,
    rows: readonly (readonly [RowKey, RowEntry])[],
  ): { set: number; deleted: number } {
    return this.maps.rows.replace(rows, (key) => key.podIndex === podIndex);
  }

  /** Lets the kubelet's probes reach applications untouched. */
  setKubelet(settings: KubeletSettings): KubeletRegistration {
    this.#kubelet?.close();
    this.#kubelet = new KubeletRegistration(this.maps.map('kubelet'), this.maps.kubelet, settings);
    return this.#kubelet;
  }

  readCounters(): CaptureCounters {
    return readCounters(this.#options.native, this.maps);
  }

  /** Forgets what was counted under edges that nobody knows any more. */
  removeEdges(edges: readonly number[]): void {
    const gone = new Set(edges);
    this.#forgetCounts(({ edge }) => gone.has(edge));
  }

  /**
   * Rows of an earlier agent belong to its mesh state, and what was counted under their edges to its edges. With `keepDirect` those
   * that lead to pods of the node stay, and with them what they count, until somebody has judged them again.
   */
  forgetRows(
    podIndex: number,
    { keepDirect }: { readonly keepDirect: boolean } = { keepDirect: false },
  ): void {
    const { rows } = this.maps;
    const stays = (key: RowKey) => keepDirect && rows.get(key)?.verdict === VERDICT_DIRECT;
    rows.remove(rows.keys().filter((key) => key.podIndex === podIndex && !stays(key)));
    this.#forgetCounts(
      (key) => key.podIndex === podIndex && key.edge !== 0 && !(keepDirect && directReasons.has(key.reason)),
    );
  }

  /** Those that lead to pods of the node, with where they do. */
  directRows(): { readonly key: RowKey; readonly slots: readonly DirectSlot[] }[] {
    const { rows } = this.maps;
    return rows.keys().flatMap((key) => {
      const row = rows.get(key);
      return row !== undefined && 'slots' in row ? [{ key, slots: row.slots }] : [];
    });
  }

  #forgetCounts(isGone: (key: UntouchedKey) => boolean): void {
    const map = this.maps.map('untouched_counts');
    for (const key of map.keys()) if (isGone(this.maps.untouchedKey.decode(key))) map.delete(key);
  }

  openFlows(options: FlowReaderOptions): FlowReader {
    return new FlowReader(this.#options.native, this.#programs.iterators, this.maps.map('flows'), options);
  }

  /** Hooks of an agent of another version, which stand beside ours; to be called when ours are in force. */
  retireOtherVersions(): string[] {
    const others = this.#pins.otherVersions();
    for (const directory of others) removeDirectory(directory);
    return others;
  }

  /** Entries without pins: their pods were on their way out when an agent ended. */
  #forgetEntries(isGone: (pod: PinnedPod) => boolean): void {
    const pods = this.maps.map('pods');
    for (const [key, value] of pods.entries()) {
      const { podIndex } = this.maps.pod.decode(value);
      const netnsCookie = new DataView(key.buffer, key.byteOffset).getBigUint64(0, true);
      if (isGone({ podIndex, netnsCookie })) pods.delete(key);
    }
  }

  /** Lets go of the descriptors; what is pinned stays in force. */
  close(): void {
    this.#kubelet?.close();
    this.sockets.close();
    this.#programs.close();
  }

  /** Detaches everything and removes the pins: connections are as if there had never been an agent. */
  uninstall(): void {
    for (const link of this.#programs.links) link.detach();
    this.close();
    this.#pins.remove();
  }
}

function rangeOf(text: string): Cidr {
  const range = parseCidr(text);
  if (range !== undefined) return range;
  throw new HadalError('ERR_KERNEL_VALUE', `range '${text}' is no CIDR, such as 10.0.0.0/8 or fd00::/8`);
}

function rangeKey({ base, length }: Cidr): RangeKey {
  return { address: base.text, prefixLength: base.family === 4 ? 96 + length : length };
}
