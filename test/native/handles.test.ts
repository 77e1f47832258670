import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import { KernelFixture, kernelTestsUnavailable, openDescriptors, runChild } from './fixture.ts';

const routing = { mark: 0x4841, mask: 0xffff, table: 18497, priority: 100 };

describe.skipIf(kernelTestsUnavailable)('a native handle', () => {
  const fixture = new KernelFixture();
  const addon = nativeAddon();
  let basics: string;
  let netnsPath: string;

  beforeAll(() => {
    basics = fixture.compile('basics');
    netnsPath = fixture.netns().path;
  });
  afterAll(() => fixture.dispose());

  const openAll = () => {
    const object = addon.openObject(basics);
    object.load();
    const map = object.map('pairs');
    const program = object.program('on_connect');
    const link = program.attachCgroup(fixture.cgroup());
    const ring = addon.openRingBuffer(object.map('events'), () => {});
    const netns = addon.openNetns(netnsPath);
    const watch = addon.watchNetns(netns, undefined, () => {});
    addon.closeFd(netns);
    return { object, map, program, link, ring, watch };
  };

  it('closes as often as one likes, and says so afterwards by its name', () => {
    const { object, map, program, link, ring, watch } = openAll();
    for (const handle of [map, program, link, ring, watch, object]) {
      handle.close();
      handle.close();
    }
    const closed = (message: string) => expect.objectContaining({ code: 'ERR_HANDLE_CLOSED', message });
    expect(() => map.get(new Uint8Array(20))).toThrow(closed('map pairs is closed'));
    expect(() => map.fd).toThrow(closed('map pairs is closed'));
    expect(() => program.testRun({})).toThrow(closed('program on_connect is closed'));
    expect(() => link.detach()).toThrow(expect.objectContaining({ code: 'ERR_HANDLE_CLOSED' }));
    expect(() => object.load()).toThrow(closed('BPF object basics is closed'));
    expect(() => object.mapNames).toThrow(closed('BPF object basics is closed'));
    expect(() => ring.flush()).toThrow(closed('ring buffer events is closed'));
    // What needs no descriptor still reads: messages and logs name things that are closed.
    expect([map.name, map.type, map.keySize, program.name, object.name, watch.restoredCount]).toEqual([
      'pairs',
      'hash',
      20,
      'on_connect',
      'basics',
      0,
    ]);
  });

  it('is refused as an argument when it is closed or another thing', () => {
    const { object, map, program, link, ring } = openAll();
    program.close();
    map.close();
    expect(() => link.update(program)).toThrow('program on_connect is closed');
    expect(() => addon.openRingBuffer(map, () => {})).toThrow('map pairs is closed');
    for (const wrong of [undefined, null, 5, {}, map, object, ring, () => {}]) {
      expect(() => link.update(wrong as never)).toThrow(expect.objectContaining({ code: 'ERR_HANDLE_TYPE' }));
    }
    link.close();
    ring.close();
    object.close();
  });

  it('is made by the addon alone, and its methods belong to its own kind', () => {
    const { object, map, program } = openAll();
    const Made = map.constructor as new () => object;
    expect(() => new Made()).toThrow('BpfMap is made by the addon');
    expect(() => new (class extends Made {})()).toThrow('BpfMap is made by the addon');
    for (const wrong of [program, object, {}, Object.create(map), undefined, 5, Made.prototype]) {
      expect(() => map.get.call(wrong as never, new Uint8Array(20))).toThrow(TypeError);
    }
    const getFd = Object.getOwnPropertyDescriptor(Made.prototype, 'fd')?.get as () => number;
    expect(() => getFd.call(program)).toThrow(TypeError);
    expect(getFd.call(map)).toBe(map.fd);
    object.close();
  });

  it('gives back every descriptor', async () => {
    const settle = () => new Promise((resolve) => setTimeout(resolve, 50));
    const once = () => {
      for (const handle of Object.values(openAll())) handle.close();
    };
    once();
    await settle();
    const before = openDescriptors();
    for (let i = 0; i < 20; i++) once();
    await settle();
    // The maps that openAll takes for the ring buffers are closed by nobody; the collector will.
    expect(openDescriptors() - before).toBeLessThanOrEqual(20);
  });

  it.each(['return', 'exit-under-load'])('does not keep a process alive that ends by %s', async (ending) => {
    const child = await runChild('forget.mjs', [basics, netnsPath, ending], { timeoutMs: 10_000 });
    expect(child).toMatchObject({ code: 0, killed: false, signal: null, stderr: '' });
  });

  it('lets an exception of a listener end the process like any other', async () => {
    const child = await runChild('forget.mjs', [basics, netnsPath, 'throw-in-listener']);
    expect(child).toMatchObject({ code: 1, killed: false });
    expect(child.stderr).toContain('Error: from the listener');
    const caught = await runChild('forget.mjs', [basics, netnsPath, 'catch-from-listener']);
    expect(caught).toMatchObject({ code: 0, stdout: 'caught from the listener\n' });
  });

  it('closes what it owns when it is collected, except a subscription, which goes on', async () => {
    const child = await runChild('forget.mjs', [basics, netnsPath, 'collect'], {
      nodeOptions: ['--expose-gc'],
      timeoutMs: 60_000,
    });
    expect(child).toMatchObject({ code: 0, killed: false, stderr: '' });
    expect(child.stdout).toBe('descriptors are back\nstill heard\n');
  });

  it('dies with its worker thread, however that ends, and harms no other', async () => {
    const child = await runChild('workers.mjs', [basics, netnsPath], { timeoutMs: 60_000 });
    expect(child).toMatchObject({ code: 0, killed: false, signal: null, stdout: 'all ended\n', stderr: '' });
  });

  it('keeps capture routing in place after the process that watched it is gone', async () => {
    const { name, path } = fixture.netns();
    await runChild('forget.mjs', [basics, path, 'exit-under-load']);
    const netns = addon.openNetns(path);
    const { ip } = await import('./fixture.ts');
    expect(ip('-n', name, 'rule')).toContain('fwmark 0x4841/0xffff lookup 18497');
    addon.removeCaptureRouting(netns, routing);
    expect(ip('-n', name, 'rule')).not.toContain('18497');
    addon.closeFd(netns);
  });
});
