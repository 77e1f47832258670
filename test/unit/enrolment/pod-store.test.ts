import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PodStore, type StoredPod } from '../../../src/enrolment/pod-store.ts';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-store-'));
  path = join(directory, 'data', 'pods.json');
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function open(): PodStore {
  const { store, problem } = PodStore.open(path);
  expect(problem).toBeUndefined();
  return store;
}

function pod(uid: string, podIndex: number): StoredPod {
  return {
    uid,
    podIndex,
    name: uid,
    namespace: 'shop',
    serviceAccount: 'default',
    netns: `/run/netns/${uid}`,
    netnsInode: '4026531840',
    addresses: ['10.0.0.1'],
    cgroup: '',
    enrolledAt: '2026-01-01T00:00:00.000Z',
  };
}

describe('the store of enrolled pods', () => {
  it('survives a restart with the same indexes', async () => {
    const store = open();
    await store.put(pod('a', store.reserveIndex()));
    await store.put(pod('b', store.reserveIndex()));
    await store.remove('a');
    const again = open();
    expect(again.pods()).toEqual([pod('b', 2)]);
    expect(again.find('shop', 'b')?.podIndex).toBe(2);
    expect(again.reserveIndex()).toBe(3);
  });

  it('reuses a number as late as possible', async () => {
    const store = open();
    const first = store.reserveIndex();
    store.releaseIndex(first);
    expect(store.reserveIndex()).not.toBe(first);
  });

  it('keeps the number of a removed pod until it is released', async () => {
    writeFileAt(path, { version: 1, lastIndex: 65_533, pods: [pod('a', 65_534)] });
    const store = open();
    await store.remove('a');
    expect(store.reserveIndex()).toBe(65_535);
    expect(store.reserveIndex()).toBe(1);
  });

  it('writes changes made together once and resolves when they are on disk', async () => {
    const store = open();
    await Promise.all(Array.from({ length: 50 }, (_, index) => store.put(pod(`p${index}`, index + 1))));
    expect(JSON.parse(readFileSync(path, 'utf8')).pods).toHaveLength(50);
    expect(existsSync(`${path}.new`)).toBe(false);
  });

  it.each([
    ['is cut off', '{"version": 1, "pods": ['],
    ['is of another version', '{"version": 2, "pods": []}'],
    ['holds something else', '{"version": 1, "lastIndex": 1, "pods": [{"uid": "a"}]}'],
    ['gives one index twice', JSON.stringify({ version: 1, lastIndex: 1, pods: [pod('a', 1), pod('b', 1)] })],
  ])('puts a file aside that %s', (_what, text) => {
    writeFileAt(path, text);
    const { store, problem } = PodStore.open(path);
    expect(problem?.code).toBe('ERR_ENROLMENT_STORE');
    expect(problem?.message).toContain(`${path}.broken`);
    expect(store.pods()).toEqual([]);
    expect(readFileSync(`${path}.broken`, 'utf8')).toBe(text);
  });
});

function writeFileAt(file: string, content: unknown): void {
  PodStore.open(file);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
}
