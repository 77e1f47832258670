/** Policies that change while connections are open: those that are refused now end at once, the others do not notice. */
import { afterEach, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { Held } from './held.ts';
import { lastLineOf } from './last-line.ts';
import { agentOf, connectionsOf, connectionWhere, sumOf } from './observe.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const deafPort = 8081;
const modeLabel = 'istio.io/dataplane-mode';
/** From the moment in which the change is in force at the agent. */
const withinMs = 1000;

const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  pod('shop/other', 'a', { serviceAccount: 'other' }),
  pod('shop/stranger', 'a', { mesh: false }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
  echoPod('shop/near', 'a', port, { serviceAccount: 'near' }),
  // Its certificate is on the node already: joining takes no time.
  echoPod('shop/late', 'b', port, { serviceAccount: 'far', mesh: false }),
];

const object = (kind: string, name: string, spec: object) =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name, namespace: 'shop' },
    spec,
  });

const denyCaller = object('AuthorizationPolicy', 'p', {
  action: 'DENY',
  rules: [{ from: [{ source: { serviceAccounts: ['caller'] } }] }],
});

const strict = (app: string) =>
  object('PeerAuthentication', 'p', {
    selector: { matchLabels: { app } },
    mtls: { mode: 'STRICT' },
  });

const held: { stop(): void }[] = [];
afterEach(() => {
  for (const each of held.splice(0)) each.stop();
});

function hold(...args: ConstructorParameters<typeof Held>): Held {
  const connections = new Held(...args);
  held.push(connections);
  return connections;
}

/** Takes connections and reads nothing. */
async function deafServer(within: LabPod): Promise<void> {
  const program = '/opt/hadal/package/test/mesh/programs/deaf-server.ts';
  const child = within.spawn(['node', program, String(deafPort)]);
  held.push({ stop: () => child.kill('SIGKILL') });
  const seen = lastLineOf(child, { held: -1 });
  await expect.poll(() => seen.latest.held, { timeout: 8000 }).toBe(0);
}

/** Makes the change; resolves with the times at which it was written, and at which the nodes' agents showed it. */
async function inForce(
  lab: Lab,
  nodes: readonly string[],
  change: () => Promise<void>,
): Promise<{ written: number; inForce: number }> {
  const shown = (node: string) =>
    agentOf(lab, node)
      .get(15_000, '/config_dump?section=workloads,policies')
      .then(({ body }) => body);
  const before = await Promise.all(nodes.map(shown));
  const written = Date.now();
  await change();
  for (const [index, node] of nodes.entries())
    await expect.poll(() => shown(node), { timeout: 8000, interval: 10 }).not.toBe(before[index]);
  return { written, inForce: Date.now() };
}

function tell(what: string, times: { written: number; inForce: number }, closed: number): void {
  console.log(
    `${what}: closed ${closed - times.inForce} ms after the agent showed the change, ${closed - times.written} ms after it was written`,
  );
  expect(closed - times.inForce).toBeLessThan(withinMs);
}

/** How many connections to the pod ended for this reason by the word of either end; who is first tells it to the other as a reset. */
async function endedFor(lab: Lab, app: string, reason: string): Promise<number> {
  const entries = (await Promise.all(['a', 'b'].map((node) => connectionsOf(lab, node)))).flat();
  const ended = entries.filter(
    (each) => each.destination.workload === app && each.state === 'closed' && each.reason === reason,
  );
  return new Set(ended.map(({ source }) => `${source.address} ${source.port}`)).size;
}

/** Resolves once new connections from pod to pod of the node need no tunnel. */
async function nowDirect(lab: Lab, [from, to]: readonly [LabPod, LabPod]): Promise<void> {
  await expect
    .poll(
      async () => {
        const { localPort } = await dial(from, to.v4, port, 'hello');
        const entry = await connectionWhere(lab, 'a', ({ source }) => source.port === localPort);
        return entry.path;
      },
      { timeout: 15_000, interval: 200 },
    )
    .toBe('node_local');
}

