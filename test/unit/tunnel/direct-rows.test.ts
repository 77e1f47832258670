import { describe, expect, it } from 'vitest';
import type { DirectSlot } from '../../../src/kernel/row-table.ts';
import { createAuthorization } from '../../../src/model/authorization.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import type { DecisionTablesOptions } from '../../../src/tunnel/decision-options.ts';
import type { DecisionTables } from '../../../src/tunnel/decision-tables.ts';
import type { KernelRow } from '../../../src/tunnel/kernel-rows.ts';
import { outboundKeyText } from '../../../src/tunnel/rows.ts';
import {
  tables as createTables,
  front,
  inbound,
  inCatalog,
  mesh,
  outbound,
  workload,
  written,
} from './tables-world.ts';

const here = { node: 'node-1', ...inCatalog };
const workloads = [
  workload('front', '10.0.1.1', { node: 'node-1' }),
  workload('near', '10.0.2.1', here),
  workload('far', '10.0.2.2', { ...inCatalog, node: 'node-2' }),
];
const near = { ...front, uid: 'Kubernetes//Pod/shop/near', addresses: ['10.0.2.1'], netnsCookie: 77n };
const deny = createAuthorization({
  namespace: 'shop',
  name: 'deny',
  scope: 'NAMESPACE',
  action: 'DENY',
  rules: [{ clauses: [] }],
});
const audit = createAuthorization({ ...deny, name: 'audit', action: 'AUDIT' });

/** `near` is pod 3 of this node, and traffic stays on the node. */
function tables(options: Partial<DecisionTablesOptions> = {}): DecisionTables {
  const decisions = createTables(options);
  decisions.setPod(3, near);
  decisions.setSameNodePath('stays');
  decisions.setSnapshot(mesh({ workloads }));
  return decisions;
}

const only = (): KernelRow | undefined => [...written.kernel.values()][0];
const slotsOf = (row: KernelRow | undefined) => (row?.kind === 'direct' ? row.slots : []);
const kinds = () => slotsOf(only()).map(({ kind }) => kind);
const endpointsOfNative = () =>
  [...written.outbound.values()].map((row) => row.endpoints.map(({ address }) => address).sort());

