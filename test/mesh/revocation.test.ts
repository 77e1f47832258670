/** Policies that change while connections are open: those that are refused now end at once, the others do not notice. */
import { afterEach, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { Held } from './held.ts';
import { lastLineOf } from './last-line.ts';
import { agentOf, connectionsOf, sumOf } from './observe.ts';
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

async function endedOf(lab: Lab, node: string, app: string): Promise<string[]> {
  const entries = await connectionsOf(lab, node);
  return entries
    .filter(({ destination, state }) => destination.workload === app && state === 'closed')
    .map(({ reason }) => reason);
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
    const denied = [
      hold(caller, [far.v4, port], 45),
      hold(caller, [near.v4, port], 45),
      ...[far, near].flatMap(({ v4 }) => [
        hold(caller, [v4, deafPort], 2, 'half'),
        hold(caller, [v4, deafPort], 3, 'pour'),
      ]),
    ];
    const others = [
      hold(other, [far.v4, port], 5),
      hold(other, [near.v4, port], 5),
      hold(lab.pod('stranger'), [far.v4, port], 5),
    ];
    for (const each of [...denied, ...others]) await each.standing();
    const early = () => sumOf(lab, 'b', 'hadal_connections_ended_early_total', { reason: 'policy_denied' });
    const before = await early();

    const times = await inForce(lab, ['a', 'b'], () => lab.apply(denyCaller));
    const closed = await Promise.all(denied.map((each) => each.reset()));
    tell('a DENY over 100 connections', times, Math.max(...closed));
    for (const each of others) await each.progressed();
    await expect.poll(early).toBe(before + 50);
    await expect
      .poll(
        async () => (await endedOf(lab, 'b', 'far')).filter((reason) => reason === 'policy_denied').length,
      )
      .toBe(50);
    for (const to of [far, near]) expect((await dial(caller, to.v4, port, 'hello')).received).toBe('');

    await inForce(lab, ['a', 'b'], () => lab.delete('AuthorizationPolicy', 'shop/p'));
    for (const to of [far, near]) expect((await dial(caller, to.v4, port, 'hello')).received).toBe('hello');
    for (const each of others) await each.progressed();
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
