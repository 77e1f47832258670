/**
 * Turbo: bytes between two pods of this node go from one application's socket straight into the other's queue, past TCP. Off
 * unless asked for; docs/turbo.md has the rules, and who must not ask. The sockets join in sockops (bpf/lib/turbo_join.h), the
 * program at each send decides (bpf/turbo.bpf.c). One word in a pinned map turns all of it off at once, agent or not.
 */
import { release } from 'node:os';
import { HadalError } from '../base/errors.ts';
import type { BpfMap, BpfObject, NativeBpf } from '../native/types.ts';
import { integerBytes } from './codec.ts';
import {
  TURBO_JOINED,
  TURBO_KILLED,
  TURBO_OFF,
  TURBO_ON,
  TURBO_REDIRECTED,
  TURBO_REFUSED_KIND,
  TURBO_REFUSED_ROOM,
  TURBO_TCP_ENDED,
  TURBO_TCP_FIRST,
  TURBO_TCP_GONE,
  TURBO_TCP_MEMORY,
  TURBO_TCP_QUEUE,
  TURBO_TCP_READER,
  TURBO_TCP_SENDER,
  TURBO_TCP_UNACKED,
  TURBO_TCP_UNKNOWN,
  TURBO_TCP_UNREAD,
} from './constants.gen.ts';
import { updatePinned } from './egress-guard.ts';
import type { Pins } from './pins.ts';

/** `killed`: by an operator; no agent turns it on again. */
export type TurboSwitch = 'off' | 'on' | 'killed';

/** Kernels on which the stream tests of this version have passed. Sock maps have had too many faults to hope for others. */
export const turboKernels = ['6.18'] as const;

export const turboObject = 'turbo';

/** Ends of connections that joined or could not, and sends by what became of them. */
export interface TurboCounts {
  readonly joined: number;
  readonly refusedKind: number;
  readonly refusedRoom: number;
  readonly redirected: number;
  readonly tcpFirst: number;
  readonly tcpUnacked: number;
  readonly tcpUnread: number;
  readonly tcpQueue: number;
  readonly tcpSender: number;
  readonly tcpReader: number;
  readonly tcpMemory: number;
  readonly tcpGone: number;
  readonly tcpUnknown: number;
  readonly tcpEnded: number;
}

const countIndexes: Readonly<Record<keyof TurboCounts, number>> = {
  joined: TURBO_JOINED,
  refusedKind: TURBO_REFUSED_KIND,
  refusedRoom: TURBO_REFUSED_ROOM,
  redirected: TURBO_REDIRECTED,
  tcpFirst: TURBO_TCP_FIRST,
  tcpUnacked: TURBO_TCP_UNACKED,
  tcpUnread: TURBO_TCP_UNREAD,
  tcpQueue: TURBO_TCP_QUEUE,
  tcpSender: TURBO_TCP_SENDER,
  tcpReader: TURBO_TCP_READER,
  tcpMemory: TURBO_TCP_MEMORY,
  tcpGone: TURBO_TCP_GONE,
  tcpUnknown: TURBO_TCP_UNKNOWN,
  tcpEnded: TURBO_TCP_ENDED,
};

const switchNumbers: Readonly<Record<TurboSwitch, number>> = {
  off: TURBO_OFF,
  on: TURBO_ON,
  killed: TURBO_KILLED,
};

const zero = integerBytes(0, 4);

export interface TurboParts {
  readonly native: NativeBpf;
  readonly pins: Pins;
  /** Those that all programs share. */
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly load: () => BpfObject;
  readonly wanted: boolean;
}

/** Why it is refused on this kernel; undefined when it is not. */
export function turboKernelProblem(running: string = release()): string | undefined {
  const [version = ''] = /^\d+\.\d+/.exec(running) ?? [];
  return (turboKernels as readonly string[]).includes(version)
    ? undefined
    : `this is Linux ${running}, and turbo was only tested on ${turboKernels.join(', ')}`;
}

