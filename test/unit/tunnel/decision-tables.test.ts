import { describe, expect, it, vi } from 'vitest';
import { type Authorization, createAuthorization, createMatch } from '../../../src/model/authorization.ts';
import { meshSettingsKey } from '../../../src/model/mesh-settings.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import { inboundKeyText } from '../../../src/tunnel/rows.ts';
import {
  catalogService,
  front,
  inbound,
  inCatalog,
  mesh,
  outbound,
  settings,
  tables,
  workload,
  written,
} from './tables-world.ts';

describe('an outbound question', () => {
  it('becomes a row in the call that brought it', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect([...written.outbound.values()]).toMatchObject([
      {
        podIndex: 1,
        address: '10.96.0.1',
        port: 80,
        reason: reasons.NONE,
        endpoints: [
          {
            path: 'tunnel',
            address: '10.0.2.1',
            port: 15008,
            authority: '10.0.2.1:8080',
            peerIdentities: ['spiffe://cluster.local/ns/shop/sa/default'],
            weight: 1,
          },
        ],
      },
    ]);
  });

  it('that a second worker asks is answered again, without a second judgement', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.96.0.1', 80)]);
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect(written.puts).toBe(3);
    expect(decisions.counts()).toMatchObject({ asked: 3, judged: 1, outboundRows: 1 });
  });

  it('about a port that the service does not have is refused in the kernel too, until the service gets it', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 81)]);
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.NO_SUCH_PORT, endpoints: [] }]);
    expect([...written.kernel.values()]).toMatchObject([{ kind: 'refuse', reason: reasons.NO_SUCH_PORT }]);
    const wider = createService({
      ...catalogService,
      ports: [...catalogService.ports, { servicePort: 81, targetPort: 8081, appProtocol: 'UNKNOWN' }],
    });
    decisions.setSnapshot(mesh({ services: [wider] }));
    expect(written.kernel.size + written.outbound.size + written.edges.size).toBe(0);
    decisions.ask([outbound('10.96.0.1', 81)]);
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.NONE }]);
  });

  it('of a pod that is gone is refused and not remembered', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80, 9), inbound({ podIndex: 9 })]);
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.POD_REMOVED }]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.POD_REMOVED, status: 503 }]);
    expect(decisions.counts()).toMatchObject({ outboundRows: 0, inboundRows: 0 });
  });
});

describe('an unknown destination', () => {
  it('waits for the mesh state to learn it', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.0.3.1', 80)]);
    expect(written.outbound.size).toBe(0);
    vi.advanceTimersByTime(4_900);
    decisions.setSnapshot(mesh({ workloads: [...mesh().workloads.values(), workload('late', '10.0.3.1')] }));
    expect([...written.outbound.values()]).toMatchObject([{ address: '10.0.3.1', reason: reasons.NONE }]);
    expect(decisions.counts().waiting).toBe(0);
  });

  it('is refused after five seconds, at connect() from then on, and asked anew later', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.0.3.1', 80)]);
    vi.advanceTimersByTime(5_001);
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.UNKNOWN_DESTINATION }]);
    expect([...written.kernel.values()]).toMatchObject([{ reason: reasons.UNKNOWN_DESTINATION }]);
    vi.advanceTimersByTime(30_001);
    expect(written.outbound.size).toBe(0);
    expect(written.kernel.size).toBe(0);
    expect(written.edges.size).toBe(0);
  });

  it('waits only so often per pod; what goes beyond is refused at once', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask(Array.from({ length: 5 }, (_, n) => outbound('10.0.3.1', 80 + n)));
    expect(decisions.counts().waiting).toBe(3);
    expect(written.outbound.size).toBe(2);
    decisions.ask([outbound('10.0.3.1', 80, 2)]);
    expect(decisions.counts().waiting).toBe(4);
    vi.advanceTimersByTime(5_001);
    decisions.ask([outbound('10.0.4.1', 80)]);
    expect(decisions.counts().waiting).toBe(1);
  });

  it('also is the pod whose own workload has not arrived', () => {
    const decisions = tables();
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect(written.outbound.size).toBe(0);
    decisions.setSnapshot(mesh());
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.NONE }]);
  });
});

