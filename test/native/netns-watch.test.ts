import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { NetnsChange, NetnsWatch } from '../../src/native/types.ts';
import { ip, KernelFixture, kernelTestsUnavailable, openDescriptors } from './fixture.ts';

const routing = { mark: 0x4841, mask: 0xffff, table: 18497, priority: 100 };

describe.skipIf(kernelTestsUnavailable)('a watched network namespace', () => {
  const addon = nativeAddon();
  let fixture: KernelFixture;
  let name: string;
  let netns: number;
  let watch: NetnsWatch | undefined;
  let changes: NetnsChange[];

  beforeEach(() => {
    fixture = new KernelFixture();
    const made = fixture.netns();
    name = made.name;
    netns = addon.openNetns(made.path);
    inside('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'peer0');
    inside('link', 'set', 'eth0', 'up');
    inside('link', 'set', 'peer0', 'up');
    inside('addr', 'add', '10.9.0.5/24', 'dev', 'eth0');
    inside('addr', 'add', 'fd09::5/64', 'dev', 'eth0', 'nodad');
    changes = [];
  });
  afterEach(() => {
    watch?.close();
    watch = undefined;
    addon.closeFd(netns);
    fixture.dispose();
  });

  const inside = (...args: string[]): string => ip('-n', name, ...args);
  const start = (withRouting = true): NetnsWatch => {
    watch = addon.watchNetns(netns, withRouting ? routing : undefined, (change) => changes.push(change));
    return watch;
  };
  const until = async (what: () => boolean): Promise<void> => {
    for (let i = 0; i < 300 && !what(); i++) await sleep(10);
    expect(what()).toBe(true);
  };
  const restored = () => changes.filter((change) => change.kind === 'restored');
  const addresses = () => changes.filter((change) => change.kind === 'addresses');
  const table = (...family: string[]): string => inside(...family, 'route', 'show', 'table', '18497');
  const settled = async (): Promise<void> => {
    await until(() => addresses().length > 0);
    // IPv6 link-local addresses of new interfaces come a moment later.
    await sleep(100);
    changes = [];
  };

  it('gets its capture routing and tells its addresses at the start, which is no loss', async () => {
    start();
    await until(() => addresses().length > 0);
    expect(table()).toContain('local default dev eth0');
    expect(addresses()[0]).toMatchObject({
      addresses: expect.arrayContaining([
        expect.objectContaining({ interfaceName: 'eth0', address: '10.9.0.5', prefixLength: 24 }),
        expect.objectContaining({ interfaceName: 'eth0', address: 'fd09::5' }),
      ]),
    });
    expect(watch?.restoredCount).toBe(0);
  });

  it.each([
    ['the IPv4 rule', 'rule', ['rule', 'del', 'fwmark', '0x4841/0xffff'], ['rule'], '18497', 'IPv4 rule'],
    [
      'the IPv6 rule',
      'rule',
      ['-6', 'rule', 'del', 'fwmark', '0x4841/0xffff'],
      ['-6', 'rule'],
      '18497',
      'IPv6 rule',
    ],
    [
      'an IPv4 route',
      'route',
      ['route', 'del', 'local', 'default', 'dev', 'eth0', 'table', '18497'],
      ['route', 'show', 'table', '18497'],
      'dev eth0',
      'IPv4 route of eth0',
    ],
    [
      'an IPv6 route',
      'route',
      ['-6', 'route', 'del', 'local', 'default', 'dev', 'eth0', 'table', '18497'],
      ['-6', 'route', 'show', 'table', '18497'],
      'dev eth0',
      'IPv6 route of eth0',
    ],
  ])('gets %s back within a second', async (_name, what, remove, show, sign, detail) => {
    start();
    await settled();
    expect(inside(...show)).toContain(sign);
    inside(...remove);
    await until(() => restored().length > 0);
    expect(inside(...show)).toContain(sign);
    expect(restored()).toEqual([{ kind: 'restored', what, detail, afterMs: expect.any(Number) }]);
    expect((restored()[0] as { afterMs: number }).afterMs).toBeLessThan(1000);
    expect(watch?.restoredCount).toBe(1);
  });

  it('survives everything being flushed, over and over', async () => {
    start();
    await settled();
    const before = [inside('rule'), inside('-6', 'rule'), table(), table('-6')];
    for (let i = 0; i < 30; i++) {
      inside('rule', 'flush');
      inside('route', 'flush', 'table', '18497');
      inside('-6', 'route', 'flush', 'table', '18497');
    }
    await sleep(200);
    // `ip rule flush` took the rules of the main tables too; those are not ours.
    expect(inside('rule')).toContain('fwmark 0x4841/0xffff lookup 18497');
    expect(inside('-6', 'rule')).toContain('fwmark 0x4841/0xffff lookup 18497');
    expect([table(), table('-6')]).toEqual(before.slice(2));
    expect(watch?.restoredCount).toBeGreaterThan(30);
  });

  it('removes what somebody else puts into the table', async () => {
    start();
    await settled();
    const before = table();
    inside('route', 'add', 'unreachable', '10.1.0.0/16', 'table', '18497');
    await until(() => restored().length > 0);
    expect(table()).toBe(before);
    expect(restored()[0]).toMatchObject({ detail: expect.stringContaining('10.1.0.0/16') });
  });

  it('covers an interface that comes later, and that is no loss', async () => {
    start();
    await settled();
    inside('link', 'add', 'net1', 'type', 'veth', 'peer', 'name', 'peer1');
    inside('link', 'set', 'net1', 'up');
    await until(() => table().includes('dev net1') && table('-6').includes('dev net1'));
    inside('link', 'set', 'net1', 'down');
    inside('link', 'set', 'net1', 'up');
    await until(() => table().includes('dev net1') && table('-6').includes('dev net1'));
    inside('link', 'del', 'net1');
    await until(() => !table().includes('dev net1'));
    expect(restored().filter((change) => !change.detail.includes('net1'))).toEqual([]);
  });

  it('follows the addresses, and its routes follow them', async () => {
    start();
    await settled();
    inside('addr', 'add', '10.9.0.6/24', 'dev', 'eth0');
    await until(() => addresses().length === 1);
    expect(addresses()[0]?.addresses.map((entry) => entry.address)).toContain('10.9.0.6');
    inside('addr', 'del', '10.9.0.5/24', 'dev', 'eth0');
    inside('addr', 'replace', '10.9.0.6/24', 'dev', 'eth0');
    await until(() => /dev eth0 .*src 10.9.0.6/.test(table()));
    await until(() => {
      const last = addresses()
        .at(-1)
        ?.addresses.map((entry) => entry.address);
      return last?.includes('10.9.0.6') === true && !last.includes('10.9.0.5');
    });
  });

  it('tells nothing of routes that are not its own', async () => {
    start();
    await settled();
    for (let i = 1; i < 50; i++) inside('route', 'add', `10.200.${i}.0/24`, 'via', '10.9.0.1');
    await sleep(100);
    expect(changes.filter((change) => change.kind !== 'addresses')).toEqual([]);
  });

  it('tells addresses alone when there is no capture', async () => {
    start(false);
    await until(() => addresses().length > 0);
    expect(inside('rule')).not.toContain('18497');
    expect(inside('route', 'show', 'table', 'all')).not.toContain('18497');
  });

  it('is left alone after close', async () => {
    const closed = start();
    await settled();
    closed.close();
    closed.close();
    await sleep(50);
    addon.removeCaptureRouting(netns, routing);
    inside('addr', 'add', '10.9.0.9/24', 'dev', 'eth0');
    await sleep(100);
    expect(changes).toEqual([]);
    expect(inside('rule')).not.toContain('18497');
    expect(closed.restoredCount).toBe(0);
  });

  it('can be closed by its own listener', async () => {
    let calls = 0;
    const opened = addon.watchNetns(netns, routing, () => {
      calls++;
      opened.close();
    });
    await until(() => calls > 0);
    inside('rule', 'del', 'fwmark', '0x4841/0xffff');
    await sleep(100);
    expect(calls).toBe(1);
  });

  it('is refused when it is none', () => {
    expect(() => addon.watchNetns(0, routing, () => {})).toThrow(
      expect.objectContaining({ syscall: 'setns' }),
    );
    expect(() => addon.watchNetns(netns, routing, undefined as never)).toThrow('listener must be a function');
  });
});

describe.skipIf(kernelTestsUnavailable)('250 watched network namespaces', () => {
  it('cost two descriptors each and come back whole when all are flushed at once', async () => {
    const addon = nativeAddon();
    const fixture = new KernelFixture();
    const watches: NetnsWatch[] = [];
    const descriptors: number[] = [];
    try {
      const spaces = Array.from({ length: 250 }, () => fixture.netns());
      const before = openDescriptors();
      const started = performance.now();
      for (const space of spaces) {
        const fd = addon.openNetns(space.path);
        addon.addCaptureRouting(fd, routing);
        watches.push(addon.watchNetns(fd, routing, () => {}));
        descriptors.push(fd);
      }
      console.log(`250 namespaces enrolled in ${(performance.now() - started).toFixed(0)} ms`);
      await sleep(300);
      for (const fd of descriptors.splice(0)) addon.closeFd(fd);
      expect(openDescriptors() - before).toBeLessThanOrEqual(2 * 250 + 5);
      for (const space of spaces) ip('-n', space.name, 'route', 'flush', 'table', '18497');
      await sleep(500);
      expect(watches.map((watch) => watch.restoredCount >= 1)).toEqual(Array(250).fill(true));
      for (const watch of watches.splice(0)) watch.close();
      await sleep(200);
      expect(openDescriptors() - before).toBeLessThanOrEqual(5);
    } finally {
      for (const watch of watches) watch.close();
      for (const fd of descriptors) addon.closeFd(fd);
      fixture.dispose();
    }
  }, 180_000);
});
