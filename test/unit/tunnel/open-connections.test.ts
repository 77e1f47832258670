import { describe, expect, it } from 'vitest';
import { type Authorization, createAuthorization } from '../../../src/model/authorization.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { front, inbound, mesh, outbound, tables, workload, written } from './tables-world.ts';

const everybody = [{ clauses: [] }];

function deny(fields: Partial<Authorization> = {}): Authorization {
  return createAuthorization({
    namespace: 'shop',
    name: 'deny',
    scope: 'NAMESPACE',
    action: 'DENY',
    rules: everybody,
    ...fields,
  });
}

const rows = () => [...written.inbound.values()];

describe('open connections', () => {
  it('end with a row that says that the two must not talk', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([inbound()]);
    expect(rows()[0]?.endsOpen).toBeUndefined();
    decisions.setSnapshot(mesh({ policies: [deny()] }));
    expect(rows()).toMatchObject([{ reason: reasons.POLICY_DENIED, endsOpen: true }]);
    decisions.setSnapshot(mesh({ policies: [deny({ action: 'ALLOW', rules: [] })] }));
    decisions.ask([inbound()]);
    expect(rows()).toMatchObject([{ reason: reasons.POLICY_NOT_ALLOWED, endsOpen: true }]);
  });

  it('survive a refusal for want of knowledge, or of an endpoint', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([inbound(), outbound('10.96.0.1', 80)]);
    const named = workload('front', '10.0.1.1', { authorizationPolicies: ['shop/unheard-of'] });
    const others = [...mesh().workloads.values()].filter(({ uid }) => uid !== front.uid);
    decisions.setSnapshot(
      mesh({ workloads: [named, ...others.filter(({ name }) => !name.startsWith('catalog'))] }),
    );
    expect(rows()).toMatchObject([{ reason: reasons.UNKNOWN_POLICY }]);
    expect(written.outbound.get('o 1 10.96.0.1 80')?.reason).toBe(reasons.NO_HEALTHY_ENDPOINT);
    for (const row of [...rows(), ...written.outbound.values()]) expect(row.endsOpen).toBeUndefined();
  });

  it('that have no row are asked for after each change, and not without one', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    const before = written.asksForOpen;
    decisions.setSnapshot(mesh());
    decisions.ask([inbound()]);
    expect(written.asksForOpen).toBe(before);
    decisions.setSnapshot(mesh({ policies: [deny()] }));
    expect(written.asksForOpen).toBe(before + 1);
    decisions.setPod(1, { ...front, addresses: ['10.0.1.1', '10.0.1.7'] });
    expect(written.asksForOpen).toBe(before + 2);
  });

  it('that have no row get one only to end by it, and nothing is remembered of it', () => {
    const ended: unknown[] = [];
    const decisions = tables();
    const { putInboundRows } = written.tables;
    Object.assign(written.tables, {
      putInboundRows: (put: Parameters<typeof putInboundRows>[0]) => {
        ended.push(...put.filter(({ endsOpen }) => endsOpen));
        putInboundRows(put);
      },
    });
    decisions.setSnapshot(mesh());
    const question = { ...inbound(), open: true };
    decisions.ask([question]);
    expect(rows()).toEqual([]);
    decisions.setSnapshot(mesh({ policies: [deny()] }));
    decisions.ask([question]);
    expect(ended).toMatchObject([{ reason: reasons.POLICY_DENIED, peerAddress: '10.0.2.1' }]);
    expect(rows()).toEqual([]);
    expect(decisions.counts()).toMatchObject({ inboundRows: 0, waiting: 0 });
    expect(written.edges.size).toBe(0);
  });

  it('that have no row have it again where a new connection got one', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([inbound()]);
    const puts = written.puts;
    decisions.ask([{ ...inbound(), open: true }]);
    expect(written.puts).toBe(puts + 1);
    expect(rows()).toHaveLength(1);
  });
});