describe('what is not known yet, on demand', () => {
  it('is asked for by every name that the judgement looked for, and waited for', () => {
    const asked: string[][] = [];
    const lookUp = (names: readonly string[]) => asked.push([...names]) > 0;
    const decisions = tables({ askMesh: { lookUp, isAbsent: () => false } });
    decisions.setSnapshot(createSnapshot({ workloads: [], services: [], policies: [] }));
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect(asked).toEqual([['Kubernetes//Pod/shop/front']]);
    const { workloads } = mesh();
    const own = [...workloads.values()].filter(({ uid }) => uid === front.uid);
    decisions.setSnapshot(createSnapshot({ workloads: own, services: [], policies: [] }));
    expect(asked.at(-1)).toContain('/10.96.0.1');
    expect(written.outbound.size).toBe(0);
    decisions.setSnapshot(mesh());
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.NONE }]);
  });

  /** A control plane that is asked, and what it has said that there is not. */
  const asking = () => {
    // Asked for by the agent itself, as it starts.
    const asked = new Set([meshSettingsKey]);
    const absent = new Set([meshSettingsKey]);
    const lookUp = (names: readonly string[]) => {
      const fresh = names.filter((name) => !asked.has(name));
      for (const name of fresh) asked.add(name);
      return fresh.length > 0;
    };
    return { asked, absent, askMesh: { lookUp, isAbsent: (name: string) => absent.has(name) } };
  };
  const refusedAs = (reason: number) => [...written.outbound.values()].filter((row) => row.reason === reason);

  it('is not asked for where nobody may wait for it', () => {
    const { asked, askMesh } = asking();
    const decisions = tables({ askMesh });
    decisions.setSnapshot(mesh());
    decisions.ask(Array.from({ length: 8 }, (_, index) => outbound(`10.0.9.${index}`, 80)));
    expect([...asked].slice(1)).toEqual(['/10.0.9.0', '/10.0.9.1', '/10.0.9.2']);
    expect(decisions.counts().waiting).toBe(3);
    expect(refusedAs(reasons.UNKNOWN_DESTINATION)).toHaveLength(5);
  });

  it('is refused as soon as it is known that it is not there, and while that holds without waiting', () => {
    const { absent, askMesh } = asking();
    const decisions = tables({ askMesh });
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.0.9.1', 80), outbound('10.0.9.2', 80)]);
    absent.add('/10.0.9.1');
    decisions.tellAbsent(['/10.0.9.1']);
    expect(refusedAs(reasons.UNKNOWN_DESTINATION).map(({ address }) => address)).toEqual(['10.0.9.1']);
    expect(decisions.counts().waiting).toBe(1);
    decisions.ask([outbound('10.0.9.1', 81)]);
    expect(refusedAs(reasons.UNKNOWN_DESTINATION)).toHaveLength(2);
    decisions.setSnapshot(mesh({ workloads: [...mesh().workloads.values(), workload('late', '10.0.9.1')] }));
    decisions.ask([outbound('10.0.9.1', 80)]);
    expect(written.outbound.get('o 1 10.0.9.1 80')?.reason).toBe(reasons.NONE);
  });

  it('is waited for though it is not there yet, where it is the pod itself that is new', () => {
    const { absent, askMesh } = asking();
    const decisions = tables({ askMesh });
    decisions.setSnapshot(createSnapshot({ workloads: [], services: [], policies: [] }));
    decisions.ask([outbound('10.96.0.1', 80)]);
    absent.add(front.uid);
    decisions.tellAbsent([front.uid]);
    expect(written.outbound.size).toBe(0);
    decisions.setSnapshot(mesh());
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.NONE }]);
  });

  it('is also a waypoint that only its name is known of; once asked, the answer counts', () => {
    const known = new Set<string>();
    const lookUp = (names: readonly string[]) => {
      const fresh = names.filter((name) => !known.has(name));
      for (const name of fresh) known.add(name);
      return fresh.length > 0;
    };
    const decisions = tables({ askMesh: { lookUp, isAbsent: () => false } });
    const destination = { kind: 'hostname', namespace: 'shop', hostname: 'waypoint.shop.svc' } as const;
    const waypoint = { destination, hboneMtlsPort: 15008 };
    const behind = workload('behind', '10.0.5.5', { waypoint });
    const all = () => mesh({ workloads: [...mesh().workloads.values(), behind] });
    decisions.setSnapshot(all());
    decisions.ask([outbound('10.0.5.5', 80)]);
    expect(known).toEqual(new Set(['shop/waypoint.shop.svc']));
    expect(decisions.counts().waiting).toBe(1);
    vi.advanceTimersByTime(5_001);
    expect([...written.outbound.values()]).toMatchObject([{ reason: reasons.WAYPOINT_NOT_READY }]);
    decisions.ask([outbound('10.0.5.5', 81)]);
    expect(decisions.counts().waiting).toBe(0);
    expect(written.outbound.size).toBe(2);
  });
});

