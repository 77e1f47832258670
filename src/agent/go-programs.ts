/**
 * Whether a program was written in Go, told by the section `.go.buildinfo` that its linker leaves in every executable, stripped
 * ones too. Go's io.Copy between two connections reads by splice().
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';

const section = '.go.buildinfo';
const mostSections = 4096;
const mostRemembered = 4096;

export interface GoProcess {
  readonly pid: number;
  /** Its executable, as the process sees it. */
  readonly program: string;
}

/** Remembers what it has looked at: executables do not change while they run. */
export class GoPrograms {
  readonly #known = new Map<string, boolean>();

  /** The first process below the cgroup that runs a Go program; `undefined` when none does, as far as can be seen. */
  find(cgroup: string): GoProcess | undefined {
    for (const pid of processesBelow(cgroup)) if (this.#isGo(pid)) return { pid, program: programOf(pid) };
    return undefined;
  }

  #isGo(pid: number): boolean {
    let fd: number;
    try {
      fd = openSync(`/proc/${pid}/exe`, 'r');
    } catch {
      // It has ended, or is a thread of the kernel.
      return false;
    }
    try {
      const { dev, ino, ctimeMs } = fstatSync(fd);
      const key = `${dev}:${ino}:${ctimeMs}`;
      const known = this.#known.get(key);
      if (known !== undefined) return known;
      if (this.#known.size >= mostRemembered) this.#known.clear();
      const isGo = hasSection(fd, section);
      this.#known.set(key, isGo);
      return isGo;
    } finally {
      closeSync(fd);
    }
  }
}

/** Of the cgroup and all below it. A cgroup that is gone has none. */
export function processesBelow(cgroup: string): number[] {
  try {
    const own = readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
    const below = readdirSync(cgroup, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...own, ...below.flatMap(({ name }) => processesBelow(join(cgroup, name)))];
  } catch {
    return [];
  }
}

/** ELF of 64 bits, little-endian; anything else has no section that we know. */
export function hasSection(fd: number, wanted: string): boolean {
  const header = readAt(fd, 0, 64);
  if (header === undefined || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1)
    return false;
  const [tableAt, entrySize, count] = [
    Number(header.readBigUInt64LE(0x28)),
    header.readUInt16LE(0x3a),
    header.readUInt16LE(0x3c),
  ];
  if (entrySize < 64 || count === 0 || count > mostSections) return false;
  const table = readAt(fd, tableAt, entrySize * count);
  const namesEntry = header.readUInt16LE(0x3e) * entrySize;
  if (table === undefined || namesEntry + 64 > table.length) return false;
  const [namesAt, namesSize] = [
    Number(table.readBigUInt64LE(namesEntry + 0x18)),
    Number(table.readBigUInt64LE(namesEntry + 0x20)),
  ];
  const names = readAt(fd, namesAt, Math.min(namesSize, 1 << 20));
  if (names === undefined) return false;
  return Array.from({ length: count }, (_, index) => table.readUInt32LE(index * entrySize)).some(
    (at) => at < names.length && names.toString('latin1', at, at + wanted.length + 1) === `${wanted}\0`,
  );
}

function readAt(fd: number, position: number, length: number): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  try {
    return readSync(fd, bytes, 0, length, position) === length ? bytes : undefined;
  } catch {
    return undefined;
  }
}

function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] || 'a program';
  } catch {
    return 'a program that has ended';
  }
}
