import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a probe of the kubelet', () => {
  let world: CaptureWorld;
  let server: EnrolledPod;
  let kubelet: string;
  let host: WorldPod;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    server = await world.addEnrolledPod('server');
    await world.serve(server, { ports: [8080] });
    kubelet = world.makeCgroup('kubelet');
    // Dialling "from the node" takes the node's namespace for a pod's.
    host = { ...server, ...world.node, name: 'node' };
  });
  afterAll(() => world?.dispose());
  afterEach(() => world.capture.setKubelet({ hostNetnsCookie: 0n, cgroup: join(kubelet, 'absent') }).close());

  const tuples = () => world.capture.maps.map('kubelet_tuples').keys().length;
  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4 },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6 },
  ];

  describe.each(families)('over $family', ({ of }) => {
    it('reaches the application untouched, and its tuple goes with its socket', async () => {
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
      const held = await world.dialAndHold(host, { to: [of(server), 8080] }, { cgroup: kubelet });
      expect(held.result.answer?.who).toBe('app');
      expect(tuples()).toBe(1);
      expect(await held.check()).toEqual({ alive: true });
      await expect.poll(tuples).toBe(0);
      expect(world.countOf(server, reasons.KUBELET)).toBeGreaterThan(0);
    });

    it('is told from another process of the host, which meets the plaintext listener', async () => {
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
      const result = await world.dial(host, { to: [of(server), 8080] }, { cgroup: world.cgroup });
      expect(result.answer?.who).toMatch(/^plaintext\//);
    });

    it('is told from a process in the same cgroup that dials from another namespace', async () => {
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
      const client = world.addPod(`client${of(server).includes(':') ? 6 : 4}`);
      const result = await world.dial(client, { to: [of(server), 8080] }, { cgroup: kubelet });
      expect(result.answer?.who).toMatch(/^plaintext\//);
    });

    it('that is refused leaves no tuple behind', async () => {
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
      expect(await world.dial(host, { to: [of(server), 9] }, { cgroup: kubelet })).toMatchObject({
        connected: false,
        error: 'ECONNREFUSED',
      });
      expect(tuples()).toBe(0);
    });

    it('comes from any process of the host where no cgroup isolates the kubelet', async () => {
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: 'any-host-process' });
      const result = await world.dial(host, { to: [of(server), 8080] }, { cgroup: world.cgroup });
      expect(result.answer?.who).toBe('app');
    });
  });

  it('from a cgroup below the kubelet reaches the application', async () => {
    const below = join(kubelet, 'helper');
    mkdirSync(below);
    world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
    const result = await world.dial(host, { to: [server.ipv4, 8080] }, { cgroup: below });
    expect(result.answer?.who).toBe('app');
    await expect.poll(() => rmdirSync(below)).toBeUndefined();
  });

  it('is known again after the kubelet restarted in a new cgroup of the same name', async () => {
    const path = join(world.cgroup, 'restarting');
    mkdirSync(path);
    const registration = world.capture.setKubelet({
      hostNetnsCookie: world.node.netnsCookie,
      cgroup: path,
      intervalMs: 20,
    });
    expect(registration.state).toBe('cgroup');
    rmdirSync(path);
    await expect.poll(() => registration.state).toBe('absent');
    world.makeCgroup('restarting');
    await expect.poll(() => registration.state).toBe('cgroup');
    const result = await world.dial(host, { to: [server.ipv4, 8080] }, { cgroup: path });
    expect(result.answer?.who).toBe('app');
  });
});
