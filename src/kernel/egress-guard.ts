/**
 * The program that stops packets of captured connections on their way out of a pod. It hangs on the pod's cgroup: packets of others, and
 * those of the agent, cost nothing. A pod whose cgroup nobody told is guarded at the node's, where every packet is looked at.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { BpfLink, BpfProgram, NativeBpf } from '../native/types.ts';
import { type CgroupIdentity, readCgroup } from './file-systems.ts';
import type { PinnedPod, Pins } from './pins.ts';

const pinPrefix = 'egress-';

export class EgressGuard {
  readonly #native: NativeBpf;
  readonly #program: BpfProgram;
  readonly #pins: Pins;
  readonly #node: CgroupIdentity;
  #isOnNode = false;

  constructor(native: NativeBpf, program: BpfProgram, pins: Pins, node: CgroupIdentity) {
    this.#native = native;
    this.#program = program;
    this.#pins = pins;
    this.#node = node;
  }

  /** Pinned beside the pod's lookup, and replaced in place when an earlier agent left one. `path`: '' when not told. */
  attach(pod: PinnedPod, path: string): void {
    const cgroup = this.#cgroupOf(path);
    if (cgroup === undefined) {
      this.#attachToNode();
      return;
    }
    const directory = this.#pins.podDirectory(pod);
    const name = `${pinPrefix}${cgroup.id}`;
    this.#put(cgroup, join(directory, name));
    for (const other of guardPins(directory)) if (other !== name) rmSync(join(directory, other));
  }

  /** A handle that keeps the pod guarded when its pins are gone; undefined where the node is. */
  hold(pod: PinnedPod): BpfLink | undefined {
    const directory = this.#pins.podDirectory(pod);
    const [name] = guardPins(directory);
    return name === undefined ? undefined : this.#native.openPinnedLink(join(directory, name));
  }

  #cgroupOf(path: string): CgroupIdentity | undefined {
    try {
      return path === '' ? undefined : readCgroup(path);
    } catch {
      return undefined;
    }
  }

  #attachToNode(): void {
    if (this.#isOnNode) return;
    this.#put(this.#node, this.#pins.link(this.#node.id, 'egress'));
    this.#isOnNode = true;
  }

  #put(cgroup: CgroupIdentity, pin: string): void {
    if (updatePinned(this.#native, pin, this.#program)) return;
    rmSync(pin, { force: true });
    try {
      const link = this.#program.attachCgroup(cgroup.path);
      link.pin(pin);
      link.close();
    } catch (cause) {
      throw HadalError.from(cause, 'ERR_KERNEL_ATTACH', `attaching ${this.#program.name} to ${cgroup.path}`);
    }
  }
}

/** Puts another program behind a pinned link. False when there is none, or it is dead: what it hung on is gone, or it was detached. */
export function updatePinned(native: NativeBpf, path: string, program: BpfProgram): boolean {
  if (!existsSync(path)) return false;
  const link = native.openPinnedLink(path);
  try {
    link.update(program);
    return true;
  } catch {
    return false;
  } finally {
    link.close();
  }
}

function guardPins(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith(pinPrefix)) : [];
}