describe('a row to pods of this node', () => {
  it('is the kernel’s, and the tunnel’s for when the kernel cannot', () => {
    tables().ask([outbound('10.0.2.1', 8080)]);
    expect(only()).toMatchObject({
      kind: 'direct',
      slots: [{ kind: 'direct', address: '10.0.2.1', port: 8080, podIndex: 3, netnsCookie: 77n }],
    });
    const [slot] = slotsOf(only()) as Extract<DirectSlot, { kind: 'direct' }>[];
    expect(slot?.edge).not.toBe(slot?.inboundEdge);
    expect(endpointsOfNative()).toEqual([['10.0.2.1']]);
  });

  it('shares with endpoints elsewhere: the kernel picks for all, the agent only among those that are its own', () => {
    tables().ask([outbound('10.96.0.1', 80)]);
    expect(kinds()).toEqual(['direct', 'tunnel']);
    expect(endpointsOfNative()).toEqual([['10.0.2.2']]);
  });

  it('is the tunnel’s alone where the kernel has no room for it, and shared again when it has', () => {
    const decisions = tables();
    written.isKernelFull = true;
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect(endpointsOfNative()).toEqual([['10.0.2.1', '10.0.2.2']]);
    // Its own refusals, and the tunnel to either.
    expect(written.edges.size).toBe(3);
    written.isKernelFull = false;
    decisions.setSnapshot(mesh({ workloads, policies: [audit] }));
    expect([kinds(), endpointsOfNative()]).toEqual([['direct', 'tunnel'], [['10.0.2.2']]]);
    written.isKernelFull = true;
    decisions.setSnapshot(mesh({ workloads: [...workloads, workload('third', '10.0.2.3', inCatalog)] }));
    expect([written.kernel.size, endpointsOfNative()]).toEqual([0, [['10.0.2.1', '10.0.2.2', '10.0.2.3']]]);
    decisions.removePod(1);
    expect(written.edges.size + written.outbound.size).toBe(0);
  });

  it('holds edges for both ends, which it gives back when it goes', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    // Its own refusals, the tunnel, and both ends of the direct one.
    expect(written.edges.size).toBe(4);
    decisions.removePod(1);
    expect(written.edges.size + written.kernel.size + written.outbound.size).toBe(0);
  });

  it('is in use while the kernel alone uses it', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    const [slot] = slotsOf(only()) as Extract<DirectSlot, { kind: 'direct' }>[];
    expect(decisions.forgetIdle((edge) => edge !== slot?.inboundEdge)).toBe(0);
    expect(decisions.forgetIdle(() => true)).toBe(1);
    expect(written.kernel.size).toBe(0);
  });

  it('is not direct any more in the moment in which its pod is taken out, and again when it is back', () => {
    const decisions = tables();
    decisions.ask([outbound('10.96.0.1', 80)]);
    decisions.removePod(3);
    expect(written.kernel.size).toBe(0);
    expect(endpointsOfNative()).toEqual([['10.0.2.1', '10.0.2.2']]);
    decisions.setPod(4, { ...near, netnsCookie: 78n });
    expect(slotsOf(only())[0]).toMatchObject({ podIndex: 4, netnsCookie: 78n });
  });

  it('of a pod made anew under its name is not taken away by the end of the old one', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    decisions.setPod(4, { ...near, netnsCookie: 78n });
    expect(slotsOf(only())[0]).toMatchObject({ podIndex: 4 });
    decisions.removePod(3);
    expect(slotsOf(only())[0]).toMatchObject({ podIndex: 4 });
  });

  it('follows the addresses of its pod', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    decisions.setPod(3, { ...near, addresses: ['10.0.2.9'] });
    expect(written.kernel.size).toBe(0);
    decisions.setPod(3, near);
    expect(kinds()).toEqual(['direct']);
  });

  it('follows what is known of the path', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    decisions.setSameNodePath('leaves');
    expect(written.kernel.size).toBe(0);
    decisions.setSameNodePath('stays');
    expect(kinds()).toEqual(['direct']);
    const puts = written.kernelPuts;
    decisions.setSameNodePath('stays');
    expect(written.kernelPuts).toBe(puts);
  });

  it('that a change of policy refuses fails at connect() with EACCES at once', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    decisions.setSnapshot(mesh({ workloads, policies: [deny] }));
    expect(only()).toMatchObject({ kind: 'refuse', reason: reasons.POLICY_DENIED, error: 'EACCES' });
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.POLICY_DENIED, endpoints: [] }]);
    decisions.setSnapshot(mesh({ workloads }));
    // As any refusal it is forgotten: the next connection asks.
    expect(written.kernel.size + written.outbound.size).toBe(0);
  });

  it('is not written anew where a change leaves it as it was', () => {
    const decisions = tables({
      edges: {
        allot: (labels) => (labels.reporter === 'source' ? 1 : 2),
        release: () => {},
        adopt: () => {},
      },
    });
    decisions.ask([outbound('10.0.2.1', 8080)]);
    const puts = written.kernelPuts;
    decisions.setSnapshot(mesh({ workloads, policies: [audit] }));
    expect(written.kernelPuts).toBe(puts);
  });
});

