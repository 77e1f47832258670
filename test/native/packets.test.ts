import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { SeenPacket } from '../../src/native/types.ts';
import { ip, KernelFixture, kernelTestsUnavailable, openDescriptors } from './fixture.ts';

describe.skipIf(kernelTestsUnavailable)('packets and links of network namespaces', () => {
  const addon = nativeAddon();
  const fixture = new KernelFixture();
  const opened: number[] = [];
  let node: { name: string; fd: number };
  let pod: { name: string; fd: number };

  beforeAll(() => {
    const make = () => {
      const { name, path } = fixture.netns();
      const fd = addon.openNetns(path);
      opened.push(fd);
      ip('-n', name, 'link', 'set', 'lo', 'up');
      return { name, fd };
    };
    [node, pod] = [make(), make()];
    ip('-n', node.name, 'link', 'add', 'br7', 'type', 'bridge');
    ip('link', 'add', 'pod3', 'netns', node.name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
    ip('-n', node.name, 'link', 'set', 'pod3', 'master', 'br7');
    for (const [where, links] of [
      [node.name, ['br7', 'pod3']],
      [pod.name, ['eth0']],
    ] as const)
      for (const link of links) ip('-n', where, 'link', 'set', link, 'up');
    for (const [where, link, host] of [
      [node.name, 'br7', 1],
      [pod.name, 'eth0', 2],
    ] as const) {
      ip('-n', where, 'addr', 'add', `10.9.7.${host}/24`, 'dev', link);
      ip('-n', where, 'addr', 'add', `fd97::${host}/64`, 'dev', link, 'nodad');
    }
  });
  afterAll(() => {
    for (const fd of opened) addon.closeFd(fd);
    fixture.dispose();
  });

  const linkOf = (netns: { fd: number }, name: string) => {
    const found = addon.links(netns.fd).find((link) => link.name === name);
    if (found === undefined) throw new Error(`no ${name}`);
    return found;
  };

  it('links tell their kind and whose port they are', () => {
    expect(linkOf(node, 'lo')).toMatchObject({ index: 1, kind: '', master: 0 });
    expect(linkOf(node, 'br7')).toMatchObject({ kind: 'bridge', master: 0 });
    expect(linkOf(node, 'pod3')).toMatchObject({ kind: 'veth', master: linkOf(node, 'br7').index });
  });

  it('the other ends of a namespace’s links are found in the namespace that is asked for, and in no other', () => {
    expect(addon.linkEnds(pod.fd, node.fd)).toEqual([linkOf(node, 'pod3').index]);
    expect(addon.linkEnds(node.fd, pod.fd)).toEqual([linkOf(pod, 'eth0').index]);
    expect(addon.linkEnds(pod.fd, pod.fd)).toEqual([]);
    const stranger = fixture.netns();
    const fd = addon.openNetns(stranger.path);
    expect(addon.linkEnds(pod.fd, fd)).toEqual([]);
    addon.closeFd(fd);
  });

  it.each([
    { family: 4 as const, client: '10.9.7.1', server: '10.9.7.2' },
    { family: 6 as const, client: 'fd97::1', server: 'fd97::2' },
  ])('of one port are seen with interface, direction and ends (IPv$family), of others not', async (ends) => {
    const { family, client, server } = ends;
    const watch = addon.watchPackets(node.fd, 8431);
    // Nobody listens, so each SYN is answered with RST.
    for (const port of [8432, 8431]) {
      const socket = addon.openPodSocket(node.fd, {
        udp: false,
        family,
        exemptMapFd: -1,
        local: { address: client, port: 0 },
        remote: { address: server, port },
      });
      opened.push(socket.fd);
    }
    const seen: SeenPacket[] = [];
    await expect
      .poll(() => seen.push(...watch.read()) && seen.some(({ sourcePort }) => sourcePort === 8431), {
        timeout: 5000,
      })
      .toBe(true);
    const port = linkOf(node, 'pod3').index;
    expect(seen.find((packet) => packet.outgoing && packet.interfaceIndex === port)).toMatchObject({
      source: client,
      destination: server,
      destinationPort: 8431,
    });
    expect(seen.find((packet) => !packet.outgoing && packet.interfaceIndex === port)).toMatchObject({
      source: server,
      sourcePort: 8431,
      destination: client,
    });
    expect(seen.filter((packet) => packet.sourcePort !== 8431 && packet.destinationPort !== 8431)).toEqual(
      [],
    );
    expect(watch.read()).toEqual([]);
    watch.close();
    expect(() => watch.read()).toThrow(/watch of packets is closed/);
  });

  it('are watched by a socket that goes with the watch', async () => {
    // Those of the tests before may close meanwhile.
    const before = openDescriptors();
    for (let n = 0; n < 20; n++) addon.watchPackets(pod.fd, 80).close();
    await expect.poll(openDescriptors, { timeout: 5000 }).toBeLessThanOrEqual(before);
    expect(() => addon.watchPackets(pod.fd, 0)).toThrow(/port must be from 1 to 65535/);
  });
});