describe('rows that nobody uses', () => {
  it('are forgotten when all their edges are idle, and asked for anew', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.0.1.2', 80)]);
    const used = written.outbound.get('o 1 10.0.1.2 80');
    const edges = new Set([used?.refusalEdge, ...(used?.endpoints ?? []).map(({ edge }) => edge)]);
    expect(decisions.usedNames()).toContain('/10.96.0.1');
    expect(decisions.forgetIdle((edge) => !edges.has(edge))).toBe(1);
    expect([...written.outbound.keys()]).toEqual(['o 1 10.0.1.2 80']);
    const names = decisions.usedNames();
    expect(names).toContain('/10.0.1.2');
    expect(names).not.toContain('/10.96.0.1');
    decisions.ask([outbound('10.96.0.1', 80)]);
    expect(written.outbound.size).toBe(2);
  });

  it('leave the names of waiting questions and of the pods of this node in use', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.0.9.9', 80)]);
    decisions.forgetIdle(() => true);
    const names = decisions.usedNames();
    expect(names).toContain('/10.0.9.9');
    expect(names).toContain(front.uid);
    for (const address of front.addresses) expect(names).toContain(`/${address}`);
  });
});

describe('a change of the mesh', () => {
  it('touches the rows that depend on it and no others', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.0.1.2', 80)]);
    const judged = decisions.counts().judged;
    const before = mesh();
    decisions.setSnapshot(
      mesh({ workloads: [...before.workloads.values(), workload('catalog-2', '10.0.2.2', inCatalog)] }),
    );
    expect(decisions.counts().judged).toBe(judged + 1);
    expect(written.outbound.get('o 1 10.96.0.1 80')?.endpoints).toHaveLength(2);
  });

  it('that leaves a row as it was writes nothing', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80)]);
    const puts = written.puts;
    decisions.setSnapshot(mesh());
    expect(written.puts).toBe(puts);
  });

  it('of policy that is only told is noticed once per row and change, and refuses nothing', () => {
    const notices: unknown[] = [];
    const decisions = tables({
      onNotice: (notice, { peerAddress }) => notices.push({ ...notice, peerAddress }),
    });
    const policy = (fields: Partial<Authorization>) =>
      createAuthorization({
        namespace: 'shop',
        name: 'p',
        scope: 'NAMESPACE',
        rules: [{ clauses: [] }],
        ...fields,
      });
    const audit = policy({ name: 'audit', action: 'AUDIT' });
    const idle = policy({ name: 'idle', action: 'AUDIT', rules: [] });
    const dry = policy({ name: 'dry', action: 'DENY', dryRun: true });
    const agrees = policy({ name: 'agrees', dryRun: true });
    const allowed = { reason: 'none', peerAddress: '10.0.2.1' };
    const audited = { ...allowed, kind: 'audit', policy: 'shop/audit', rule: 0, wouldBe: 'none' };

    decisions.setSnapshot(mesh({ policies: [audit, idle, agrees] }));
    decisions.ask([inbound()]);
    expect(notices.splice(0)).toEqual([audited]);
    decisions.ask([inbound()]);
    decisions.setSnapshot(mesh({ policies: [audit, idle, agrees, dry] }));
    expect(notices.splice(0)).toEqual([
      { ...allowed, kind: 'dry run', policy: 'shop/dry', rule: 0, wouldBe: 'policy_denied' },
    ]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.NONE, status: 200 }]);
    decisions.ask([inbound({ peerAddress: '10.0.2.2' })]);
    expect(notices).toHaveLength(2);
  });

  it('of policy turns an inbound row into a refusal and back', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([inbound()]);
    expect([...written.inbound.values()]).toMatchObject([
      { reason: reasons.NONE, status: 200, upstreamAddress: '10.0.1.1', upstreamPort: 8080 },
    ]);
    const deny = createAuthorization({
      namespace: 'shop',
      name: 'deny',
      scope: 'NAMESPACE',
      action: 'DENY',
      rules: [{ clauses: [{ matches: [createMatch({ principals: [{ kind: 'presence' }] })] }] }],
    });
    decisions.setSnapshot(mesh({ policies: [deny] }));
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.POLICY_DENIED, status: 401 }]);
    decisions.setSnapshot(mesh());
    expect(written.inbound.size).toBe(0);
    decisions.ask([inbound()]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.NONE, status: 200 }]);
  });
});

