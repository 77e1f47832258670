import { release } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PodSockets } from '../../src/kernel/sockets.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('the TCP sockets of a pod', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let outside: WorldPod;
  let older: Awaited<ReturnType<CaptureWorld['dialAndHold']>>[];

  beforeAll(async () => {
    world = await CaptureWorld.create();
    const unmeshed = world.addPod('pod');
    outside = world.addPod('outside');
    await world.serve(outside, { ports: [8080] });
    await world.serve(unmeshed, { ports: [8080] });
    older = await Promise.all([
      world.dialAndHold(unmeshed, { to: [outside.ipv4, 8080] }),
      world.dialAndHold(unmeshed, { to: [outside.ipv6, 8080] }),
      world.dialAndHold(outside, { to: [unmeshed.ipv4, 8080] }),
      world.dialAndHold(outside, { to: [unmeshed.ipv6, 8080] }),
    ]);
    pod = await world.enrol(unmeshed);
  });
  afterAll(() => world?.dispose());

  const list = () => world.capture.sockets.list(pod.netnsFd);

  it('older than the enrolment are told from those that the capture has seen', async () => {
    const captured = await world.dialAndHold(pod, { to: [outside.ipv4, 8080] });
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    const untouched = await world.dialAndHold(pod, { to: [outside.ipv4, 8080] });
    const sockets = list();
    const find = (port: number | undefined) => sockets.find(({ localPort }) => localPort === port);
    expect(find(captured.result.local?.port)).toMatchObject({
      seenAs: 'captured',
      remoteAddress: outside.ipv4,
      remotePort: 8080,
    });
    expect(sockets.filter(({ seenAs }) => seenAs === 'agent')).toMatchObject([
      { localAddress: outside.ipv4, localPort: 8080, remotePort: captured.result.local?.port },
    ]);
    expect(find(untouched.result.local?.port)).toMatchObject({ seenAs: 'untouched' });
    expect(
      sockets
        .filter(({ seenAs }) => seenAs === 'older')
        .map(
          ({ localAddress, localPort, remoteAddress, remotePort }) =>
            `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`,
        )
        .sort(),
    ).toEqual(
      [
        `${pod.ipv4} ${older[0]?.result.local?.port} ${outside.ipv4} 8080`,
        `${pod.ipv6} ${older[1]?.result.local?.port} ${outside.ipv6} 8080`,
        `${pod.ipv4} 8080 ${outside.ipv4} ${older[2]?.result.local?.port}`,
        `${pod.ipv6} 8080 ${outside.ipv6} ${older[3]?.result.local?.port}`,
      ].sort(),
    );
    await captured.check();
    await untouched.check();
  });

  it('can be ended one by one, by bpf_sock_destroy and by SOCK_DESTROY, and no other is harmed', async () => {
    const cookieOf = (index: number) => {
      const port = older[index]?.result.local?.port;
      const socket = list().find(({ localPort, remotePort }) => localPort === port || remotePort === port);
      return socket?.cookie ?? 0n;
    };
    const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat);
    const hasKfunc = major > 6 || (major === 6 && minor >= 5);
    expect(world.capture.sockets.destroysBy).toBe(hasKfunc ? 'bpf_sock_destroy' : 'SOCK_DESTROY');
    expect(world.capture.sockets.destroy(pod.netnsFd, [cookieOf(0), 12345n])).toBe(1);
    expect(await older[0]?.check()).toEqual({ alive: false, error: 'ECONNABORTED' });

    const byDiag = new PodSockets(nativeAddon(), world.capture.iterators, undefined);
    expect(byDiag.destroysBy).toBe('SOCK_DESTROY');
    expect(byDiag.destroy(pod.netnsFd, [cookieOf(3), 12345n])).toBe(1);
    byDiag.close();
    expect(await older[3]?.check()).toMatchObject({ alive: false, error: 'ECONNRESET' });

    expect(await older[1]?.check()).toEqual({ alive: true });
    expect(await older[2]?.check()).toEqual({ alive: true });
  });
});
