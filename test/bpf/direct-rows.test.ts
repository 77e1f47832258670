import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommandLine } from '../../src/cli/command-line.ts';
import { VERDICT_DIRECT, VERDICT_REFUSE } from '../../src/kernel/constants.gen.ts';
import { forgetAddresses } from '../../src/kernel/pinned-addresses.ts';
import type { DirectSlot, RowEntry } from '../../src/kernel/row-table.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('rows that lead to pods of the node', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
  });
  afterAll(() => world?.dispose());

  const key = (port = 80) => ({ podIndex: client.podIndex, address: '10.96.0.10', port });
  const direct = (port: number, address = '10.60.9.9'): DirectSlot => ({
    kind: 'direct',
    address,
    port,
    podIndex: 99,
    netnsCookie: 0xffff_ffff_ffffn,
    edge: 5,
    inboundEdge: 6,
  });
  const row = (...slots: DirectSlot[]): RowEntry => ({ verdict: VERDICT_DIRECT, edge: 4, slots });
  const targets = () => world.capture.maps.map('direct_targets').keys().length;

  it('are read as they were written', () => {
    const entry = row(direct(8080), { kind: 'tunnel' }, direct(8081));
    world.capture.putRows([[key(), entry]]);
    expect(world.capture.maps.rows.get(key())).toEqual(entry);
    world.capture.removeRows([key()]);
    expect(world.capture.maps.rows.get(key())).toBeUndefined();
    expect(targets()).toBe(0);
  });

  it('leave no endpoint behind when they change, become a refusal, or their pod goes', async () => {
    world.capture.putRows([
      [key(), row(direct(8080), direct(8081))],
      [key(81), row(direct(8082))],
    ]);
    world.capture.putRows([[key(), row(direct(8083))]]);
    expect(targets()).toBe(2);
    const refusal = { verdict: VERDICT_REFUSE, reason: reasons.POLICY_DENIED, error: 13, edge: 4 };
    world.capture.putRows([[key(), refusal]]);
    expect(world.capture.maps.rows.get(key())).toEqual(refusal);
    expect(targets()).toBe(1);
    expect(world.capture.replaceRows(client.podIndex, [[key(), refusal]])).toEqual({ set: 0, deleted: 1 });
    expect(targets()).toBe(0);
    const other = world.attach(world.addPod('other'));
    world.capture.putRows([[{ ...key(), podIndex: other.podIndex }, row(direct(8080), direct(8081))]]);
    other.capture.detach();
    expect(targets()).toBe(0);
    world.capture.removeRows([key()]);
  });

  it('must have 1 to 256 slots, and one that is wrong changes nothing', () => {
    const before = row(direct(8080));
    world.capture.putRows([[key(), before]]);
    for (const slots of [[], Array.from({ length: 257 }, () => direct(1))]) {
      expect(() => world.capture.putRows([[key(), row(...slots)]])).toThrow(/slots; it must have 1 to 256/);
    }
    const most = row(...Array.from({ length: 256 }, (_, slot) => direct(slot + 1)));
    expect(() =>
      world.capture.putRows([
        [key(81), most],
        [key(), row()],
      ]),
    ).toThrow(/0 slots/);
    expect(world.capture.maps.rows.get(key())).toEqual(before);
    expect(world.capture.maps.rows.get(key(81))).toBeUndefined();
    expect(targets()).toBe(1);
    world.capture.putRows([[key(), most]]);
    expect(world.capture.maps.rows.get(key())).toEqual(most);
    world.capture.removeRows([key()]);
  });

  it('lose the endpoints of a pod that comes or goes, while no agent runs, by the command of a CNI plugin', async () => {
    world.capture.putRows([[key(), row(direct(8080), direct(1, 'fd60::9'), direct(2, '10.60.9.8'))]]);
    const options = { native: nativeAddon(), bpffs: world.bpffs };
    expect(forgetAddresses({ ...options, instance: 'nobody' }, ['10.60.9.9'])).toBe(0);
    expect(() => forgetAddresses({ ...options, instance: 'test' }, ['10.60.9'])).toThrow(/is no IP address/);
    let printed = '';
    const status = await runCommandLine(
      ['forget-address', '10.60.9.9', 'fd60:0::9', '10.1.1.1', '-o', 'json'],
      {
        out: (text) => {
          printed += text;
        },
        err: (text) => {
          printed += text;
        },
        environment: { HADAL_BPFFS: world.bpffs, HADAL_INSTANCE: 'test', HADAL_NODE_NAME: 'node-1' },
        interrupted: new AbortController().signal,
        now: Date.now,
      },
    );
    expect({ status, printed: JSON.parse(printed) }).toMatchObject({ status: 0, printed: { forgotten: 2 } });
    expect(world.capture.maps.rows.get(key())).toMatchObject({ slots: [{ address: '10.60.9.8' }] });
    world.capture.removeRows([key()]);
    expect(targets()).toBe(0);
  });

  it('lose the endpoints at an address that goes, and sets that no row names are swept by the next agent', () => {
    world.capture.putRows([[key(), row(direct(8080), { kind: 'tunnel' }, direct(1, 'fd60::9'))]]);
    expect(world.capture.maps.rows.removeTargets(['10.60.9.9'])).toBe(1);
    expect(world.capture.maps.rows.get(key())).toMatchObject({ slots: [{ kind: 'tunnel' }, { port: 1 }] });
    const rows = world.capture.maps.map('outbound_rows');
    for (const raw of rows.keys()) rows.delete(raw);
    expect(targets()).toBe(2);
    const next = world.startCapture();
    expect(targets()).toBe(0);
    next.close();
  });
});