describe('the bookkeeping', () => {
  it('keeps one pod that scans ports within its quota and its neighbour whole', () => {
    const decisions = tables({ rowsPerPod: 50 });
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.96.0.1', 80, 2)]);
    decisions.ask(Array.from({ length: 500 }, (_, n) => outbound('10.96.0.1', 1000 + n)));
    expect(decisions.counts()).toMatchObject({ outboundRows: 51, evicted: 451 });
    expect(written.outbound.size).toBe(51);
    expect(written.kernel.size).toBe(49);
    expect(written.outbound.get('o 1 10.96.0.1 80')?.reason).toBe(reasons.NONE);
    expect(written.outbound.get('o 2 10.96.0.1 80')?.reason).toBe(reasons.NONE);
  });

  it('answers a neighbour at once while a scan waits for its rate', () => {
    const decisions = tables({
      questionRate: { perSecond: 100, burst: 10, failureCost: 9, mostWaiting: 1_000 },
    });
    decisions.setSnapshot(mesh());
    decisions.ask(Array.from({ length: 50 }, (_, n) => outbound('10.96.0.1', 1000 + n)));
    expect(decisions.counts().judged).toBe(10);
    decisions.ask([outbound('10.96.0.1', 80, 2)]);
    expect(written.outbound.get('o 2 10.96.0.1 80')?.reason).toBe(reasons.NONE);
    vi.advanceTimersByTime(100);
    expect(decisions.counts().judged).toBe(21);
    vi.advanceTimersByTime(400);
    expect(written.outbound.size).toBe(51);
  });

  it('lets go of every edge and row of a removed pod', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.96.0.1', 81), outbound('10.0.9.9', 1), inbound()]);
    decisions.removePod(1);
    expect(written.outbound.size + written.inbound.size + written.kernel.size + written.edges.size).toBe(0);
    expect(decisions.counts()).toMatchObject({ outboundRows: 0, inboundRows: 0, waiting: 0 });
  });

  it('judges a pod anew when its addresses change', () => {
    const decisions = tables();
    decisions.setSnapshot(mesh());
    decisions.ask([inbound({ authority: '10.0.1.77:8080' })]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.IP_MISMATCH, status: 400 }]);
    decisions.setPod(1, { ...front, addresses: ['10.0.1.1', '10.0.1.77'] });
    decisions.ask([inbound({ authority: '10.0.1.77:8080' })]);
    expect([...written.inbound.values()]).toMatchObject([{ reason: reasons.NONE, status: 200 }]);
  });

  it('tells keys apart that a peer wrote to look alike', () => {
    const key = { podIndex: 1, channel: 'hbone', peerAddress: '10.0.0.1', forwardedHost: '' } as const;
    const first = inboundKeyText({ ...key, peerIdentity: 'a', authority: 'b 1 c', forwardedHost: 'd' });
    const second = inboundKeyText({ ...key, peerIdentity: 'a', authority: 'b', forwardedHost: ' 1 cd' });
    expect(first).not.toBe(second);
  });
});

