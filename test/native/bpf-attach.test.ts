import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfObject } from '../../src/native/types.ts';
import { KernelFixture, kernelTestsUnavailable, runChild } from './fixture.ts';

const slot = (number: number): Uint8Array => new Uint8Array(Uint32Array.of(number).buffer);
describe.skipIf(kernelTestsUnavailable)('an attached BPF program', () => {
  const fixture = new KernelFixture();
  const addon = nativeAddon();
  let object: BpfObject;
  let server: Server;
  let target: string;
  let basics: string;

  beforeAll(async () => {
    basics = fixture.compile('basics');
    object = addon.openObject(basics);
    object.setReadOnly('step', 1);
    object.load();
    server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    target = `127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterAll(() => {
    server?.close();
    object?.close();
    fixture.dispose();
  });

  const count = (index: number): number => {
    const counters = object.map('counters');
    const bytes = counters.get(slot(index)) as Uint8Array;
    counters.close();
    const view = new DataView(bytes.buffer);
    let sum = 0;
    for (let cpu = 0; cpu < addon.cpuCount; cpu++) sum += view.getUint32(cpu * 8, true);
    return sum;
  };
  const connectIn = async (cgroup: string, times = 1): Promise<void> => {
    const { stdout, stderr } = await runChild('connect.mjs', Array(times).fill(target), { cgroup });
    expect(stdout + stderr).toBe('connected\n'.repeat(times));
  };

  const listenIn = (netns: string, address: string): ChildProcessByStdio<null | Writable, Readable, null> => {
    const script = join(import.meta.dirname, 'children', 'listen.mjs');
    return spawn('ip', ['netns', 'exec', netns, process.execPath, script, address], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  };

  it('sees the connections of its cgroup and of no other, until it is closed', async () => {
    const [ours, theirs] = [fixture.cgroup(), fixture.cgroup()];
    const before = count(0);
    const link = object.program('on_connect').attachCgroup(ours);
    expect(link.id).toBeGreaterThan(0);
    await connectIn(ours, 2);
    await connectIn(theirs);
    expect(count(0) - before).toBe(2);
    link.close();
    await connectIn(ours);
    expect(count(0) - before).toBe(2);
  });

  it('leaves what others attached in place', async () => {
    const cgroup = fixture.cgroup();
    const before = [count(0), count(1)] as const;
    const first = object.program('on_connect').attachCgroup(cgroup);
    const second = object.program('on_connect_other').attachCgroup(cgroup);
    await connectIn(cgroup);
    expect([count(0) - before[0], count(1) - before[1]]).toEqual([1, 1]);
    first.close();
    second.close();
  });

  it('is replaced in place, and survives the process as a pin', async () => {
    const cgroup = fixture.cgroup();
    const path = `${fixture.bpffs()}/link`;
    const before = [count(0), count(1)] as const;
    const link = object.program('on_connect').attachCgroup(cgroup);
    link.pin(path);
    link.close();
    await connectIn(cgroup);
    const again = addon.openPinnedLink(path);
    expect(again.id).toBe(link.id);
    again.update(object.program('on_connect_other'));
    await connectIn(cgroup);
    expect([count(0) - before[0], count(1) - before[1]]).toEqual([1, 1]);
    again.detach();
    await connectIn(cgroup);
    expect([count(0) - before[0], count(1) - before[1]]).toEqual([1, 1]);
    expect(() => again.update(object.program('on_connect'))).toThrow(/it was detached/);
    again.close();
  });

  it('comes back from its own pin and attaches to the right hook', async () => {
    const path = `${fixture.bpffs()}/program`;
    const cgroup = fixture.cgroup();
    const before = count(0);
    object.program('on_connect').pin(path);
    const program = addon.openPinnedProgram(path);
    expect(program).toMatchObject({ name: 'on_connect', type: 'cgroup_sock_addr' });
    const link = program.attachCgroup(cgroup);
    await connectIn(cgroup);
    expect(count(0) - before).toBe(1);
    link.close();
  });

  it('says what is wrong with a place', () => {
    const program = object.program('on_connect');
    expect(() => program.attachCgroup('/nonexistent')).toThrow(/cannot open cgroup \/nonexistent/);
    expect(() => program.attachCgroup('/tmp')).toThrow(/is not in a cgroup v2 file system/);
    expect(() => program.attachNetns(0)).toThrow(/its type is for other places/);
    expect(() => object.program('steer').attachNetns(0)).toThrow(/cannot attach program steer/);
    expect(() => object.program('steer').attachCgroup(fixture.cgroup())).toThrow(
      /its type is for other places/,
    );
    expect(() => program.attachSockMap(object.map('listeners'))).toThrow(/its type is for other places/);
    expect(() => program.attachIterator()).toThrow(/its type is for other places/);
  });

  it('decides about the connections of its network namespace until it is closed', async () => {
    const { name, path } = fixture.netns();
    const netns = addon.openNetns(path);
    const listener = listenIn(name, '127.0.0.1');
    try {
      const port = await new Promise<string>((resolve) =>
        listener.stdout.once('data', (chunk) => resolve(String(chunk).trim())),
      );
      const link = object.program('steer').attachNetns(netns);
      // Nothing in the sock map: the program drops, also connections to ports that are open.
      expect((await runChild('connect.mjs', [`127.0.0.1:${port}`], { netns: name })).stdout).toBe(
        'ECONNREFUSED\n',
      );
      link.close();
      expect((await runChild('connect.mjs', [`127.0.0.1:${port}`], { netns: name })).stdout).toBe(
        'connected\n',
      );
    } finally {
      listener.kill();
      addon.closeFd(netns);
    }
  });

  it('steers connections to a socket that it was given', async () => {
    const { name } = fixture.netns();
    const steered = await runChild('steer.mjs', [basics], { netns: name });
    expect(steered.stdout + steered.stderr).toBe('accepted for port 9\n');
  });

  it('attaches to a sock map', () => {
    const link = object.program('pass_message').attachSockMap(object.map('listeners'));
    expect(() => object.program('pass_message').attachSockMap(object.map('pairs'))).toThrow(/cannot attach/);
    link.update(object.program('pass_message'));
    link.detach();
    link.close();
  });

  it('lists sockets as an iterator, in the namespace that is asked for', async () => {
    const { name, path } = fixture.netns();
    const netns = addon.openNetns(path);
    const link = object.program('list_tcp').attachIterator();
    const ports = (bytes: Uint8Array): number[] => [
      ...new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2),
    ];
    const here = (server.address() as { port: number }).port;
    expect(ports(link.readIterator())).toContain(here);
    expect(ports(link.readIterator({ netnsFd: netns }))).toEqual([]);
    const listener = listenIn(name, '::1');
    try {
      const there = await new Promise<number>((resolve) =>
        listener.stdout.once('data', (chunk) => resolve(Number(chunk))),
      );
      expect(ports(link.readIterator({ netnsFd: netns }))).toEqual([there]);
      expect(ports(link.readIterator())).toContain(here);
    } finally {
      listener.kill();
      link.close();
      addon.closeFd(netns);
    }
    expect(() => object.program('list_tcp').attachIterator().readIterator({ netnsFd: 0 })).toThrow(
      /enter the network namespace/,
    );
  });

  it('runs on a packet of the test, with its context back', () => {
    const program = object.program('read_packet');
    const context = new Uint8Array(192);
    const ran = program.testRun({ packet: new Uint8Array(100).fill(5), context, repeat: 10 });
    expect(ran.returnValue).toBe(100);
    expect(ran.packet).toEqual(new Uint8Array(100).fill(5));
    // __sk_buff.mark, which the program sets.
    expect(new DataView((ran.context as Uint8Array).buffer).getUint32(8, true)).toBe(7);
    expect(() => program.testRun({ packet: new Uint8Array(3) })).toThrow(/cannot run program read_packet/);
    expect(() => program.testRun({ repeat: 0 })).toThrow(/options.repeat/);
    expect(() => object.program('on_connect').testRun({})).toThrow(/cannot run program on_connect/);
  });
});
