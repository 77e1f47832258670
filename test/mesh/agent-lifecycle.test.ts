import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { netnsPath } from '../../src/lab/layout.ts';
import type { LabNode } from '../../src/lab/node.ts';
import { commandLine } from '../../src/lab/package-root.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { sumOf } from './observe.ts';
import { describeInLab, dial, echoPod, namespace, pod, startTestLab, whoAmIPod, whyNoLab } from './world.ts';

const port = 8080;
const modeLabel = 'istio.io/dataplane-mode';

const manifests = [
  namespace('t', { mesh: true }),
  namespace('plain'),
  pod('t/client', 'a', { serviceAccount: 'client' }),
  whoAmIPod('t/server', 'b', port, { serviceAccount: 'server' }),
  echoPod('t/echo', 'b', port),
  echoPod('t/late', 'b', port, { mesh: false }),
  pod('plain/outside', 'a'),
];

interface Reply {
  readonly status: number | undefined;
  readonly body: Record<string, unknown>;
}

function post(node: LabNode, path: string, body: unknown): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: node.agent?.socket, path, method: 'POST' }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) }),
      );
    });
    asked.on('error', reject);
    asked.end(JSON.stringify(body));
  });
}

function addBody(from: LabPod): Record<string, unknown> {
  return {
    Netns: netnsPath(from.netns),
    PodName: from.name,
    PodNamespace: from.namespace,
    PodUID: from.podUid,
    ServiceAccount: from.plan.object.spec.serviceAccountName,
    IPs: from.addresses.map((address) => ({ Address: address })),
  };
}

async function podsOf(node: LabNode): Promise<Record<string, unknown>[]> {
  const { body } = (await node.agent?.get(15000, '/config_dump?section=enrolment')) ?? { body: '' };
  return (JSON.parse(body) as { enrolment: { pods: Record<string, unknown>[] } }).enrolment.pods;
}

/** A connection that carries bytes until it is stopped; `open` says whether it still does. */
class LongConnection {
  readonly #child: ChildProcess;
  #latest = { open: 0, echoed: 0 };

  constructor(from: LabPod, address: string) {
    const program = '/opt/hadal/package/test/mesh/programs/ticker.ts';
    this.#child = from.spawn(['node', program, address, String(port), '1']);
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const line = chunk.toString().trim().split('\n').at(-1);
      if (line) this.#latest = JSON.parse(line);
    });
  }

  get isOpen(): boolean {
    return this.#latest.open === 1;
  }

  async carries(): Promise<void> {
    const before = this.#latest.echoed;
    await expect.poll(() => this.#latest.echoed, { timeout: 8_000 }).toBeGreaterThan(before);
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** What the running agent was started with. */
function environmentOf(node: LabNode): Record<string, string> {
  const text = readFileSync(`/proc/${node.agent?.pid}/environ`, 'utf8');
  const pairs = text.split('\0').filter((pair) => pair.includes('='));
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  );
}

describeInLab('the agent of a node', { manifests }, (world) => {
  it('takes a pod that it has already for what it is', async () => {
    const { lab } = world;
    const client = lab.pod('t/client');
    const { status, body } = await post(lab.node('a'), '/cmdadd', addBody(client));
    expect(status).toBe(200);
    expect(body).toMatchObject({
      already: true,
      state: 'carried',
      identity: 'spiffe://cluster.local/ns/t/sa/client',
      workload: 'Kubernetes//Pod/t/client',
    });
    expect((await dial(client, lab.pod('t/server').v4, port)).ok).toBe(true);
  });

  it.each([
    ['that is its own', '/proc/self/ns/net', 'is the namespace of the agent itself'],
    ['that is not there', '/run/netns/hadal-no-such', '/run/netns/hadal-no-such'],
    ['that is no network namespace', '/etc/hostname', '/etc/hostname'],
  ])('refuses a network namespace %s', async (_what, path, message) => {
    const { lab } = world;
    const body = { ...addBody(lab.pod('plain/outside')), Netns: path };
    const answer = await post(lab.node('a'), '/cmdadd', body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: 'ERR_ENROLMENT_REQUEST', field: 'Netns' });
    expect(answer.body.error).toContain(message);
    expect((await podsOf(lab.node('a'))).map(({ name }) => name)).toEqual(['client']);
  });

  it('answers the removal of a pod that it does not know', async () => {
    const answer = await post(world.lab.node('a'), '/cmddel', { PodUID: 'nobody' });
    expect(answer).toEqual({ status: 200, body: { removed: false } });
  });

  it('follows addresses that a pod gets while it runs', async () => {
    const { lab } = world;
    const client = lab.pod('t/client');
    const second = client.v4.replace(/\.\d+$/, '.250');
    await client.exec(['ip', 'address', 'add', `${second}/32`, 'dev', 'eth0'], { asRoot: true });
    await expect.poll(async () => (await podsOf(lab.node('a')))[0]?.addresses).toContain(second);
    await client.exec(['ip', 'address', 'del', `${second}/32`, 'dev', 'eth0'], { asRoot: true });
    await expect.poll(async () => (await podsOf(lab.node('a')))[0]?.addresses).not.toContain(second);
  });

  it('puts back the rule and the routes of the capture that somebody flushed, and counts it', async () => {
    const { lab } = world;
    const client = lab.pod('t/client');
    const flush =
      'ip rule del pref 100; ip -6 rule del pref 100; ip route flush table 18497; ip -6 route flush table 18497';
    await client.exec(['sh', '-c', flush], { asRoot: true });
    await expect
      .poll(() => sumOf(lab, 'a', 'hadal_capture_restored_total'), { timeout: 1_000 })
      .toBeGreaterThanOrEqual(2);
    const rules = await client.exec(['sh', '-c', 'ip rule; ip -6 rule'], { asRoot: true });
    expect(rules.stdout.match(/fwmark 0x4841/g)).toHaveLength(2);
    expect((await dial(client, lab.pod('t/server').v4, port)).ok).toBe(true);
  });

  it('has no second one beside it', async () => {
    const node = world.lab.node('a');
    const { code, stderr } = await node.exec([...commandLine(), 'agent'], {
      env: environmentOf(node),
      timeoutMs: 20_000,
    });
    expect(code).toBe(1);
    expect(stderr).toContain('ERR_AGENT_RUNNING');
    expect(stderr).toContain(`pid ${node.agent?.pid}`);
  });

  it('leaves connections alone that are older than the enrolment when policy would have let them in', async () => {
    const { lab } = world;
    const older = new LongConnection(lab.pod('plain/outside'), lab.pod('t/late').v4);
    try {
      await older.carries();
      await lab.label('Pod', 't/late', { [modeLabel]: 'ambient' });
      await older.carries();
      expect(older.isOpen).toBe(true);
    } finally {
      older.stop();
      await lab.label('Pod', 't/late', { [modeLabel]: 'none' });
    }
  });

  it('ends those that policy refuses', async () => {
    const { lab } = world;
    lab.setPolicies([
      {
        name: 'strict',
        namespace: 't',
        scope: 'NAMESPACE',
        action: 'DENY',
        rules: [{ clauses: [{ matches: [{ notPrincipals: [{ presence: {} }] }] }] }],
      },
    ]);
    const older = new LongConnection(lab.pod('plain/outside'), lab.pod('t/late').v4);
    try {
      await older.carries();
      await lab.label('Pod', 't/late', { [modeLabel]: 'ambient' });
      await expect.poll(() => older.isOpen, { timeout: 3_000 }).toBe(false);
      expect(
        await sumOf(lab, 'b', 'hadal_connections_destroyed_total', { reason: 'older_than_enrolment' }),
      ).toBeGreaterThan(0);
    } finally {
      older.stop();
      lab.setPolicies([]);
    }
  });
});