describeInLab('open connections', { manifests, controlPlane: true }, (world) => {
  it('end within a second when a DENY comes to match them; the others carry on, and new ones get in once it is gone', async () => {
    const { lab } = world;
    const [caller, other, far, near] = ['caller', 'other', 'far', 'near'].map((name) => lab.pod(name)) as [
      LabPod,
      LabPod,
      LabPod,
      LabPod,
    ];
    await deafServer(far);
    await deafServer(near);
    for (const from of [caller, other]) await nowDirect(lab, [from, near]);
    // The first connection to a port asks, and goes by the tunnel.
    const first = [far, near].map(({ v4 }) => hold(caller, [v4, deafPort], 1, 'half'));
    for (const each of first) await each.standing();
    const more = [far, near].flatMap(({ v4 }) => [
      hold(caller, [v4, port], 45),
      hold(caller, [v4, deafPort], 2, 'half'),
      hold(caller, [v4, deafPort], 3, 'pour'),
    ]);
    const denied = [...first, ...more];
    const others = [
      hold(other, [far.v4, port], 5),
      hold(other, [near.v4, port], 5),
      hold(lab.pod('stranger'), [far.v4, port], 5),
    ];
    for (const each of [...denied, ...others]) await each.standing();
    const open = (await connectionsOf(lab, 'a')).filter(
      ({ source, state, direction }) =>
        state === 'live' && direction === 'outbound' && source.workload === 'caller',
    );
    expect(open.map(({ path }) => path).sort()).toEqual([
      ...Array.from({ length: 50 }, () => 'node_local'),
      ...Array.from({ length: 52 }, () => 'tunnel'),
    ]);

    const times = await inForce(lab, ['a', 'b'], () => lab.apply(denyCaller));
    const closed = await Promise.all(denied.map((each) => each.reset()));
    tell('a DENY over 100 connections, half of them direct', times, Math.max(...closed));
    for (const each of others) await each.progressed();
    const reason = 'policy_denied';
    for (const { name } of [far, near]) await expect.poll(() => endedFor(lab, name, reason)).toBe(51);
    expect(await sumOf(lab, 'a', 'hadal_connections_destroyed_total', { reason })).toBe(50);
    const early = ['a', 'b'].map((node) =>
      sumOf(lab, node, 'hadal_connections_ended_early_total', { reason }),
    );
    expect((await Promise.all(early)).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(52);
    for (const to of [far, near]) expect((await dial(caller, to.v4, port, 'hello')).received).toBe('');

    await inForce(lab, ['a', 'b'], () => lab.delete('AuthorizationPolicy', 'shop/p'));
    for (const to of [far, near]) expect((await dial(caller, to.v4, port, 'hello')).received).toBe('hello');
    for (const each of others) await each.progressed();
  });

  it('end at their source, too, where that knows it first', async () => {
    const { lab } = world;
    const far = lab.pod('far');
    const denied = hold(lab.pod('caller'), [far.v4, port], 5);
    const others = hold(lab.pod('other'), [far.v4, port], 5);
    for (const each of [denied, others]) await each.standing();
    const sleeping = agentOf(lab, 'b').pid ?? 0;
    process.kill(sleeping, 'SIGSTOP');
    try {
      const times = await inForce(lab, ['a'], () => lab.apply(denyCaller));
      tell('a DENY of which only the source has heard', times, await denied.reset());
    } finally {
      process.kill(sleeping, 'SIGCONT');
    }
    await others.progressed();
    await lab.delete('AuthorizationPolicy', 'shop/p');
    await lab.meshInForce();
  });

  it('that are direct end when they must take the tunnel, and new ones take it', async () => {
    const { lab } = world;
    const [caller, near] = [lab.pod('caller'), lab.pod('near')];
    await nowDirect(lab, [caller, near]);
    const direct = hold(caller, [near.v4, port], 10);
    const far = hold(caller, [lab.pod('far').v4, port], 5);
    for (const each of [direct, far]) await each.standing();
    const times = await inForce(lab, ['a'], () => lab.apply(strict('near')));
    tell('STRICT over direct connections', times, await direct.reset());
    const reason = 'tunnel_required';
    await expect.poll(() => endedFor(lab, 'near', reason)).toBe(10);
    expect(await sumOf(lab, 'a', 'hadal_connections_destroyed_total', { reason })).toBe(10);
    const { received, localPort } = await dial(caller, near.v4, port, 'hello');
    expect(received).toBe('hello');
    const entry = await connectionWhere(lab, 'a', ({ source }) => source.port === localPort);
    expect(entry.path).toBe('tunnel');
    await far.progressed();
    await lab.delete('PeerAuthentication', 'shop/p');
    await lab.meshInForce();
  });

  it('in clear end when STRICT comes, and tunnels carry on', async () => {
    const { lab } = world;
    const far = lab.pod('far');
    const clear = hold(lab.pod('stranger'), [far.v4, port], 10);
    const carried = hold(lab.pod('caller'), [far.v4, port], 10);
    for (const each of [clear, carried]) await each.standing();
    const times = await inForce(lab, ['b'], () => lab.apply(strict('far')));
    tell('STRICT over plaintext', times, await clear.reset());
    await carried.progressed();
    await inForce(lab, ['b'], () => lab.delete('PeerAuthentication', 'shop/p'));
    expect((await dial(lab.pod('stranger'), far.v4, port, 'hello')).received).toBe('hello');
  });

  it('that are older than the enrolment end when a policy comes to refuse them', async () => {
    const { lab } = world;
    const late = lab.pod('late');
    const older = hold(lab.pod('stranger'), [late.v4, port], 10);
    await older.standing();
    await lab.label('Pod', 'shop/late', { [modeLabel]: 'ambient' });
    await lab.meshInForce();
    const inMesh = hold(lab.pod('caller'), [late.v4, port], 5);
    await inMesh.standing();
    await older.progressed();

    const times = await inForce(lab, ['b'], () => lab.apply(strict('late')));
    tell('STRICT over connections older than the enrolment', times, await older.reset());
    await inMesh.progressed();
    expect(
      await sumOf(lab, 'b', 'hadal_connections_destroyed_total', { reason: 'older_than_enrolment' }),
    ).toBe(10);
    await lab.delete('PeerAuthentication', 'shop/p');
  });
});
