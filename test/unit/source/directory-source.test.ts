import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { DirectorySource } from '../../../src/source/directory/directory-source.ts';
import type { ObjectChange } from '../../../src/source/object-source.ts';

let root: string;
let directory: string;
let source: DirectorySource;
let changes: ObjectChange[];

const account = (name: string, labels: Record<string, unknown> = {}) =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'shop', labels } });
const id = (name: string) => `v1/ServiceAccount/shop/${name}`;
const write = (file: string, text: string) => writeFileSync(join(directory, file), text);
const replace = (file: string, text: string) => {
  write(`.${file}.new`, text);
  renameSync(join(directory, `.${file}.new`), join(directory, file));
};

/** Upserts by their name and removals with a minus, as they came. */
const told = () =>
  changes.map(({ upserts, removals }) => [
    ...upserts.map(({ object }) => object.metadata.name).sort(),
    ...removals.map((removed) => `-${removed.split('/').at(-1)}`).sort(),
  ]);
const lastLabels = () => changes.at(-1)?.upserts[0]?.object.metadata.labels;

async function start(times: { sweepMs?: number } = {}): Promise<void> {
  changes = [];
  source = new DirectorySource({ directory, logger: silentLogger, lookMs: 50, ...times });
  await source.start((change) => changes.push(change));
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hadal-directory-'));
  directory = join(root, 'manifests');
  mkdirSync(directory);
});
afterEach(async () => {
  await source?.close();
  rmSync(root, { recursive: true, force: true });
});

describe('a directory as a source of objects', () => {
  it('hands over everything as one change before it has started, then only differences', async () => {
    write('a.json', account('a'));
    write('b.yaml', `${account('b')}\n---\n${account('c')}\n`);
    await start();
    expect(told()).toEqual([['a', 'b', 'c']]);
    expect(source.status).toMatchObject({ isSynced: true, rejected: [], error: undefined });
    write('b.yaml', `${account('b', { tier: 'two' })}\n---\n${account('d')}\n`);
    await vi.waitFor(() => expect(told().slice(1)).toEqual([['b', 'd', '-c']]));
    rmSync(join(directory, 'a.json'));
    await vi.waitFor(() => expect(told().slice(2)).toEqual([['-a']]));
  });

  it('reads only the file that changed', async () => {
    for (let n = 0; n < 200; n += 1) write(`${n}.json`, account(`a${n}`));
    // All files are looked at meanwhile, and not read.
    await start({ sweepMs: 60 });
    expect(source.filesRead).toBe(200);
    replace('7.json', account('a7', { tier: 'two' }));
    await vi.waitFor(() => expect(told().slice(1)).toEqual([['a7']]));
    await sleep(200);
    expect(source.filesRead).toBe(201);
  });

  it('finds files that no event told of', async () => {
    source = new DirectorySource({ directory, logger: silentLogger, lookMs: 20, sweepMs: 40 });
    changes = [];
    await source.start((change) => changes.push(change));
    const target = join(root, 'elsewhere');
    writeFileSync(target, account('a'));
    symlinkSync(target, join(directory, 'a.json'));
    await vi.waitFor(() => expect(told()).toEqual([['a']]));
    // A link's target changes, and nothing happens in the directory.
    writeFileSync(target, account('a', { tier: 'two' }));
    await vi.waitFor(() => expect(lastLabels()).toEqual({ tier: 'two' }));
  });

  it('keeps the last good version of an object that becomes bad, and names field and reason', async () => {
    write('a.json', account('a'));
    await start();
    write('a.json', account('a', { tier: 2 }));
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    expect(source.status.rejected[0]).toMatchObject({ id: id('a'), field: 'metadata.labels.tier' });
    expect(source.status.rejected[0]?.reason).toContain('is 2');
    expect(told()).toEqual([['a']]);
    write('a.json', account('a', { tier: 'two' }));
    await vi.waitFor(() => expect(told().slice(1)).toEqual([['a']]));
    expect(source.status.rejected).toEqual([]);
  });

  it('keeps all of a file that cannot be parsed', async () => {
    write('a.yaml', `${account('a')}\n---\n${account('b')}\n`);
    await start();
    write('a.yaml', 'kind: [');
    await vi.waitFor(() => expect(source.status.rejected).not.toEqual([]));
    await sleep(100);
    expect(told()).toEqual([['a', 'b']]);
  });

  it('lets the first file have an object that two files write, and the second when the first goes', async () => {
    write('a.json', account('a', { from: 'a' }));
    write('b.json', account('a', { from: 'b' }));
    await start();
    expect(lastLabels()).toEqual({ from: 'a' });
    expect(source.status.rejected).toMatchObject([{ id: id('a'), origin: 'b.json, document 1 (line 1)' }]);
    rmSync(join(directory, 'a.json'));
    await vi.waitFor(() => expect(lastLabels()).toEqual({ from: 'b' }));
    expect(source.status.rejected).toEqual([]);
  });

  it('finds a directory again that was replaced, and tells what differs', async () => {
    write('a.json', account('a'));
    write('b.json', account('b'));
    await start();
    renameSync(directory, join(root, 'old'));
    mkdirSync(join(root, 'next'));
    writeFileSync(join(root, 'next', 'b.json'), account('b'));
    writeFileSync(join(root, 'next', 'c.json'), account('c'));
    renameSync(join(root, 'next'), directory);
    await vi.waitFor(() => expect(told().slice(1)).toEqual([['c', '-a']]));
    // And it is watched.
    replace('d.json', account('d'));
    await vi.waitFor(() => expect(told().slice(2)).toEqual([['d']]));
  });

  it('keeps what it knows while the directory is gone, says so, and goes on when it is back', async () => {
    write('a.json', account('a'));
    await start();
    rmSync(directory, { recursive: true });
    await vi.waitFor(() => expect(source.status.error).toContain('any more'));
    // The files went before the directory did: that is a change like any other, or none was seen.
    const known = told().length;
    mkdirSync(directory);
    write('b.json', account('b'));
    await vi.waitFor(() => expect(told().slice(known).flat()).toContain('b'));
    expect(source.status.error).toBeUndefined();
  });

  it('refuses a directory that is not there', async () => {
    rmSync(directory, { recursive: true });
    await expect(start()).rejects.toThrow(`there is no directory ${directory}`);
  });
});
