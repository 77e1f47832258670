/**
 * The programs that one agent loads once: connect() hooks and sockops at the node's cgroup, the guard of what leaves a pod, and
 * the iterators. Their maps are one set, shared by name; what an earlier agent pinned is taken over with its content.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { BpfLink, BpfMap, BpfObject, BpfProgram, NativeBpf } from '../native/types.ts';
import { EgressGuard } from './egress-guard.ts';
import type { CgroupIdentity } from './file-systems.ts';
import { createDirectory, type Pins, removeDirectory } from './pins.ts';
import { Turbo, turboObject } from './turbo.ts';

/** Objects whose program hangs on the cgroup, in the order of attaching: flows are seen before connections are captured. */
const cgroupObjects = [
  'sockops',
  'connect4',
  'connect6',
  // Answers find their way back before the first query is steered; see `HADAL_POD_CAPTURE_DNS`.
  'recvmsg4',
  'recvmsg6',
  'getpeername4',
  'getpeername6',
  'sendmsg4',
  'sendmsg6',
] as const;

export interface SharedPrograms {
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly iterators: BpfObject;
  /** Undefined where the kernel lacks bpf_sock_destroy (before 6.5). */
  readonly destroyer: BpfObject | undefined;
  readonly links: readonly BpfLink[];
  readonly egressGuard: EgressGuard;
  readonly turbo: Turbo;
  /** Whether pinned state of an earlier agent was taken over. */
  readonly adopted: boolean;
  close(): void;
}

export interface SharedProgramsOptions {
  readonly native: NativeBpf;
  readonly objectDirectory: string;
  readonly pins: Pins;
  readonly cgroup: CgroupIdentity;
  /** Whether pods may ask for turbo. */
  readonly turbo: boolean;
}

export function startSharedPrograms({
  native,
  objectDirectory,
  pins,
  cgroup,
  turbo: wanted,
}: SharedProgramsOptions): SharedPrograms {
  pins.sweepTemporary();
  const adopted = pins.exists;
  const loader = new Loader(native, objectDirectory, (name) =>
    adopted ? openPinned(native, pins.map(name)) : undefined,
  );
  try {
    const programs = cgroupObjects.map((name) => ({
      name,
      program: onlyProgram(loader.load(name, setKnobs(native))),
    }));
    const iterators = loader.load('tcp_iter');
    const destroyer = loader.tryLoad('tcp_destroy');
    const egress = onlyProgram(loader.load('egress'));
    const links = adopted
      ? takeOver(native, pins, loader.maps, programs, cgroup)
      : attachFirst(pins, loader.maps, programs, cgroup);
    const turbo = Turbo.start({
      native,
      pins,
      maps: loader.maps,
      wanted,
      load: () => loader.load(turboObject),
    });
    return {
      maps: loader.maps,
      iterators,
      destroyer,
      links,
      egressGuard: new EgressGuard(native, egress, pins, cgroup),
      turbo,
      adopted,
      close: () => {
        for (const link of links) link.close();
        loader.close();
      },
    };
  } catch (error) {
    loader.close();
    throw error;
  }
}

interface NamedProgram {
  readonly name: string;
  readonly program: BpfProgram;
}

/** Opens objects one after the other; a map that one of them made serves all that name it. */
class Loader {
  readonly maps = new Map<string, BpfMap>();
  readonly #native: NativeBpf;
  readonly #directory: string;
  readonly #pinned: (name: string) => BpfMap | undefined;
  readonly #opened: { close(): void }[] = [];

  constructor(native: NativeBpf, directory: string, pinned: (name: string) => BpfMap | undefined) {
    this.#native = native;
    this.#directory = directory;
    this.#pinned = pinned;
  }

  load(name: string, prepare: (object: BpfObject) => void = () => {}): BpfObject {
    const object = this.#native.openObject(join(this.#directory, `${name}.bpf.o`));
    this.#opened.push(object);
    prepare(object);
    for (const map of sharedNames(object)) {
      const known = this.maps.get(map) ?? this.#openPinned(map);
      if (known !== undefined) object.reuseMap(map, known);
    }
    try {
      object.load();
    } catch (cause) {
      throw HadalError.from(cause, 'ERR_KERNEL_LOAD', `loading ${name}.bpf.o`);
    }
    // The object's own handle tells the types of keys and values; a reused map is the same map behind it.
    for (const map of sharedNames(object)) if (!this.maps.has(map)) this.maps.set(map, object.map(map));
    return object;
  }

