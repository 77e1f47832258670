/** One pod's part of the capture: its sk_lookup instance, its listeners, its addresses and its entry. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { BpfLink, BpfMap, BpfObject, NativeBpf, PodListeners } from '../native/types.ts';
import type { CaptureMaps } from './capture-maps.ts';
import { integerBytes } from './codec.ts';
import {
  LISTENER_HBONE,
  LISTENER_OUTBOUND,
  LISTENER_PLAINTEXT,
  MAX_WORKERS,
  POD_CAPTURE_DNS,
  POD_CAPTURE_OUTBOUND,
  POD_TRACK_FLOWS,
} from './constants.gen.ts';
import { DnsCapture } from './dns-capture.ts';
import { type EgressGuard, updatePinned } from './egress-guard.ts';
import { createDirectory, type PinnedPod, type Pins, removeDirectory } from './pins.ts';

export interface PodCaptureSettings extends PinnedPod {
  /** An open descriptor of the pod's network namespace. */
  readonly netnsFd: number;
  readonly addresses: readonly string[];
  readonly listeners: PodListeners;
  /** Path of the pod's cgroup; '' or missing when not told. */
  readonly cgroup?: string;
}

export interface OutboundOptions {
  /** Report connections that the capture leaves alone. Default true. */
  readonly trackFlows?: boolean;
  /** How many of them at once. Default 20,000. */
  readonly flowLimit?: number;
}

export interface PodCaptureParts {
  readonly native: NativeBpf;
  readonly objectPath: string;
  readonly pins: Pins;
  readonly maps: CaptureMaps;
  readonly sharedMaps: ReadonlyMap<string, BpfMap>;
  readonly egressGuard: EgressGuard;
  readonly workers: number;
  readonly hbonePort: number;
}

export class PodCapture {
  readonly pod: PinnedPod;
  readonly #parts: PodCaptureParts;
  readonly #link: BpfLink;
  /** Of a pod on its way out, whose pins are gone. */
  #guard: BpfLink | undefined;
  #isLeaving = false;
  #isCapturing: boolean;
  #entry: { readonly flags: number; readonly flowLimit: number };

  /**
   * Steers what arrives in the pod to its listeners. A pod that an earlier agent had attached is taken over: its program is
   * replaced in place, its new listeners stand in the slots of the old. The pod's own connections are captured only from
   * `captureOutbound` on, once rule and routes stand.
   */
  static attach(parts: PodCaptureParts, settings: PodCaptureSettings): PodCapture {
    const { podIndex, netnsCookie, addresses } = settings;
    if (parts.workers > MAX_WORKERS) {
      throw new HadalError(
        'ERR_KERNEL_VALUE',
        `${parts.workers} workers; a pod's sock map has room for ${MAX_WORKERS}`,
      );
    }
    const pod = { podIndex, netnsCookie };
    const isTakenOver = existsSync(parts.pins.podDirectory(pod));
    try {
      setAddresses(parts.maps, podIndex, addresses);
      setListeners(parts.maps, podIndex, settings.listeners);
      const link = openOrLoad(parts, settings);
      try {
        parts.egressGuard.attach(pod, settings.cgroup ?? '');
      } catch (error) {
        link.close();
        throw error;
      }
      return new PodCapture(parts, pod, link);
    } catch (error) {
      // Nobody was captured by it: what the maps hold would only meet the next pod of this index.
      if (!isTakenOver) forgetPod(parts.pins, parts.maps, pod);
      throw error;
    }
  }

  private constructor(parts: PodCaptureParts, pod: PinnedPod, link: BpfLink) {
    this.#parts = parts;
    this.pod = pod;
    this.#link = link;
    const entry = parts.maps.map('pods').get(integerBytes(pod.netnsCookie, 8));
    this.#entry = entry === undefined ? { flags: 0, flowLimit: 0 } : parts.maps.pod.decode(entry);
    this.#isCapturing = (this.#entry.flags & POD_CAPTURE_OUTBOUND) !== 0;
  }

  get isCapturingOutbound(): boolean {
    return this.#isCapturing;
  }

