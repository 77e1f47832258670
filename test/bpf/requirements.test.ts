import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findCgroupRoot } from '../../src/kernel/file-systems.ts';
import { endingObstacle } from '../../src/kernel/probe-sock-destroy.ts';
import { canCapture, checkRequirements } from '../../src/kernel/requirements.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('the requirements of the capture', () => {
  const native = nativeAddon();

  it('are met here, each with what was found', async () => {
    const found = await checkRequirements({ native });
    expect(found.filter(({ essential, ok }) => essential && !ok)).toEqual([]);
    expect(canCapture(found)).toBe(true);
    expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
    expect(found.find(({ id }) => id === 'sock-destroy')).toMatchObject({ ok: true });
    expect(found.find(({ id }) => id === 'attach-sk_lookup')).toMatchObject({ ok: true });
    for (const { need, found: what, lost } of found) expect([need, what, lost]).not.toContain('');
  });

  it('say why nothing goes directly where no connection could be ended', async () => {
    const byDiag = { destroysBy: 'SOCK_DESTROY' } as const;
    expect(await endingObstacle(native, { destroysBy: 'bpf_sock_destroy' })).toBeUndefined();
    expect(await endingObstacle(native, byDiag)).toBeUndefined();
    const without = Object.assign(Object.create(native), {
      destroyTcpSocket: () => {
        throw new Error('EOPNOTSUPP');
      },
    });
    expect(await endingObstacle(without, byDiag)).toMatch(/sock-destroy in hadal check.*EOPNOTSUPP/);
  });

  it('leave nothing behind', async () => {
    await checkRequirements({ native });
    expect(readdirSync(findCgroupRoot() ?? '/').filter((name) => name.startsWith('hadal-check'))).toEqual([]);
  });

  it('say what is lost, and why, when an object is missing', async () => {
    const found = await checkRequirements({ native, objectDirectory: '/nonexistent' });
    expect(canCapture(found)).toBe(false);
    expect(found.find(({ id }) => id === 'attach-connect4')).toMatchObject({
      ok: false,
      found: expect.stringContaining('/nonexistent/connect4.bpf.o'),
      lost: 'outbound connections cannot be captured',
    });
  });

  it('find the kubelet by its usual cgroup, or by the one that is named', async () => {
    const root = join(findCgroupRoot() ?? '/', `hadaltest-${process.pid}-requirements`);
    mkdirSync(join(root, 'kubelet'), { recursive: true });
    const kubelet = async (options: { cgroupPath: string; kubeletCgroup?: string }) =>
      (await checkRequirements({ native, ...options })).find(({ id }) => id === 'kubelet-cgroup');
    try {
      expect(await kubelet({ cgroupPath: root })).toMatchObject({ ok: true, found: join(root, 'kubelet') });
      expect(await kubelet({ cgroupPath: root, kubeletCgroup: join(root, 'other') })).toMatchObject({
        ok: false,
      });
    } finally {
      rmdirSync(join(root, 'kubelet'));
      rmdirSync(root);
    }
    expect(existsSync(root)).toBe(false);
  });
});
