/** Replicas that elect a leader by a Lease; a killed one is a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { LeaderElection } from '../../src/source/api-server/leader-election.ts';
import { adminClient, type Machines, startSecondApiServer } from './machines.ts';
import { describeWithApiServer, eventually, newNamespace, type World } from './world.ts';

const leaseMs = 1_000;

describeWithApiServer('leader election', (world) => {
  const open: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  function replica(
    namespace: string,
    identity: string,
    server: Pick<Machines, 'server' | 'directory'> = world.machines,
  ) {
    const api = adminClient(server);
    const terms: AbortSignal[] = [];
    const election = new LeaderElection(api, {
      namespace,
      name: 'writers',
      identity,
      leaseMs,
      onLead: (signal) => terms.push(signal),
    });
    election.start();
    open.push(
      () => api.close(),
      () => election.close(),
    );
    return { election, terms };
  }

  it('makes one of two the leader, and the other when the first ends', async () => {
    const namespace = await newNamespace(world.admin);
    const first = replica(namespace, 'first');
    await eventually(() => first.election.isLeader, 'the first leads');
    const second = replica(namespace, 'second');
    await eventually(() => second.election.leader === 'first', 'the second knows who leads');
    await new Promise((resolve) => setTimeout(resolve, 2 * leaseMs));
    expect([first.election.isLeader, second.election.isLeader]).toEqual([true, false]);

    await first.election.close();
    expect(first.terms.map((term) => term.aborted)).toEqual([true]);
    const handed = performance.now();
    await eventually(() => second.election.isLeader, 'the second leads');
    expect(performance.now() - handed).toBeLessThan(leaseMs);
    expect(second.terms).toHaveLength(1);
  });

  it('waits for a killed leader until its lease has ended, not longer', async () => {
    const namespace = await newNamespace(world.admin);
    const leader = await leaderProcess(world, namespace);
    open.push(() => leader.kill());
    const second = replica(namespace, 'second');
    await eventually(() => second.election.leader === 'other-process', 'the second knows who leads');
    await leader.kill();
    const killed = performance.now();
    await eventually(() => second.election.isLeader, 'the second leads');
    expect(performance.now() - killed).toBeGreaterThan(leaseMs * 0.6);
    expect(performance.now() - killed).toBeLessThan(leaseMs * 4);
  });

  it('is left by a leader that somebody else took it from, and taken again when that one does not renew', async () => {
    const namespace = await newNamespace(world.admin);
    const first = replica(namespace, 'first');
    await eventually(() => first.election.isLeader, 'the first leads');
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/writers`;
    await world.admin.request({ method: 'PATCH', path, body: { spec: { holderIdentity: 'usurper' } } });
    await eventually(() => !first.election.isLeader, 'the first steps down');
    expect(first.terms[0]?.aborted).toBe(true);
    await eventually(() => first.election.isLeader, 'the first leads again');
    expect(first.terms).toHaveLength(2);
  });

  it('is left by a leader that cannot reach its API server, before another may take over', async () => {
    const namespace = await newNamespace(world.admin);
    const lonely = await startSecondApiServer(world.machines);
    open.push(() => lonely.stop());
    const first = replica(namespace, 'first', { ...world.machines, server: lonely.url });
    await eventually(() => first.election.isLeader, 'the first leads');
    const second = replica(namespace, 'second');
    await eventually(() => second.election.leader === 'first', 'the second knows who leads');
    let both = false;
    const watch = setInterval(() => {
      both ||= first.election.isLeader && second.election.isLeader;
    }, 5);
    await lonely.kill();
    await eventually(() => second.election.isLeader, 'the second leads');
    clearInterval(watch);
    expect({ both, first: first.election.isLeader }).toEqual({ both: false, first: false });
  });
});

/** A leader that can be killed as a whole. */
async function leaderProcess({ machines }: World, namespace: string): Promise<{ kill(): Promise<void> }> {
  const program = new URL('./programs/leader.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, JSON.stringify(machines), namespace, String(leaseMs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
