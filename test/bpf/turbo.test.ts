import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { must, type TurboPair, TurboWorld, turboUnavailable } from '../helpers/turbo-world.ts';

const pollIn = 0x001;
const pollPeerClosed = 0x2000;

describe.skipIf(turboUnavailable !== undefined)('turbo', () => {
  let world: TurboWorld;
  const open: TurboPair[] = [];
  beforeAll(async () => {
    world = await TurboWorld.create();
  });
  afterAll(() => world?.dispose());
  afterEach(async () => {
    world.turn('on');
    for (const pair of open.splice(0)) await world.close(pair);
  });
  const connect = async (options = {}) => {
    const pair = await world.connect(options);
    open.push(pair);
    return pair;
  };
  const warm = async (options = {}) => {
    const pair = await world.warm(options);
    open.push(pair);
    return pair;
  };

  describe.each([{ family: 4 as const }, { family: 6 as const }])('over IPv$family', ({ family }) => {
    it('takes the first bytes by TCP, and the next past it once they were read', async () => {
      const { client, server, name } = await connect({ family });
      const send = () => client.do('send', { name, bytes: 5 });
      const receive = () => server.do('receive', { name, bytes: 99 });
      expect(await world.grown(async () => void (await send()))).toEqual({ tcpFirst: 1 });
      expect(await receive()).toMatchObject({ bytes: 5, exact: true });
      await expect
        .poll(async () => {
          const grown = await world.grown(async () => void (await send()));
          expect(await receive()).toMatchObject({ bytes: 5, exact: true });
          return grown;
        })
        .toEqual({ redirected: 1 });
    });

    it('does not pass what TCP still has', async () => {
      const { client, server, name } = await warm({ family });
      world.turn('off');
      await client.do('send', { name, bytes: 4 });
      world.turn('on');
      const grown = await world.grown(async () => void (await client.do('send', { name, bytes: 4 })));
      expect(grown.redirected).toBeUndefined();
      expect((grown.tcpUnread ?? 0) + (grown.tcpUnacked ?? 0)).toBe(1);
      // Acknowledged by now, and still not read.
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await world.grown(async () => void (await client.do('send', { name, bytes: 4 })))).toEqual({
        tcpUnread: 1,
      });
      expect(await server.do('drain', { name, total: 12, largest: 3 })).toMatchObject({ exact: true });
    });
  });

  it('keeps every byte in its place, both ways at once, while the switch is turned again and again', async () => {
    const { client, server, name } = await warm();
    const total = 60_000_000;
    // Readers that now keep up and now do not, so that both ways are taken again and again.
    const write = { name, total, largest: 200_000, pause: 0.2 };
    const read = { name, total, largest: 300_000, pause: 0.01, poll: true };
    let turns = 0;
    const turning = setInterval(
      () => world.turn((['off', 'on', 'killed', 'on'] as const)[turns++ % 4] ?? 'on'),
      3,
    );
    const grown = await world.grown(async () => {
      const [, atServer, , atClient] = await Promise.all([
        client.do('stream', { ...write, seed: 1 }),
        server.do('drain', { ...read, seed: 2 }),
        server.do('stream', { ...write, seed: 3 }),
        client.do('drain', { ...read, seed: 4 }),
      ]);
      expect(atServer).toEqual({ ok: true, bytes: total, exact: true });
      expect(atClient).toEqual({ ok: true, bytes: total, exact: true });
    });
    clearInterval(turning);
    // Else nothing was shown.
    expect(turns).toBeGreaterThan(20);
    expect(grown.redirected).toBeGreaterThan(500);
    expect((grown.tcpUnacked ?? 0) + (grown.tcpUnread ?? 0)).toBeGreaterThan(500);
  });

  it('keeps 1 GB in order as fast as it goes', async () => {
    const { client, server, name } = await warm();
    const total = 1_000_000_000;
    const reading = server.do('drain', { name, total, largest: 500_000 });
    await must(client.do('stream', { name, total, largest: 500_000 }));
    expect(await reading).toEqual({ ok: true, bytes: total, exact: true });
  });

  it('holds a sender back when nobody reads, and loses nothing of what it took', async () => {
    const { client, server, name } = await warm();
    const filled = await client.do('fill', { name, piece: 16_384, limit: 200_000_000 });
    // TCP alone takes some megabytes before it says so.
    expect(filled).toMatchObject({ error: 'EAGAIN' });
    expect(filled.bytes).toBeLessThan(16_000_000);
    const drained = await server.do('drain', { name, total: filled.bytes, largest: 100_000 });
    expect(drained).toMatchObject({ bytes: filled.bytes, exact: true });
  });

  it('wakes a reader that waits already', async () => {
    const { client, server, name } = await warm();
    for (let round = 0; round < 5; round++) {
      const reading = server.do('receive', { name, bytes: 100 });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(await world.grown(async () => void (await client.do('send', { name, bytes: 7 })))).toEqual({
        redirected: 1,
      });
      expect(await reading).toMatchObject({ bytes: 7, exact: true });
    }
  });

  it('tells edge-triggered epoll of each arrival, and of the end', async () => {
    const { client, server, name } = await warm();
    await server.do('watch', { name });
    expect(await server.do('events', { name, timeout: 0 })).toMatchObject({ events: [] });
    for (let round = 0; round < 3; round++) {
      await client.do('send', { name, bytes: 10 });
      expect(await server.do('events', { name })).toMatchObject({ events: [pollIn] });
      expect(await server.do('events', { name, timeout: 0 })).toMatchObject({ events: [] });
      expect(await server.do('receive', { name, bytes: 10 })).toMatchObject({ bytes: 10, exact: true });
    }
    await client.do('shutdown', { name });
    expect(await server.do('events', { name })).toMatchObject({ events: [pollIn | pollPeerClosed] });
  });

  it('shows with MSG_PEEK and FIONREAD what waits, without taking it', async () => {
    const { client, server, name } = await warm();
    expect(await world.grown(async () => void (await client.do('send', { name, bytes: 9 })))).toEqual({
      redirected: 1,
    });
    expect(await server.do('queued', { name })).toMatchObject({ bytes: 9 });
    expect(await server.do('receive', { name, bytes: 5, flags: ['MSG_PEEK'] })).toMatchObject({
      bytes: 5,
      exact: true,
    });
    expect(await server.do('receive', { name, bytes: 99 })).toMatchObject({ bytes: 9, exact: true });
    expect(await server.do('queued', { name })).toMatchObject({ bytes: 0 });
  });

  it('delivers before the end: half-close, then an answer; and close with bytes unread', async () => {
    const { client, server, name } = await warm();
    await client.do('send', { name, bytes: 50_000 });
    await client.do('shutdown', { name });
    expect(await server.do('drain', { name, total: 60_000, largest: 9_999 })).toMatchObject({
      bytes: 50_000,
      exact: true,
    });
    expect(
      await world.grown(async () => void (await server.do('send', { name, bytes: 70_000 }))),
    ).toMatchObject({ redirected: expect.any(Number) });
    await server.do('close', { name });
    expect(await client.do('drain', { name, total: 80_000, largest: 9_999 })).toMatchObject({
      bytes: 70_000,
      exact: true,
    });
  });

  it('delivers what was sent before a reset, then tells of it', async () => {
    const { client, server, name } = await warm();
    await client.do('send', { name, bytes: 3_000 });
    await client.do('close', { name, reset: true });
    expect(await server.do('receive', { name, bytes: 5_000 })).toMatchObject({ bytes: 3_000, exact: true });
    expect(await server.do('receive', { name, bytes: 5_000 })).toEqual({ ok: false, error: 'ECONNRESET' });
  });

  it('takes nothing after shutdown(), as TCP does', async () => {
    const { client, server, name } = await warm();
    await client.do('shutdown', { name });
    expect(await client.do('send', { name, bytes: 5 })).toEqual({ ok: false, error: 'EPIPE' });
    expect(await server.do('drain', { name, total: 9, largest: 9 })).toEqual({
      ok: true,
      bytes: 0,
      exact: true,
    });
  });

  it('takes a file by sendfile()', async () => {
    const { client, server, name } = await warm();
    const path = `/tmp/${world.name}-file`;
    const bytes = 300_000;
    const reading = server.do('drain', { name, total: bytes, largest: 50_000 });
    const grown = await world.grown(
      async () => void (await must(client.do('sendfile', { name, bytes, path }))),
    );
    expect(grown.redirected).toBeGreaterThan(0);
    expect(await reading).toMatchObject({ bytes, exact: true });
  });

  describe('leaves to TCP', () => {
    const expectOnly = async (pair: TurboPair, count: string) => {
      const { client, server, name } = pair;
      expect(await world.grown(async () => void (await client.do('send', { name, bytes: 6 })))).toEqual({
        [count]: 1,
      });
      expect(await server.do('receive', { name, bytes: 6 })).toMatchObject({ bytes: 6, exact: true });
    };

    it('a sender that waits for completions of MSG_ZEROCOPY', async () => {
      const pair = await warm();
      await must(pair.client.do('option', { name: pair.name, level: 'SOL_SOCKET', option: 60, value: 1 }));
      await expectOnly(pair, 'tcpSender');
    });

    it('a reader that waits for more than one byte (SO_RCVLOWAT) or looks past the first (SO_PEEK_OFF)', async () => {
      const waits = await warm();
      await must(
        waits.server.do('option', { name: waits.name, level: 'SOL_SOCKET', option: 'SO_RCVLOWAT', value: 5 }),
      );
      await expectOnly(waits, 'tcpReader');
      const looks = await warm();
      await must(looks.server.do('option', { name: looks.name, level: 'SOL_SOCKET', option: 42, value: 0 }));
      await expectOnly(looks, 'tcpReader');
    });

    it('all of it when the switch is off, or one of the pods takes no part any more', async () => {
      const { client, server, name } = await warm();
      const send = () =>
        world.grown(async () => {
          await client.do('send', { name, bytes: 6 });
          expect(await server.do('receive', { name, bytes: 6 })).toMatchObject({ bytes: 6, exact: true });
        });
      expect(await send()).toEqual({ redirected: 1 });
      for (const to of ['off', 'killed'] as const) {
        world.turn(to);
        expect(await send()).toEqual({});
      }
      world.turn('on');
      for (const pod of [1, 2]) {
        world.dismiss(pod);
        expect(await send()).toEqual({});
        world.admit(pod);
      }
      await world.push({ client, server, name, port: 0 }, 'client');
    });

    it('connections of MPTCP, and plain ones to a listener of MPTCP', async () => {
      const grown = await world.grown(async () => {
        const pairs = [
          await connect({ mptcpClient: true, mptcpServer: true }),
          await connect({ mptcpClient: true }),
        ];
        for (const { client, server, name } of pairs) {
          for (let round = 0; round < 5; round++) {
            await client.do('send', { name, bytes: 6 });
            expect(await server.do('receive', { name, bytes: 6 })).toMatchObject({ bytes: 6, exact: true });
          }
        }
      });
      expect(grown).toEqual({ refusedKind: 2 });
      // Such a listener's child is TCP by then; accept() would still take it for one of MPTCP's.
      expect(await world.grown(async () => void (await connect({ mptcpServer: true })))).toEqual({
        joined: 1,
        refusedKind: 1,
      });
    });

    it('a connection of which one end joined alone, and one that is older', async () => {
      world.dismiss(2);
      const older = await connect();
      world.admit(2);
      const grown = await world.grown(async () => {
        for (let round = 0; round < 5; round++) {
          await older.client.do('send', { name: older.name, bytes: 6 });
          expect(await older.server.do('receive', { name: older.name, bytes: 6 })).toMatchObject({
            bytes: 6,
            exact: true,
          });
        }
      });
      expect(grown).toEqual({});
    });
  });

  it('serves another connection of the same tuple, of which nothing is mixed up with the first', async () => {
    const { client, server } = await warm();
    const to = [world.ends.server.ipv4, 31_000];
    await must(server.do('listen', { name: 'again', at: to }));
    for (let round = 0; round < 3; round++) {
      const name = `again${round}`;
      const accepted = server.do('accept', { name, of: 'again' });
      await must(client.do('connect', { name, to, from: 31_001 }));
      await must(accepted);
      const pair = { client, server, name, port: 31_000 };
      await world.push(pair, 'client');
      await must(client.do('send', { name, bytes: 100 }));
      // By RST: no TIME_WAIT holds the tuple, and the server has bytes that nobody reads.
      await must(client.do('close', { name, reset: true }));
      if (round === 2) await must(server.do('close', { name }));
    }
  });

  it('leaves nothing in the kernel when both ends have closed', async () => {
    const before = world.pairs;
    const pairs = await Promise.all([world.warm(), world.connect(), world.warm()]);
    expect(world.pairs).toBe(before + 3);
    for (const pair of pairs) await world.close(pair);
    await expect.poll(() => world.pairs).toBe(before);
  });

  // Who does one of these must not ask for turbo: docs/turbo.md. A kernel that learns better fails here.
  describe('on this kernel breaks a program that', () => {
    it('reads by splice(): it finds nothing, while poll() says there is something', async () => {
      const { client, server, name } = await warm();
      await client.do('send', { name, bytes: 8 });
      expect(await server.do('splice', { name, bytes: 8 })).toEqual({ ok: false, error: 'EAGAIN' });
      expect(await server.do('receive', { name, bytes: 8 })).toMatchObject({ bytes: 8, exact: true });
    });

    it('waits for all of its bytes by MSG_WAITALL: it gets what there is', async () => {
      const { client, server, name } = await warm();
      const reading = server.do('receive', { name, bytes: 8, flags: ['MSG_WAITALL'] });
      await new Promise((resolve) => setTimeout(resolve, 20));
      await client.do('send', { name, bytes: 4 });
      expect(await reading).toMatchObject({ bytes: 4, exact: true });
    });

    it('waits in recv() while another of its threads waits for room to send: recv() ends with EAGAIN', async () => {
      const { client, server, name } = await warm();
      const reading = client.do('receive', { name, bytes: 8 });
      const writing = client.do('stream', { name, total: 30_000_000, largest: 100_000 });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await must(server.do('drain', { name, total: 30_000_000, largest: 100_000 }));
      expect(await reading).toEqual({ ok: false, error: 'EAGAIN' });
      await must(writing);
    });

    it('asks TCP_INFO how much was carried', async () => {
      const { client, server, name } = await warm();
      const before = await client.do('tcp_info', { name });
      await client.do('send', { name, bytes: 10_000 });
      await must(server.do('drain', { name, total: 10_000, largest: 10_000 }));
      expect(await client.do('tcp_info', { name })).toEqual(before);
    });
  });

  it('goes on when the process that loaded it is gone', async () => {
    const { client, server, name } = await warm();
    world.detach();
    expect(await world.grown(async () => void (await client.do('send', { name, bytes: 6 })))).toEqual({
      redirected: 1,
    });
    expect(await server.do('receive', { name, bytes: 6 })).toMatchObject({ bytes: 6, exact: true });
    world.turn('killed');
    expect(await world.grown(async () => void (await client.do('send', { name, bytes: 6 })))).toEqual({});
    expect(await server.do('receive', { name, bytes: 6 })).toMatchObject({ bytes: 6, exact: true });
  });
});