export class Turbo {
  /** Why it was asked for and is not there. */
  readonly problem: string | undefined;
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #isAttached: boolean;

  /** To be called when the directory of the pins is there. */
  static start(parts: TurboParts): Turbo {
    const problem = parts.wanted ? (turboKernelProblem() ?? attach(parts)) : undefined;
    const isAttached = parts.wanted && problem === undefined;
    // Sockets keep the program that they joined with: what ends it for them is the switch.
    if (!isAttached) parts.pins.removeTurbo();
    const turbo = new Turbo(parts.maps, isAttached, problem);
    turbo.#begin();
    return turbo;
  }

  private constructor(maps: ReadonlyMap<string, BpfMap>, isAttached: boolean, problem: string | undefined) {
    this.#maps = maps;
    this.#isAttached = isAttached;
    this.problem = problem;
  }

  get state(): TurboSwitch {
    return readTurboSwitch(this.#map('turbo_switch'));
  }

  /** Whether pods may take part at all. */
  get isAttached(): boolean {
    return this.#isAttached;
  }

  /** Connections between two such pods take part, from now on. */
  admit(podIndex: number): void {
    if (this.#isAttached) this.#map('turbo_pods').set(integerBytes(podIndex, 4), integerBytes(1, 4));
  }

  /** What its open connections send from now on goes by TCP. */
  dismiss(podIndex: number): void {
    this.#map('turbo_pods').delete(integerBytes(podIndex, 4));
  }

  get admitted(): number[] {
    const keys = this.#map('turbo_pods').keys();
    return keys.map((key) => new DataView(key.buffer, key.byteOffset).getUint32(0, true));
  }

  readCounts(): TurboCounts {
    return readTurboCounts(this.#map('turbo_counts'));
  }

  /** Which pods take part is asked anew by every agent. */
  #begin(): void {
    const pods = this.#map('turbo_pods');
    for (const key of pods.keys()) pods.delete(key);
    if (this.state !== 'killed') writeTurboSwitch(this.#map('turbo_switch'), this.#isAttached ? 'on' : 'off');
  }

  #map(name: string): BpfMap {
    const found = this.#maps.get(name);
    if (found !== undefined) return found;
    throw new HadalError('ERR_KERNEL_LAYOUT', `the BPF objects have no map ${name}; run npm run build`);
  }
}

/** What stood in the way, if anything did. */
function attach({ native, pins, maps, load }: TurboParts): string | undefined {
  try {
    const object = load();
    const program = object.program('hadal_turbo');
    const sockets = maps.get('turbo_sockets');
    if (sockets === undefined)
      throw new HadalError('ERR_KERNEL_LAYOUT', 'the BPF objects have no turbo_sockets');
    if (updatePinned(native, pins.turbo, program)) return undefined;
    pins.removeTurbo();
    const link = program.attachSockMap(sockets);
    link.pin(pins.turbo);
    link.close();
    return undefined;
  } catch (caught) {
    return HadalError.from(caught, 'ERR_KERNEL_LOAD', 'loading turbo').message;
  }
}

export function readTurboSwitch(map: BpfMap): TurboSwitch {
  const value = map.get(zero) ?? zero;
  const now = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
  return (Object.keys(switchNumbers) as TurboSwitch[]).find((name) => switchNumbers[name] === now) ?? 'off';
}

/** Heard by the next send. */
export function writeTurboSwitch(map: BpfMap, to: TurboSwitch): void {
  map.set(zero, integerBytes(switchNumbers[to], 4));
}

export function readTurboCounts(map: BpfMap): TurboCounts {
  const sum = (index: number): number => {
    const values = map.get(integerBytes(index, 4)) ?? new Uint8Array();
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    let total = 0n;
    for (let at = 0; at < values.byteLength; at += 8) total += view.getBigUint64(at, true);
    return Number(total);
  };
  return Object.fromEntries(
    Object.entries(countIndexes).map(([name, index]) => [name, sum(index)]),
  ) as unknown as TurboCounts;
}
