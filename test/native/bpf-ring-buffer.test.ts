import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfMap, BpfObject, BpfProgram, RingBuffer, RingBufferOptions } from '../../src/native/types.ts';
import { KernelFixture, kernelTestsUnavailable } from './fixture.ts';

describe.skipIf(kernelTestsUnavailable)('a ring buffer', () => {
  const fixture = new KernelFixture();
  const addon = nativeAddon();
  let path: string;
  let object: BpfObject;
  let events: BpfMap;
  let program: BpfProgram;
  let ring: RingBuffer | undefined;
  let calls: number[][];

  beforeAll(() => {
    path = fixture.compile('basics');
  });
  afterEach(() => {
    ring?.close();
    ring = undefined;
    object?.close();
  });
  afterAll(() => fixture.dispose());

  const open = (options?: RingBufferOptions, also?: () => void): RingBuffer => {
    object = addon.openObject(path);
    object.load();
    events = object.map('events');
    program = object.program('read_packet');
    calls = [];
    ring = addon.openRingBuffer(
      events,
      (records, offsets) => {
        calls.push(
          Array.from({ length: offsets.length - 1 }, (_, i) => {
            expect((offsets[i + 1] as number) - (offsets[i] as number)).toBe(8);
            return new DataView(records.buffer, records.byteOffset).getUint32(offsets[i] as number, true);
          }),
        );
        also?.();
      },
      options,
    );
    return ring;
  };
  /** Each run writes one record: the packet's length. */
  const write = (length: number, times = 1): void => {
    program.testRun({ packet: new Uint8Array(length), repeat: times });
  };
  const until = async (what: () => boolean): Promise<void> => {
    for (let i = 0; i < 200 && !what(); i++) await sleep(10);
    expect(what()).toBe(true);
  };

  it('hands out what happened within its interval as one batch, in order', async () => {
    open({ intervalMs: 150 });
    const start = performance.now();
    for (let i = 0; i < 20; i++) write(100 + i);
    await until(() => calls.length > 0);
    expect(performance.now() - start).toBeGreaterThan(120);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(calls).toEqual([Array.from({ length: 20 }, (_, i) => 100 + i)]);
    write(64);
    await until(() => calls.length > 1);
    expect(calls[1]).toEqual([64]);
  });

  it('reads at once when asked, and waits for nothing when there is nothing', () => {
    const opened = open({ intervalMs: 60_000 });
    expect(opened.flush()).toBe(0);
    write(64);
    write(65);
    expect(opened.flush()).toBe(2);
    expect(calls).toEqual([[64, 65]]);
  });

  it('ends a batch at its size and goes on with the rest', async () => {
    open({ intervalMs: 10, maxBatchBytes: 80 });
    write(64, 1000);
    await until(() => calls.flat().length === 1000);
    expect(Math.max(...calls.map((call) => call.length))).toBe(10);
  });

  it('reads a ring that fills before its interval ends, so that nothing is lost', async () => {
    // 65536 bytes hold 4096 of these records; with the interval alone all after those would be lost.
    const opened = open({ intervalMs: 60_000 });
    for (let i = 1; i <= 10; i++) {
      write(64, 1500);
      // Less than a quarter of the ring may wait on: what was written after the reader had looked.
      await until(() => calls.flat().length > i * 1500 - 1024);
    }
    opened.flush();
    expect(calls.flat().length).toBe(15_000);
  });

  it('keeps records in the kernel while JavaScript is busy', async () => {
    open({ intervalMs: 1 });
    write(64, 10);
    const busyUntil = performance.now() + 200;
    while (performance.now() < busyUntil);
    write(65, 10);
    await until(() => calls.flat().length === 20);
    expect(calls.flat()).toEqual([...Array(10).fill(64), ...Array(10).fill(65)]);
  });

  it('can be closed by its own listener', async () => {
    const opened = open({ intervalMs: 1, maxBatchBytes: 8 }, () => opened.close());
    write(64, 5);
    await until(() => calls.length > 0);
    await sleep(50);
    expect(calls).toEqual([[64]]);
    const flushed = open({ intervalMs: 60_000, maxBatchBytes: 8 }, () => flushed.close());
    write(64, 5);
    expect(flushed.flush()).toBe(1);
    expect(() => flushed.flush()).toThrow('ring buffer events is closed');
  });

  it('throws what the listener throws out of flush, and goes on afterwards', () => {
    let fail = true;
    const opened = open({ intervalMs: 60_000 }, () => {
      if (fail) throw new Error('listener');
    });
    write(64);
    expect(() => opened.flush()).toThrow('listener');
    fail = false;
    write(65);
    expect(opened.flush()).toBe(1);
    expect(calls).toEqual([[64], [65]]);
  });

  it('lives on when the map and the object are closed', async () => {
    open({ intervalMs: 1 });
    events.close();
    object.close();
    write(64);
    await until(() => calls.length > 0);
  });

  it('is refused for other maps and for options out of range', () => {
    open();
    const pairs = object.map('pairs');
    expect(() => addon.openRingBuffer(pairs, () => {})).toThrow('map pairs is no ringbuf, its type is hash');
    expect(() => addon.openRingBuffer(events, 5 as never)).toThrow('listener must be a function');
    expect(() => addon.openRingBuffer(events, () => {}, { intervalMs: -1 })).toThrow('options.intervalMs');
    expect(() => addon.openRingBuffer(events, () => {}, { maxBatchBytes: 0 })).toThrow(
      'options.maxBatchBytes',
    );
  });
});
