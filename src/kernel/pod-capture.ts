/** One pod's part of the capture: its sk_lookup instance, its listeners, its addresses and its entry. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { noExclusions, type TrafficExclusions } from '../model/traffic-exclusions.ts';
import type { BpfLink, BpfMap, BpfObject, BpfProgram, NativeBpf, PodListeners } from '../native/types.ts';
import { forgetAuthorized } from './authorized-tuples.ts';
import type { CaptureMaps } from './capture-maps.ts';
import { integerBytes } from './codec.ts';
import {
  LISTENER_HBONE,
  LISTENER_OUTBOUND,
  LISTENER_PLAINTEXT,
  MAX_WORKERS,
  POD_ASK_UNKNOWN,
  POD_BYPASS_INBOUND,
  POD_CAPTURE_DNS,
  POD_CAPTURE_OUTBOUND,
  POD_HAS_VIRTUAL,
  POD_REFUSE_UNKNOWN,
  POD_TRACK_FLOWS,
} from './constants.gen.ts';
import { DnsCapture } from './dns-capture.ts';
import { type EgressGuard, updatePinned } from './egress-guard.ts';
import { exclusionFlags, exclusionMask } from './exclusions.ts';
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
  /** Plain connections reach the application, and no policy holds for them. Default false. */
  readonly bypassInbound?: boolean;
  /** What the pod's annotations take out of the capture. Default nothing. */
  readonly exclusions?: TrafficExclusions;
  /** Missing: as an earlier agent left it. */
  readonly unknown?: UnknownDestinations | undefined;
}

/** What becomes of connections to where neither the mesh nor the cluster is. `ask`: captured, the tunnel's rows say it. */
export type UnknownDestinations = 'allow' | 'refuse' | 'ask';

const unknownFlags = Object.freeze({ allow: 0, refuse: POD_REFUSE_UNKNOWN, ask: POD_ASK_UNKNOWN });
const unknownMask = POD_REFUSE_UNKNOWN | POD_ASK_UNKNOWN;

export interface PodCaptureParts {
  readonly native: NativeBpf;
  readonly objectDirectory: string;
  readonly pins: Pins;
  readonly maps: CaptureMaps;
  readonly sharedMaps: ReadonlyMap<string, BpfMap>;
  readonly egressGuard: EgressGuard;
  readonly workers: number;
  readonly hbonePort: number;
}

export interface VirtualPrograms {
  readonly fromMachine: BpfProgram;
  readonly toMachine: BpfProgram;
  readonly refuse: BpfProgram;
  close(): void;
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
  captureOutbound({
    trackFlows = true,
    flowLimit = 20_000,
    bypassInbound = false,
    exclusions = noExclusions,
    unknown,
  }: OutboundOptions = {}): void {
    const keptMask = POD_CAPTURE_DNS | POD_HAS_VIRTUAL | (unknown === undefined ? unknownMask : 0);
    const chosen =
      (trackFlows ? POD_TRACK_FLOWS : 0) |
      (bypassInbound ? POD_BYPASS_INBOUND : 0) |
      exclusionFlags(exclusions) |
      (unknown === undefined ? 0 : unknownFlags[unknown]);
    this.#parts.maps.exclusions.replace(this.pod.podIndex, exclusions, () =>
      this.#setEntry(POD_CAPTURE_OUTBOUND | chosen | (this.#entry.flags & keptMask), flowLimit),
    );
    this.#isCapturing = true;
  }

  /** What becomes of the pod's connections out of the mesh from now on. Only of a pod whose connections are captured. */
  setUnknown(unknown: UnknownDestinations): void {
    this.#changeFlags(unknownMask, unknownFlags[unknown]);
  }

  /** Ports and ranges that are left alone from now on. Only of a pod whose connections are captured. */
  setExclusions(exclusions: TrafficExclusions): void {
    if (!this.#isCapturing || this.#isLeaving) return;
    this.#parts.maps.exclusions.replace(this.pod.podIndex, exclusions, () =>
      this.#changeFlags(exclusionMask, exclusionFlags(exclusions)),
    );
  }

  /** Whether the pod's queries go to the agent's resolver. Only of a pod whose connections are captured. */
  captureDns(wanted: boolean): void {
    this.#setFlag(POD_CAPTURE_DNS, wanted);
  }

  /** Whether plain connections reach the application past every policy. Only of a pod whose connections are captured. */
  bypassInbound(wanted: boolean): void {
    this.#setFlag(POD_BYPASS_INBOUND, wanted);
  }

  /** Indexes of interfaces in the pod behind which a machine runs that it holds. */
  setVirtualInterfaces(indexes: readonly number[]): void {
    setVirtualInterfaces(this.#parts.maps, this.pod.podIndex, indexes);
    this.#setFlag(POD_HAS_VIRTUAL, indexes.length > 0);
  }

  /** What stands at such interfaces. They keep their programs when this is closed. */
  openVirtualPrograms(): VirtualPrograms {
    const object = loadForPod(this.#parts, 'virtual_interface', { pod_index: this.pod.podIndex });
    return {
      fromMachine: object.program('hadal_from_virtual'),
      toMachine: object.program('hadal_to_virtual'),
      refuse: object.program('hadal_refuse_virtual'),
      close: () => object.close(),
    };
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

  #setFlag(flag: number, wanted: boolean): void {
    this.#changeFlags(flag, wanted ? flag : 0);
  }

  #changeFlags(mask: number, wanted: number): void {
    if (!this.#isCapturing || this.#isLeaving) return;
    const { flags, flowLimit } = this.#entry;
    const next = (flags & ~mask) | wanted;
    if (next !== flags) this.#setEntry(next, flowLimit);
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
  forgetAuthorized(maps.authorized, (_, { sourcePodIndex, destinationPodIndex }) => {
    if (sourcePodIndex === pod.podIndex) return 'source';
    return destinationPodIndex === pod.podIndex ? 'destination' : undefined;
  });
  setVirtualInterfaces(maps, pod.podIndex, []);
  maps.exclusions.replace(pod.podIndex, noExclusions);
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

function setVirtualInterfaces(maps: CaptureMaps, podIndex: number, indexes: readonly number[]): void {
  maps.virtualInterfaces.replace(
    indexes.map((interfaceIndex) => [{ podIndex, interfaceIndex }, { value: 1 }] as const),
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

function loadLookup(parts: PodCaptureParts, { podIndex, netnsCookie }: PodCaptureSettings): BpfObject {
  return loadForPod(parts, 'sk_lookup', {
    pod_index: podIndex,
    netns_cookie: netnsCookie,
    worker_count: parts.workers,
    hbone_port: parts.hbonePort,
  });
}

/** An instance of its own, over the maps of all. */
function loadForPod(
  { native, objectDirectory, sharedMaps }: PodCaptureParts,
  name: string,
  constants: Readonly<Record<string, number | bigint>>,
): BpfObject {
  const object = native.openObject(join(objectDirectory, `${name}.bpf.o`));
  try {
    for (const [variable, value] of Object.entries(constants)) object.setReadOnly(variable, value);
    for (const map of object.mapNames) {
      const shared = sharedMaps.get(map);
      if (shared !== undefined) object.reuseMap(map, shared);
    }
    object.load();
    return object;
  } catch (cause) {
    object.close();
    throw HadalError.from(cause, 'ERR_KERNEL_LOAD', `loading ${name}.bpf.o for pod ${constants.pod_index}`);
  }
}
