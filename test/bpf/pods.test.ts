import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CaptureWorld } from '../helpers/capture-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a pod of the capture', () => {
  let world: CaptureWorld;

  beforeEach(async () => {
    world = await CaptureWorld.create();
  });
  afterEach(() => world?.dispose());

  it('whose namespace is gone can still be taken out, and leaves nothing', () => {
    const pod = world.attach(world.addPod('short'));
    pod.capture.captureOutbound();
    world.removePod(pod);
    pod.capture.detach();
    expect(world.capture.pinnedPods()).toEqual([]);
    expect(world.capture.maps.podAddresses.keys()).toEqual([]);
    expect(world.capture.maps.map('pods').keys()).toEqual([]);
  });

  it('that takes over the index of one that is gone has a program of its own', async () => {
    const old = world.attach(world.addPod('old'), 7);
    old.capture.captureOutbound();
    world.removePod(old);
    old.capture.detach();
    const next = world.attach(world.addPod('next'), 7);
    await world.startListeners(next);
    next.capture.captureOutbound();
    expect(world.capture.pinnedPods()).toEqual([{ podIndex: 7, netnsCookie: next.netnsCookie }]);
    const client = world.addPod('client');
    expect((await world.dial(client, { to: [next.ipv4, 80] })).answer?.who).toMatch(/^plaintext\//);
  });

  it('keeps its rows apart from those of its neighbours', () => {
    const [one, two] = ['one', 'two'].map((name) => world.attach(world.addPod(name)));
    const row = { verdict: 1, reason: 80, error: 111, edge: 1 };
    const key = (podIndex = 0, port = 80) => ({ podIndex, address: '10.9.9.9', port });
    world.capture.putRows([
      [key(one?.podIndex), row],
      [key(two?.podIndex), row],
    ]);
    expect(world.capture.replaceRows(one?.podIndex ?? 0, [[key(one?.podIndex, 81), row]])).toEqual({
      set: 1,
      deleted: 1,
    });
    one?.capture.detach();
    expect(world.capture.maps.rows.keys()).toEqual([key(two?.podIndex)]);
  });

  it('is left pinned when the agent lets go, and gone when it is taken out', () => {
    const pod = world.attach(world.addPod('pod'));
    const path = join(world.capture.pinDirectory, 'pods', `${pod.podIndex}-${pod.netnsCookie}`, 'link');
    pod.capture.close();
    expect(existsSync(path)).toBe(true);
    world.attach(pod, pod.podIndex).capture.detach();
    expect(existsSync(path)).toBe(false);
  });
});