  tryLoad(name: string): BpfObject | undefined {
    try {
      return this.load(name);
    } catch {
      return undefined;
    }
  }

  close(): void {
    for (const opened of this.#opened.reverse()) opened.close();
    this.#opened.length = 0;
  }

  #openPinned(name: string): BpfMap | undefined {
    const map = this.#pinned(name);
    if (map !== undefined) this.#opened.push(map);
    return map;
  }
}

function attachFirst(
  pins: Pins,
  maps: ReadonlyMap<string, BpfMap>,
  programs: readonly NamedProgram[],
  cgroup: CgroupIdentity,
): BpfLink[] {
  const links: BpfLink[] = [];
  createDirectory(pins.directory, (temporary) => {
    mkdirSync(join(temporary, 'maps'));
    mkdirSync(join(temporary, 'pods'));
    mkdirSync(join(temporary, 'links', String(cgroup.id)), { recursive: true });
    for (const [name, map] of maps) map.pin(join(temporary, 'maps', name));
    for (const { name, program } of programs) {
      const link = attach(program, cgroup);
      links.push(link);
      link.pin(join(temporary, 'links', String(cgroup.id), name));
    }
  });
  return links;
}

/** Puts the new programs behind the pinned links, without a gap; attaches anew where a link is dead or on another cgroup. */
function takeOver(
  native: NativeBpf,
  pins: Pins,
  maps: ReadonlyMap<string, BpfMap>,
  programs: readonly NamedProgram[],
  cgroup: CgroupIdentity,
): BpfLink[] {
  for (const [name, map] of maps) if (!existsSync(pins.map(name))) map.pin(pins.map(name));
  const links = updateLinks(native, pins, programs, cgroup) ?? attachAgain(pins, programs, cgroup);
  for (const directory of pins.otherLinkDirectories(cgroup.id)) removeDirectory(directory);
  return links;
}

function updateLinks(
  native: NativeBpf,
  pins: Pins,
  programs: readonly NamedProgram[],
  cgroup: CgroupIdentity,
): BpfLink[] | undefined {
  const links: BpfLink[] = [];
  try {
    for (const { name, program } of programs) {
      const link = native.openPinnedLink(pins.link(cgroup.id, name));
      links.push(link);
      link.update(program);
    }
    return links;
  } catch {
    // ENOENT: never attached there. ENOLINK: the cgroup was removed and made again.
    for (const link of links) link.close();
    return undefined;
  }
}

function attachAgain(pins: Pins, programs: readonly NamedProgram[], cgroup: CgroupIdentity): BpfLink[] {
  const links: BpfLink[] = [];
  const directory = pins.linkDirectory(cgroup.id);
  createDirectory(directory, (temporary) => {
    for (const { name, program } of programs) {
      const link = attach(program, cgroup);
      links.push(link);
      link.pin(join(temporary, name));
    }
    // What hangs there is dead, or is replaced by what was attached just now.
    removeDirectory(directory);
  });
  return links;
}

function attach(program: BpfProgram, cgroup: CgroupIdentity): BpfLink {
  try {
    return program.attachCgroup(cgroup.path);
  } catch (cause) {
    throw HadalError.from(cause, 'ERR_KERNEL_ATTACH', `attaching ${program.name} to ${cgroup.path}`);
  }
}

/** Below 6.1 a connect hook cannot choose the errno: its refusals are EPERM. */
function setKnobs(native: NativeBpf): (object: BpfObject) => void {
  const canSetError = native.probeHelper('cgroup_sock_addr', 'set_retval');
  return (object) => {
    if (object.name.startsWith('connect')) object.setReadOnly('can_set_error', canSetError);
  };
}

function onlyProgram(object: BpfObject): BpfProgram {
  const [name] = object.programNames;
  if (name === undefined)
    throw new HadalError('ERR_KERNEL_LAYOUT', `${object.name} holds no program; run npm run build`);
  return object.program(name);
}

/** libbpf's own maps (`connect4.rodata`) belong to one object and have a dot in their name. */
function sharedNames(object: BpfObject): string[] {
  return object.mapNames.filter((name) => !name.includes('.'));
}

function openPinned(native: NativeBpf, path: string): BpfMap | undefined {
  return existsSync(path) ? native.openPinnedMap(path) : undefined;
}