async function withLab(
  act: (lab: Lab) => Promise<void>,
  agentEnv: Record<string, string> = {},
): Promise<void> {
  const lab = await startTestLab({ manifests, agentEnv });
  try {
    await lab.waitReady();
    await act(lab);
  } finally {
    await lab.stop();
  }
}

describe.skipIf(whyNoLab !== undefined)('an agent that ends', () => {
  it('lets connections end by themselves within its deadline, then with status 0; its pods reach nobody meanwhile', async () => {
    await withLab(
      async (lab) => {
        const { agent } = lab.node('a');
        const client = lab.pod('t/client');
        const stays = new LongConnection(client, lab.pod('t/echo').v4);
        await stays.carries();
        const started = performance.now();
        const ended = agent?.kill('SIGTERM');
        await stays.carries();
        expect(await ended).toBe(0);
        const tookMs = performance.now() - started;
        expect(tookMs).toBeGreaterThan(2_500);
        expect(tookMs).toBeLessThan(6_000);
        await expect.poll(() => stays.isOpen, { timeout: 3_000 }).toBe(false);
        stays.stop();
        expect((await dial(client, lab.pod('t/server').v4, port)).received).toBe('');
        agent?.start();
        await agent?.waitReady();
        expect((await dial(client, lab.pod('t/server').v4, port)).ok).toBe(true);
      },
      { HADAL_DRAIN_DEADLINE: '3s' },
    );
  });

  it('goes on after a restart with what it had: state, pods and certificates, while the file is broken and the authority away', async () => {
    await withLab(async (lab) => {
      const { agent } = lab.node('a');
      const client = lab.pod('t/client');
      const kept = readFileSync(lab.stateFile, 'utf8');
      expect((await dial(client, lab.pod('t/server').v4, port)).ok).toBe(true);
      // The state is kept a moment after it was applied.
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await lab.agents?.stopAuthority();
      writeFileSync(lab.stateFile, 'workloads: [broken');
      await agent?.kill('SIGKILL');
      agent?.start();
      await agent?.waitReady(10_000);
      expect((await dial(client, lab.pod('t/server').v4, port)).ok).toBe(true);
      const { body } = (await agent?.get(15000, '/status')) ?? { body: '{}' };
      expect(JSON.parse(body)).toMatchObject({
        stateError: expect.stringContaining('line 1'),
        pods: [{ name: 't/client', state: 'enrolled' }],
      });
      writeFileSync(lab.stateFile, kept);
    });
  });

  it('that was killed forgets a pod whose namespace went meanwhile', async () => {
    await withLab(async (lab) => {
      const { agent } = lab.node('a');
      await agent?.kill('SIGKILL');
      const store = join(environmentOfStopped(lab), 'pods.json');
      expect(JSON.parse(readFileSync(store, 'utf8')).pods).toHaveLength(1);
      await lab.deletePod('t/client').catch(() => {});
      agent?.start();
      await agent?.waitReady();
      expect(await podsOf(lab.node('a'))).toEqual([]);
      expect(JSON.parse(readFileSync(store, 'utf8')).pods).toEqual([]);
    });
  });
});

/** Its data directory, as the lab lays it out. */
function environmentOfStopped(lab: Lab): string {
  return join(lab.node('a').layout.directory, 'data');
}