  /** New listeners take the slots of the old ones; connections that wait in the old ones' queues stay there. */
  setListeners(listeners: PodListeners): void {
    setListeners(this.#parts.maps, this.pod.podIndex, listeners);
  }

  setAddresses(addresses: readonly string[]): void {
    setAddresses(this.#parts.maps, this.pod.podIndex, addresses);
  }

  /** From now on the pod's connections are decided by rows and ranges. */
  captureOutbound({ trackFlows = true, flowLimit = 20_000 }: OutboundOptions = {}): void {
    const dns = this.#entry.flags & POD_CAPTURE_DNS;
    this.#setEntry(POD_CAPTURE_OUTBOUND | (trackFlows ? POD_TRACK_FLOWS : 0) | dns, flowLimit);
    this.#isCapturing = true;
  }

  /** Whether the pod's queries go to the agent's resolver. Only of a pod whose connections are captured. */
  captureDns(wanted: boolean): void {
    if (!this.#isCapturing || this.#isLeaving) return;
    const { flags, flowLimit } = this.#entry;
    const next = wanted ? flags | POD_CAPTURE_DNS : flags & ~POD_CAPTURE_DNS;
    if (next !== flags) this.#setEntry(next, flowLimit);
  }

  /** New connections of the pod are left alone; what is captured goes on. */
  releaseOutbound(): void {
    this.#entry = { flags: 0, flowLimit: 0 };
    this.#parts.maps.map('pods').delete(integerBytes(this.pod.netnsCookie, 8));
    this.#isCapturing = false;
  }

  /** Takes the pod out: its next connections, both ways, are as if there were no mesh. */
  detach(): void {
    if (!this.#isLeaving) {
      this.releaseOutbound();
      this.#link.detach();
    }
    this.close();
    forgetPod(this.#parts.pins, this.#parts.maps, this.pod);
  }

  /** The same, but what is captured and open stays guarded until `detach`. */
  leave(): void {
    this.#isLeaving = true;
    this.#isCapturing = false;
    this.#setEntry(0, 0);
    this.#link.detach();
    this.#link.close();
    this.#guard = this.#parts.egressGuard.hold(this.pod);
    forgetPod(this.#parts.pins, this.#parts.maps, this.pod, { keepEntry: true });
  }

  /** Lets go of the descriptors; what is pinned stays in force. */
  close(): void {
    this.#link.close();
    this.#guard?.close();
  }

  #setEntry(flags: number, flowLimit: number): void {
    this.#entry = { flags, flowLimit };
    const { podIndex, netnsCookie } = this.pod;
    const value = this.#parts.maps.pod.encode({
      podIndex,
      flags,
      flowLimit,
      workerCount: this.#parts.workers,
    });
    this.#parts.maps.map('pods').set(integerBytes(netnsCookie, 8), value);
  }
}

/** Removes all that the kernel knows of a pod that is gone. */
export function forgetPod(
  pins: Pins,
  maps: CaptureMaps,
  pod: PinnedPod,
  { keepEntry = false }: { readonly keepEntry?: boolean } = {},
): void {
  const pods = maps.map('pods');
  const cookie = integerBytes(pod.netnsCookie, 8);
  const entry = keepEntry ? undefined : pods.get(cookie);
  if (entry !== undefined && maps.pod.decode(entry).podIndex === pod.podIndex) pods.delete(cookie);
  removeDirectory(pins.podDirectory(pod));
  setAddresses(maps, pod.podIndex, []);
  const listeners = maps.map('listeners');
  for (const key of listeners.keys()) {
    if (maps.listener.decode(key).podIndex === pod.podIndex) listeners.delete(key);
  }
  maps.rows.replace([], ({ podIndex }) => podIndex === pod.podIndex);
  new DnsCapture(maps).forget(pod.podIndex);
  maps.map('pod_budgets').delete(integerBytes(pod.podIndex, 4));
  for (const name of ['pod_counts', 'untouched_counts'] as const) {
    const map = maps.map(name);
    // Both keys begin with the pod's index.
    for (const key of map.keys()) {
      if (new DataView(key.buffer, key.byteOffset).getUint32(0, true) === pod.podIndex) map.delete(key);
    }
  }
}

function setAddresses(maps: CaptureMaps, podIndex: number, addresses: readonly string[]): void {
  maps.podAddresses.replace(
    addresses.map((address) => [{ podIndex, address }, { value: 1 }] as const),
    (key) => key.podIndex === podIndex,
  );
}

function setListeners(maps: CaptureMaps, podIndex: number, listeners: PodListeners): void {
  const [map, exempt] = [maps.map('listeners'), maps.map('exempt')];
  const kinds = [
    [LISTENER_OUTBOUND, listeners.outbound],
    [LISTENER_HBONE, listeners.hbone],
    [LISTENER_PLAINTEXT, listeners.plaintext],
  ] as const;
  for (const [kind, descriptors] of kinds) {
    descriptors.forEach((fd, worker) => {
      // Accepted sockets inherit it: sockops then knows them for the agent's.
      exempt.setForSocket(fd, integerBytes(1, 4));
      map.setSocket(maps.listener.encode({ podIndex, kind, worker }), fd);
    });
  }
}

function openOrLoad(parts: PodCaptureParts, settings: PodCaptureSettings): BpfLink {
  const { native, pins } = parts;
  const directory = pins.podDirectory(settings);
  const path = join(directory, 'link');
  const object = loadLookup(parts, settings);
  try {
    const program = object.program('hadal_sk_lookup');
    if (!updatePinned(native, path, program)) {
      removeDirectory(directory);
      createDirectory(directory, (temporary) => {
        const link = program.attachNetns(settings.netnsFd);
        link.pin(join(temporary, 'link'));
        link.close();
      });
    }
  } catch (cause) {
    throw HadalError.from(
      cause,
      'ERR_KERNEL_ATTACH',
      `attaching to the network namespace of pod ${settings.podIndex}`,
    );
  } finally {
    // Program and maps live on through the link; a pod costs one descriptor instead of a dozen.
    object.close();
  }
  return native.openPinnedLink(path);
}

function loadLookup(parts: PodCaptureParts, { podIndex }: PodCaptureSettings): BpfObject {
  const object = parts.native.openObject(parts.objectPath);
  try {
    object.setReadOnly('pod_index', podIndex);
    object.setReadOnly('worker_count', parts.workers);
    object.setReadOnly('hbone_port', parts.hbonePort);
    for (const name of object.mapNames) {
      const shared = parts.sharedMaps.get(name);
      if (shared !== undefined) object.reuseMap(name, shared);
    }
    object.load();
    return object;
  } catch (cause) {
    object.close();
    throw HadalError.from(cause, 'ERR_KERNEL_LOAD', `loading sk_lookup.bpf.o for pod ${podIndex}`);
  }
}
