import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import { ip, KernelFixture, kernelTestsUnavailable, openDescriptors } from './fixture.ts';

const routing = { mark: 0x4841, mask: 0xffff, table: 18497, priority: 100 };

describe.skipIf(kernelTestsUnavailable)('a network namespace', () => {
  const addon = nativeAddon();
  let fixture: KernelFixture;
  let name: string;
  let path: string;
  let netns: number;

  beforeEach(() => {
    fixture = new KernelFixture();
    ({ name, path } = fixture.netns());
    netns = addon.openNetns(path);
  });
  afterEach(() => {
    addon.closeFd(netns);
    fixture.dispose();
  });

  const inside = (...args: string[]): string => ip('-n', name, ...args);
  /** A veth pair with both ends inside, which is enough to have interfaces that are up. */
  const addInterface = (device: string, ...addresses: string[]): void => {
    inside('link', 'add', device, 'type', 'veth', 'peer', 'name', `${device}-peer`);
    inside('link', 'set', device, 'up');
    inside('link', 'set', `${device}-peer`, 'up');
    for (const address of addresses) {
      inside('addr', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : []));
    }
  };

  it('has an identity that differs from others and stays', () => {
    const other = addon.openNetns(fixture.netns().path);
    const again = addon.openNetns(path);
    const host = addon.openNetns('/proc/self/ns/net');
    const identities = [netns, again, other, host].map((fd) => addon.netnsIdentity(fd));
    expect(identities[0]).toEqual(identities[1]);
    expect(new Set(identities.map((identity) => identity.cookie)).size).toBe(3);
    expect(new Set(identities.map((identity) => identity.inode)).size).toBe(3);
    for (const fd of [other, again, host]) addon.closeFd(fd);
  });

  it('is refused when it is something else', () => {
    expect(() => addon.openNetns('/proc/self/ns/mnt')).toThrow(
      '/proc/self/ns/mnt is not a network namespace',
    );
    expect(() => addon.openNetns('/etc/passwd')).toThrow('is not a network namespace');
    expect(() => addon.openNetns('/run/netns/nobody')).toThrow(
      expect.objectContaining({ code: 'ERR_NETNS', errno: 2 }),
    );
    expect(() => addon.netnsIdentity(0)).toThrow(expect.objectContaining({ syscall: 'setns' }));
    expect(() => addon.closeFd(1)).toThrow(/must be one that openNetns returned/);
    expect(() => addon.closeFd(987654)).toThrow(/cannot close descriptor 987654/);
  });

  it('tells its addresses', () => {
    addInterface('eth0', '10.9.0.5/24', 'fd09::5/64');
    const told = addon.addresses(netns).filter((entry) => !entry.address.startsWith('fe80:'));
    expect(
      told.map(({ interfaceName, address, prefixLength }) => [interfaceName, address, prefixLength]),
    ).toEqual([
      ['lo', '127.0.0.1', 8],
      ['eth0', '10.9.0.5', 24],
      ['lo', '::1', 128],
      ['eth0', 'fd09::5', 64],
    ]);
    expect(told[1]?.interfaceIndex).toBeGreaterThan(1);
  });

  it('leaves out an address that is not usable yet', () => {
    addInterface('eth0');
    inside('addr', 'add', 'fd09::7/64', 'dev', 'eth0');
    expect(inside('addr', 'show', 'dev', 'eth0')).toContain('fd09::7/64 scope global tentative');
    expect(addon.addresses(netns).map((entry) => entry.address)).not.toContain('fd09::7');
  });

  it('has sysctls of its own', () => {
    const here = addon.openNetns('/proc/self/ns/net');
    const before = addon.readSysctl(here, 'ipv4/tcp_fwmark_accept');
    addon.writeSysctl(netns, 'ipv4/tcp_fwmark_accept', '1');
    expect(addon.readSysctl(netns, 'ipv4/tcp_fwmark_accept')).toBe('1');
    addon.writeSysctl(netns, 'ipv4/tcp_fwmark_accept', '0');
    expect(addon.readSysctl(netns, 'ipv4/tcp_fwmark_accept')).toBe('0');
    expect(addon.readSysctl(here, 'ipv4/tcp_fwmark_accept')).toBe(before);
    expect(() => addon.readSysctl(netns, 'ipv4/nope')).toThrow('cannot open sysctl net/ipv4/nope');
    for (const outside of [
      '../kernel/hostname',
      '/etc/passwd',
      'ipv4/../../kernel/hostname',
      '',
      'ipv4/a b',
    ]) {
      expect(() => addon.readSysctl(netns, outside)).toThrow(
        expect.objectContaining({ code: 'ERR_NET_SYSCTL' }),
      );
    }
    expect(() => addon.writeSysctl(netns, 'ipv4/tcp_fwmark_accept', 'banana')).toThrow(/Invalid argument/);
    addon.closeFd(here);
  });

  it('does not move the thread that asks', () => {
    const before = addon.openNetns('/proc/thread-self/ns/net');
    addon.addresses(netns);
    addon.addCaptureRouting(netns, routing);
    const after = addon.openNetns('/proc/thread-self/ns/net');
    expect(addon.netnsIdentity(after)).toEqual(addon.netnsIdentity(before));
    addon.closeFd(before);
    addon.closeFd(after);
  });

  describe('with capture routing', () => {
    const localRoute = (...args: string[]): string =>
      inside(...args.slice(0, -1), 'route', 'get', args.at(-1) as string, 'mark', '0x4841').trim();

    it('brings marked connections home on every interface, with the source of that interface', () => {
      addInterface('eth0', '10.9.0.5/24', 'fd09::5/64');
      addInterface('net1', '192.168.7.5/24');
      inside('route', 'add', 'default', 'via', '10.9.0.1');
      addon.addCaptureRouting(netns, routing);
      addon.addCaptureRouting(netns, routing);
      expect(inside('rule').match(/fwmark 0x4841\/0xffff lookup 18497/g)).toHaveLength(1);
      expect(inside('-6', 'rule').match(/fwmark 0x4841\/0xffff lookup 18497/g)).toHaveLength(1);
      expect(localRoute('8.8.8.8')).toMatch(/^local 8.8.8.8 dev lo .*src 10.9.0.5/);
      expect(localRoute('-6', '2001:db8::1')).toMatch(/^local 2001:db8::1 .*src fd09::5/);
      for (const [device, source] of [
        ['eth0', '10.9.0.5'],
        ['net1', '192.168.7.5'],
        ['lo', '10.9.0.5'],
      ] as const) {
        // prettier-ignore
        const bound = (...family: string[]): string =>
          inside(
            ...family,
            'route',
            'get',
            family.length > 0 ? '2001:db8::1' : '8.8.8.8',
            'mark',
            '0x4841',
            'oif',
            device,
          );
        expect(bound()).toMatch(new RegExp(`^local 8.8.8.8 .*src ${source}`));
        expect(bound('-6')).toMatch(/^local 2001:db8::1 /);
      }
      // Without the mark nothing changes.
      expect(inside('route', 'get', '8.8.8.8')).toContain('via 10.9.0.1 dev eth0');
    });

    it('takes the pod address from the interface of the default route, not from the first one', () => {
      addInterface('net1', '192.168.7.5/24');
      addInterface('eth0', '10.9.0.5/24');
      inside('route', 'add', 'default', 'via', '10.9.0.1');
      addon.addCaptureRouting(netns, routing);
      expect(localRoute('8.8.8.8')).toContain('src 10.9.0.5');
    });

    it('is taken away whole, and only that', () => {
      addInterface('eth0', '10.9.0.5/24', 'fd09::5/64');
      inside('rule', 'add', 'fwmark', '0x4841/0xffff', 'lookup', '77', 'priority', '90');
      const before = [inside('rule'), inside('-6', 'rule'), inside('route', 'show', 'table', 'all')];
      addon.addCaptureRouting(netns, routing);
      addon.removeCaptureRouting(netns, routing);
      addon.removeCaptureRouting(netns, routing);
      expect([inside('rule'), inside('-6', 'rule'), inside('route', 'show', 'table', 'all')]).toEqual(before);
    });

    it('works without IPv6', () => {
      addInterface('eth0', '10.9.0.5/24');
      addon.writeSysctl(netns, 'ipv6/conf/all/disable_ipv6', '1');
      addon.addCaptureRouting(netns, routing);
      expect(localRoute('8.8.8.8')).toContain('src 10.9.0.5');
      addon.removeCaptureRouting(netns, routing);
    });

    it('works with IPv6 alone', () => {
      addInterface('eth0', 'fd09::5/64');
      addon.addCaptureRouting(netns, routing);
      expect(localRoute('-6', '2001:db8::1')).toMatch(/^local .*src fd09::5/);
      addon.removeCaptureRouting(netns, routing);
    });

    it('refuses marks and tables that would break a pod', () => {
      expect(() => addon.addCaptureRouting(netns, { ...routing, mark: 0 })).toThrow(/mark must not be 0/);
      expect(() => addon.addCaptureRouting(netns, { ...routing, mask: 0 })).toThrow(/mark must not be 0/);
      expect(() => addon.addCaptureRouting(netns, { ...routing, table: 254 })).toThrow(/table must not be/);
      expect(() => addon.addCaptureRouting(netns, { ...routing, table: -1 })).toThrow(/table must be from/);
      expect(() => addon.addCaptureRouting(netns, {} as never)).toThrow('mark must be a number');
    });
  });

  it('lists its TCP sockets and ends one of them', async () => {
    const here = addon.openNetns('/proc/self/ns/net');
    const server = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const port = (server.address() as { port: number }).port;
    const client = connect(port, '127.0.0.1');
    await new Promise((resolve) => client.once('connect', resolve));
    const ended = new Promise<string | undefined>((resolve) =>
      client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)),
    );

    const find = () =>
      addon
        .tcpSockets(here)
        .find((socket) => socket.localPort === client.localPort && socket.remotePort === port);
    const found = find();
    expect(found).toMatchObject({
      family: 4,
      state: 1,
      localAddress: '127.0.0.1',
      remoteAddress: '127.0.0.1',
      mark: 0,
      uid: 0,
      interfaceIndex: 0,
    });
    expect(addon.tcpSockets(netns)).toEqual([]);
    if (found === undefined) throw new Error('not found');
    expect(addon.destroyTcpSocket(netns, found)).toBe(false);
    expect(addon.destroyTcpSocket(here, { ...found, cookie: found.cookie + 1n })).toBe(false);
    expect(find()).toBeDefined();
    expect(addon.destroyTcpSocket(here, found)).toBe(true);
    expect(await ended).toBe('ECONNABORTED');
    expect(addon.destroyTcpSocket(here, found)).toBe(false);
    expect(() => addon.destroyTcpSocket(here, { ...found, localAddress: 'x' })).toThrow(
      /socket.localAddress/,
    );
    server.close();
    addon.closeFd(here);
  });

  it('ends sockets of IPv6, and of IPv4 on dual-stack sockets', async () => {
    const script = join(import.meta.dirname, 'children', 'listen.mjs');
    const run = spawn('ip', ['netns', 'exec', name, process.execPath, script, '::'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      const port = await new Promise<number>((resolve) =>
        run.stdout.once('data', (chunk) => resolve(Number(chunk))),
      );
      for (const address of ['::1', '127.0.0.1']) {
        const client = spawn(
          'ip',
          [
            'netns',
            'exec',
            name,
            process.execPath,
            '-e',
            `const s = require('net').connect(${port}, '${address}', () => console.log('up')).on('error', (e) => console.log(e.code))`,
          ],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        ); // prettier-ignore
        const lines: string[] = [];
        const closed = new Promise((resolve) => client.once('close', resolve));
        client.stdout.on('data', (chunk) => lines.push(String(chunk).trim()));
        while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
        const accepted = addon
          .tcpSockets(netns)
          .find(
            (socket) => socket.localPort === port && socket.state === 1 && socket.localAddress === address,
          );
        expect(accepted).toMatchObject({ family: address === '::1' ? 6 : 4 });
        // The server's socket goes; the client sees the reset.
        expect(addon.destroyTcpSocket(netns, accepted as never)).toBe(true);
        await closed;
        expect(lines).toEqual(['up', 'ECONNRESET']);
      }
    } finally {
      run.kill();
    }
  });

  it('costs no descriptor after a call', () => {
    addon.addresses(netns);
    const before = openDescriptors();
    for (let i = 0; i < 20; i++) {
      addon.addresses(netns);
      addon.netnsIdentity(netns);
      addon.addCaptureRouting(netns, routing);
      addon.tcpSockets(netns);
      expect(() => addon.readSysctl(netns, 'nope')).toThrow();
    }
    expect(openDescriptors()).toBe(before);
  });
});
