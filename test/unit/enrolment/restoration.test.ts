/** Pods of an earlier agent, and what is told of those that cannot be carried again. Files stand where namespaces would be. */
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { PodStore, type StoredPod } from '../../../src/enrolment/pod-store.ts';
import { Restoration, type RestorationParts } from '../../../src/enrolment/restoration.ts';
import { Turns } from '../../../src/enrolment/turns.ts';

const native = {
  openNetns: (path: string) => openSync(path, 'r'),
  netnsIdentity: (fd: number) => ({ inode: BigInt(fstatSync(fd).ino), cookie: 1n }),
  closeFd: closeSync,
  removeCaptureRouting: () => {},
} as unknown as RestorationParts['native'];

let directory = '';
let told: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-restoration-'));
  told = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Restores one pod; its namespace is `netns` in the directory. */
async function restore(netns: string, fields: Partial<StoredPod> = {}): Promise<Restoration> {
  // One that ends its work after its test tells it to nobody.
  const mine: string[] = [];
  told = mine;
  const { store } = PodStore.open(join(directory, 'pods.json'));
  const path = join(directory, netns);
  const stored = {
    ...{ uid: 'u', name: 'front', namespace: 'shop', serviceAccount: 'front', netns: path, cgroup: '' },
    ...{ addresses: [], podIndex: 1, enrolledAt: '2026-01-01T00:00:00Z' },
    netnsInode: String(statSync(path, { throwIfNoEntry: false })?.ino ?? 7),
    ...fields,
  } as StoredPod;
  await store.put(stored);
  const restoration = new Restoration({
    native,
    capture: { forgetPods: () => [], pinnedPods: () => [] },
    store,
    routing: { mark: 1, mask: 1, table: 1, priority: 1 },
    turns: new Turns(),
    carry: async (fd) => {
      closeSync(fd);
      mine.push('carried');
    },
    isCarried: () => false,
    onFailed: () => mine.push('failed'),
    onPending: ({ name }) => mine.push(`${name} is pending`),
    onLetGo: ({ name }, reason) => mine.push(`${name} is let go: ${reason}`),
    logger: silentLogger,
  });
  await restoration.all(5_000);
  return restoration;
}

it('one that cannot be carried is pending until it can', async () => {
  writeFileSync(join(directory, 'file'), '');
  // No directory: that the namespace is gone cannot be told from it.
  const restoration = await restore('file/netns', { netnsInode: '7' });
  expect(told).toEqual(['failed', 'front is pending']);
  rmSync(join(directory, 'file'));
  // Now it is.
  await vi.waitFor(() => expect(told.at(-1)).toBe('front is let go: left'), { timeout: 5_000 });
  expect(restoration.pending).toEqual([]);
  restoration.close();
});

it('one whose namespace is there is carried, and nothing else is told', async () => {
  writeFileSync(join(directory, 'netns'), '');
  await restore('netns');
  expect(told).toEqual(['carried']);
});

it('one whose namespace is gone is let go: nobody holds it, and it may go on in another one', async () => {
  await restore('gone');
  expect(told).toEqual(['front is let go: left']);
});

it('one that had left already was told of when it left', async () => {
  await restore('gone', { leftAt: '2026-01-02T00:00:00Z' });
  expect(told).toEqual([]);
});
