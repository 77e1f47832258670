import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeInstanceLock } from '../../../src/agent/instance-lock.ts';
import { nativeAddon } from '../../../src/native/addon.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-lock-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('the lock of an instance', () => {
  it('is held once, and free again when it is closed', () => {
    const lock = takeInstanceLock(nativeAddon(), directory, 'one');
    expect(() => takeInstanceLock(nativeAddon(), directory, 'one')).toThrow(
      `an agent of instance one runs already (pid ${process.pid}`,
    );
    takeInstanceLock(nativeAddon(), directory, 'two').close();
    lock.close();
    takeInstanceLock(nativeAddon(), directory, 'one').close();
  });

  it('of a killed process is free at once', async () => {
    const script = `
      const { takeInstanceLock } = await import(${JSON.stringify(new URL('../../../src/agent/instance-lock.ts', import.meta.url).href)});
      const { nativeAddon } = await import(${JSON.stringify(new URL('../../../src/native/addon.ts', import.meta.url).href)});
      takeInstanceLock(nativeAddon(), ${JSON.stringify(directory)}, 'one');
      console.log('held');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(() => takeInstanceLock(nativeAddon(), directory, 'one')).toThrow(`pid ${child.pid}`);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    takeInstanceLock(nativeAddon(), directory, 'one').close();
  });
});
