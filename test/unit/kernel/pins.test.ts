import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAP_ABI } from '../../../src/kernel/constants.gen.ts';
import { createDirectory, Pins } from '../../../src/kernel/pins.ts';

describe('pins', () => {
  let bpffs: string;
  let pins: Pins;

  beforeEach(() => {
    bpffs = mkdtempSync(join(tmpdir(), 'hadal-pins-'));
    pins = new Pins(bpffs, 'node-1');
  });
  afterEach(() => rmSync(bpffs, { recursive: true }));

  it('appear whole or not at all', () => {
    expect(() =>
      createDirectory(pins.directory, (temporary) => {
        writeFileSync(join(temporary, 'map'), '');
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(pins.exists).toBe(false);
    expect(readdirSync(pins.instanceDirectory)).toEqual([]);
    createDirectory(pins.directory, (temporary) => {
      expect(pins.exists).toBe(false);
      writeFileSync(join(temporary, 'map'), '');
    });
    expect(readdirSync(pins.directory)).toEqual(['map']);
  });

  it('left half made by a process that is gone are swept, those of a living one stay', () => {
    createDirectory(pins.directory, (temporary) => mkdirSync(join(temporary, 'pods')));
    const dead = [`${pins.directory}-tmp-4194303`, join(pins.directory, 'pods', '7-99-tmp-4194303')];
    const living = `${pins.directory}-tmp-1`;
    for (const path of [...dead, living]) mkdirSync(path);
    expect(pins.sweepTemporary()).toEqual([`v${MAP_ABI}-tmp-4194303`, '7-99-tmp-4194303']);
    expect(dead.map((path) => existsSync(path))).toEqual([false, false]);
    expect(existsSync(living)).toBe(true);
  });

  it('name pods by index and netns cookie, and nothing else for a pod', () => {
    for (const name of ['7-99', '8-18446744073709551615', 'other', '9-1-tmp-1']) {
      mkdirSync(join(pins.directory, 'pods', name), { recursive: true });
    }
    expect(pins.pods().sort((a, b) => a.podIndex - b.podIndex)).toEqual([
      { podIndex: 7, netnsCookie: 99n },
      { podIndex: 8, netnsCookie: 18_446_744_073_709_551_615n },
    ]);
  });

  it('of other versions are told from ours', () => {
    for (const name of ['v0', `v${MAP_ABI}`, `v${MAP_ABI + 1}`, `v${MAP_ABI + 1}-tmp-1`])
      mkdirSync(join(pins.instanceDirectory, name), { recursive: true });
    expect(pins.otherVersions().sort()).toEqual([
      join(pins.instanceDirectory, 'v0'),
      join(pins.instanceDirectory, `v${MAP_ABI + 1}`),
    ]);
  });

  it.each(['', 'a.b', '../x', 'a/b', 'x'.repeat(65)])('refuse the instance name "%s"', (name) => {
    expect(() => new Pins(bpffs, name)).toThrow(/must be 1 to 64 letters/);
  });
});
