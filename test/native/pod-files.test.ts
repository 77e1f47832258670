import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { findCgroupRoot } from '../../src/kernel/file-systems.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { kernelTestsUnavailable } from './fixture.ts';

const path = '/etc/resolv.conf';
const program = fileURLToPath(new URL('../helpers/programs/odd_file.py', import.meta.url));
const noFuse = existsSync('/dev/fuse') ? undefined : '/dev/fuse is missing (modprobe fuse)';
if (noFuse !== undefined) console.warn(`SKIPPED: files that never answer: ${noFuse}`);

describe.skipIf(kernelTestsUnavailable)('a file of a pod', () => {
  const addon = nativeAddon();
  const pods: OddPod[] = [];
  let made = 0;

  class OddPod {
    readonly cgroup = join(findCgroupRoot() ?? '', `hadal-files-${process.pid}-${++made}`);
    readonly lines: string[] = [];
    #child: ChildProcessByStdio<Writable, Readable, null> | undefined;

    constructor() {
      mkdirSync(this.cgroup);
      pods.push(this);
    }

    async start(kind: string): Promise<this> {
      const child = spawn('/usr/bin/python3', [program, this.cgroup, kind], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      this.#child = child;
      createInterface({ input: child.stdout }).on('line', (line) => this.lines.push(line));
      await expect.poll(() => this.lines, { timeout: 20_000 }).toContain('ready');
      return this;
    }

    /** With its file system. */
    async end(): Promise<void> {
      if (this.#child === undefined) return;
      const ended = new Promise((resolve) => this.#child?.once('close', resolve));
      this.#child.stdin.end();
      await ended;
      this.#child = undefined;
    }
  }

  const start = (kind: string) => new OddPod().start(kind);
  const read = ({ cgroup }: OddPod) => addon.readPodFile(cgroup, path);

  afterEach(async () => {
    for (const pod of pods.splice(0)) {
      await pod.end();
      await expect.poll(() => rmdirSync(pod.cgroup)).toBeUndefined();
    }
  });

  it('is read as its processes see it, also deeper in the pod’s cgroups', async () => {
    expect(await read(await start('file'))).toEqual({
      text: 'search shop.example\nnameserver 10.0.0.53\n',
    });
    const pod = new OddPod();
    expect(await read(pod)).toMatchObject({ code: 'ERR_NET_POD_EMPTY' });
  });

  it('is read to its 65,536th byte', async () => {
    const file = await read(await start('endless'));
    expect('text' in file && file.text.length).toBe(65_536);
  });

  it.each([
    ['fifo', 'is no regular file'],
    ['directory', 'is no regular file'],
    ['device', 'is no regular file'],
    ['missing', 'No such file'],
    // Above its own root is its own root.
    ['outside', 'Too many levels of symbolic links'],
  ])('that is no file but "%s" is an error', async (kind, message) => {
    expect(await read(await start(kind))).toMatchObject({
      code: 'ERR_NET_POD_FILE',
      message: expect.stringMatching(message),
    });
  });

  describe.skipIf(noFuse)('on a file system that never answers', () => {
    it('is not even asked for where the mounts tell', async () => {
      const pod = await start('silent mount');
      expect(await read(pod)).toMatchObject({
        code: 'ERR_NET_POD_FILE',
        message: expect.stringContaining('lies on a file system of type fuse'),
      });
      expect(pod.lines).toEqual(['ready']);
    });

    it('is given up, while others are read and the main thread goes on', async () => {
      const [silent, other] = [await start('silent'), await start('file')];
      let turns = 0;
      const timer = setInterval(() => turns++, 10);
      const asked = read(silent);
      const answered = read(other);
      expect(await asked).toMatchObject({
        code: 'ERR_NATIVE_STUCK',
        message: expect.stringContaining('1000 ms'),
      });
      clearInterval(timer);
      expect(turns).toBeGreaterThan(20);
      expect(await answered).toHaveProperty('text');
      expect(silent.lines.filter((line) => line.startsWith('asked'))).not.toEqual([]);
      expect(await read(silent)).toMatchObject({
        code: 'ERR_NATIVE_STUCK',
        message: 'an earlier call for it has not returned',
      });
      await silent.end();
      await expect.poll(() => read(silent), { timeout: 5_000 }).toMatchObject({ code: 'ERR_NET_POD_EMPTY' });
    });

    it('in four pods leaves no thread for others, until one of them answers', async () => {
      const silent = await Promise.all([1, 2, 3, 4].map(() => start('silent')));
      const other = await start('file');
      const given = await Promise.all(silent.map(read));
      expect(given).toMatchObject(silent.map(() => ({ code: 'ERR_NATIVE_STUCK' })));
      expect(await read(other)).toMatchObject({
        code: 'ERR_NATIVE_STUCK',
        message: expect.stringContaining('4 calls have not returned'),
      });
      await silent[2]?.end();
      await expect.poll(() => read(other), { timeout: 5_000 }).toHaveProperty('text');
    });

    it('does not keep the process from ending', async () => {
      const silent = await start('silent');
      const script = fileURLToPath(new URL('children/read-pod-file.ts', import.meta.url));
      const child = spawn(process.execPath, [script, silent.cgroup, path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      child.stdout.on('data', (bytes: Buffer) => {
        said += bytes.toString();
      });
      await expect.poll(() => said, { timeout: 20_000 }).toContain('ends');
      // The kernel lets nobody interrupt a read that its file system has begun, so the process is gone only with it; but its
      // main thread has ended, all it had to do is done.
      await sleep(500);
      expect(said.trim().split('\n')).toEqual(['reads', 'ends', 'closed']);
      await silent.end();
      await new Promise((resolve) =>
        child.exitCode === null ? child.once('close', resolve) : resolve(null),
      );
      expect(child.exitCode).toBe(0);
    });
  });
});