describe('rows that an earlier agent left', () => {
  const slot = {
    address: '10.0.2.1',
    port: 8080,
    podIndex: 3,
    netnsCookie: 77n,
    edge: 901,
    inboundEdge: 902,
  };
  const left = (port: number, podIndex = 1, fields: Partial<typeof slot> = {}) => ({
    key: { podIndex, address: '10.0.2.1', port },
    slots: [{ kind: 'direct' as const, ...slot, port, ...fields }],
  });
  const keep = (decisions: DecisionTables, rows: readonly ReturnType<typeof left>[]) => {
    for (const { key, slots } of rows)
      written.kernel.set(outboundKeyText(key), { kind: 'direct', edge: 900, slots });
    decisions.adopt(rows);
  };

  it('are judged again, and go on under the numbers that their connections count with', () => {
    const decisions = tables();
    keep(decisions, [left(8080)]);
    expect(kinds()).toEqual(['direct']);
    expect(written.adopted).toEqual([901, 902]);
    expect(endpointsOfNative()).toEqual([['10.0.2.1']]);
  });

  it.each([
    ['is refused now', { policies: [deny] }, left(8080)],
    ['is not known any more', { workloads: workloads.slice(0, 1) }, left(8080)],
    [
      'needs the tunnel now',
      { workloads: [...workloads.slice(0, 1), workload('near', '10.0.2.1')] },
      left(8080),
    ],
    ['belongs to a pod that is gone', {}, left(8080, 9)],
  ])('end where what they lead to %s', (_, change, row) => {
    const decisions = tables();
    decisions.setSnapshot(mesh({ workloads, ...change }));
    keep(decisions, [row]);
    expect(written.kernel.size).toBe(0);
    expect(written.adopted).toEqual([]);
  });

  it('lend their numbers to nobody who came to that address since', () => {
    const decisions = tables();
    keep(decisions, [left(8080, 1, { netnsCookie: 5n })]);
    expect(kinds()).toEqual(['direct']);
    expect(written.adopted).toEqual([]);
  });

  it('give way to what was decided before they were looked at', () => {
    const decisions = tables();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    const puts = written.kernelPuts;
    decisions.adopt([left(8080)]);
    expect([written.kernelPuts, written.adopted]).toEqual([puts, []]);
  });

  it('end when somebody asks and needs the tunnel', () => {
    const decisions = tables();
    decisions.setSameNodePath('leaves');
    written.kernel.set('o 1 10.0.2.1 8080', { kind: 'direct', edge: 900, slots: left(8080).slots });
    decisions.ask([outbound('10.0.2.1', 8080)]);
    expect(written.kernel.size).toBe(0);
  });
});

describe('what policies tell and nobody enforces', () => {
  const told = { kind: 'audit', policy: 'shop/audit', pod: near.uid, peerAddress: '10.0.1.1' };

  function listening(policies = [audit]) {
    const notices: unknown[] = [];
    const onNotice: DecisionTablesOptions['onNotice'] = ({ kind, policy }, { pod, peerAddress }) =>
      notices.push({ kind, policy, pod, peerAddress });
    const decisions = tables({ onNotice });
    decisions.setSnapshot(mesh({ workloads, policies }));
    return { decisions, notices };
  }

  it('is told of direct connections by their source, as their destination would', () => {
    const { decisions, notices } = listening();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    expect(notices).toEqual([told]);
  });

  it('is told once though the first connection went by the tunnel, and its destination judged it too', () => {
    const { decisions, notices } = listening();
    decisions.ask([outbound('10.0.2.1', 8080)]);
    decisions.ask([inbound({ podIndex: 3, peerAddress: '10.0.1.1', authority: '10.0.2.1:8080' })]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.NONE }]);
    expect(notices).toEqual([told]);
    // And again by whoever asks after both are gone.
    decisions.forgetIdle(() => true);
    decisions.ask([inbound({ podIndex: 3, peerAddress: '10.0.1.1', authority: '10.0.2.1:8080' })]);
    expect(notices).toEqual([told, told]);
  });

  it('is told of connections that end at the source’s connect()', () => {
    const { decisions, notices } = listening([deny, audit]);
    decisions.ask([outbound('10.0.2.2', 8080)]);
    expect(notices).toEqual([{ ...told, pod: 'Kubernetes//Pod/shop/far' }]);
  });

  it('is left to the destination where the tunnel leads there', () => {
    const { decisions, notices } = listening();
    decisions.ask([outbound('10.0.2.2', 8080)]);
    expect(notices).toEqual([]);
  });
});