describe('a judgement that fails', () => {
  it('keeps no other question from its answer, and takes back the row that it cannot confirm', () => {
    const failures: string[] = [];
    let fails = '';
    const decisions = tables({
      judge: {
        outbound: (snapshot, question) => {
          if (question.address === fails) throw new Error('a mistake');
          return judgeOutbound(snapshot, question, settings);
        },
        inbound: (snapshot, question) => judgeInbound(snapshot, question, settings),
      },
      onFailure: (error) => failures.push(error.message),
    });
    decisions.setSnapshot(mesh());
    decisions.ask([outbound('10.96.0.1', 80), outbound('10.0.2.1', 80)]);
    expect([...written.outbound.values()].map(({ address }) => address)).toEqual(['10.96.0.1', '10.0.2.1']);

    fails = '10.96.0.1';
    const moved = createService({
      ...catalogService,
      ports: [{ servicePort: 80, targetPort: 9090, appProtocol: 'TCP' }],
    });
    decisions.setSnapshot(mesh({ services: [moved] }));
    expect([...written.outbound.values()].map(({ address }) => address)).toEqual(['10.0.2.1']);
    expect(failures).toEqual([expect.stringContaining('a mistake')]);

    decisions.ask([outbound('10.96.0.1', 80), outbound('10.0.2.1', 81)]);
    expect([...written.outbound.values()].map(({ port }) => port)).toEqual([80, 81]);
    expect(failures).toHaveLength(2);
  });
});

describe('a change that touches thousands of rows', () => {
  it('gives the event loop its turns; what is asked meanwhile has the new answer at once, and in the end all rows have', async () => {
    vi.useRealTimers();
    const decisions = tables({
      rowsPerPod: 10_000,
      questionRate: { perSecond: 1e9, burst: 1e6, failureCost: 9, mostWaiting: 1e6 },
    });
    const peers = Array.from({ length: 6_000 }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
    const from = (peerAddress: string) => inbound({ peerAddress });
    const noOne = createAuthorization({
      namespace: 'mesh',
      name: 'no-one',
      action: 'DENY',
      rules: [{ clauses: [{ matches: [createMatch({ namespaces: [{ kind: 'exact', value: 'shop' }] })] }] }],
    });
    decisions.setSnapshot(mesh());
    decisions.ask(peers.map(from));
    await vi.waitFor(() => expect(written.inbound.size).toBe(6_000), { timeout: 20_000 });

    decisions.setSnapshot(mesh({ policies: [noOne] }));
    const refused = () =>
      [...written.inbound.values()].filter(({ reason }) => reason === reasons.POLICY_DENIED).length;
    expect(refused()).toBeLessThan(6_000);
    const last = peers.at(-1) ?? '';
    decisions.ask([from(last)]);
    expect([...written.inbound.values()].find(({ peerAddress }) => peerAddress === last)?.reason).toBe(
      reasons.POLICY_DENIED,
    );
    await vi.waitFor(() => expect(refused()).toBe(6_000), { timeout: 20_000 });
  });
});
