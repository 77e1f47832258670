/** A machine inside a pod (annotation istio.io/reroute-virtual-interfaces) in a mesh of two nodes: to others it is the pod. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { agentOf, connectionWhere } from './observe.ts';
import { echoPod, namespace, pod, startTestLab, whoAmIPod, whyNoLab } from './world.ts';

const annotation = 'istio.io/reroute-virtual-interfaces';
const machine = { v4: '10.0.2.2', v6: 'fd10:0:2::2' };

describe.skipIf(whyNoLab !== undefined)('a machine inside a pod of the mesh', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-virtual-'));
  const write = (interfaces: string | undefined, mesh = true) =>
    writeFileSync(
      join(directory, 'pods.yaml'),
      [
        namespace('t', { mesh: true }),
        pod('t/holder', 'a', {
          serviceAccount: 'holder',
          mesh,
          ...(interfaces === undefined ? {} : { annotations: { [annotation]: interfaces } }),
        }),
        whoAmIPod('t/server', 'b', 8080),
        echoPod('t/echo', 'b', 9000),
      ].join('\n---\n'),
    );
  let lab: Lab;
  let netns: string;

  beforeAll(async () => {
    write('tap0, tap7');
    lab = await startTestLab({ directory });
    await lab.waitReady();
    netns = `hadaltest-${process.pid}-machine`;
    addMachine(lab.pod('holder').netns, netns);
  });
  afterAll(async () => {
    await lab?.stop();
    execFileSync('ip', ['netns', 'del', netns]);
    rmSync(directory, { recursive: true });
  });

  const ask = (address: string) => {
    const program = `const s = require('net').connect(8080, '${address}'); let t = ''; s.setTimeout(3000, () => s.destroy(new Error('timeout')));
      s.on('data', (d) => { t += d; }); s.on('error', (e) => { t = e.code ?? e.message; }); s.on('connect', () => { s.own = s.localPort; }); s.on('close', () => console.log(t, s.own));`;
    return execFileSync('nsenter', [`--net=/run/netns/${netns}`, process.execPath, '-e', program], {
      encoding: 'utf8',
    }).trim();
  };
  /** Sends a word to an echo, and tells what it hears and how it ends. */
  const hold = (address: string) => {
    const program = `const s = require('net').connect(9000, '${address}', () => s.write('x')); const tell = (t) => console.log(String(t));
      s.on('data', tell); s.on('end', () => tell('end')); s.on('error', (e) => tell(e.code));`;
    const child = spawn('nsenter', [`--net=/run/netns/${netns}`, process.execPath, '-e', program]);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return { said: async () => String((await lines.next()).value) };
  };
  const status = async () =>
    (await agentOf(lab, 'a').admin<AgentStatus>('/status')).pods.find(({ name }) => name === 't/holder');
  const families = ['v4', 'v6'] as const;

  it.each(families)('is told over %s as the pod that holds it, with its identity', async (family) => {
    const [holder, server] = [lab.pod('holder'), lab.pod('server')];
    await expect.poll(async () => (await status())?.notes?.join(' ')).not.toMatch(/tap0/);
    const [own, port, peer, peerPort, machinePort] = ask(server[family]).split(' ');
    expect([own, port, peer]).toEqual([server[family], '8080', holder[family]]);
    expect(peerPort).toBe(machinePort);
    const arrived = await connectionWhere(
      lab,
      'b',
      ({ path, source }) => path === 'tunnel' && source.address === holder[family],
    );
    expect(arrived.source.identity).toMatch(/\/ns\/t\/sa\/holder$/);
    const left = await connectionWhere(lab, 'a', ({ source }) => source.address === machine[family]);
    expect(left).toMatchObject({ direction: 'outbound', path: 'tunnel', pod: 't/holder' });
  });

  it('is missed by the status of its agent where its interface is', async () => {
    expect((await status())?.notes).toEqual([expect.stringContaining('no interface tap7 yet')]);
  });

  it('is refused while its agent is away, and captured by the next', { timeout: 60_000 }, async () => {
    const agent = agentOf(lab, 'a');
    await agent.kill('SIGKILL');
    expect(ask(lab.pod('server').v4)).not.toContain(lab.pod('server').v4);
    agent.start();
    await agent.waitReady();
    await expect
      .poll(() => ask(lab.pod('server').v6).split(' ')[2], { timeout: 5_000 })
      .toBe(lab.pod('holder').v6);
  });

  it.each([
    ['the annotation goes', () => write(undefined)],
    ['the pod leaves the mesh', () => write('tap0', false)],
  ])('is left alone within two seconds when %s', { timeout: 30_000 }, async (_what, change) => {
    const filters = () =>
      execFileSync(
        'nsenter',
        [`--net=/run/netns/${lab.pod('holder').netns}`, 'tc', 'filter', 'show', 'dev', 'tap0', 'ingress'],
        { encoding: 'utf8' },
      );
    const within = { timeout: 2_000, interval: 20 };
    write('tap0');
    await expect.poll(filters, within).toContain('hadal');
    const held = hold(lab.pod('echo').v4);
    expect(await held.said()).toBe('x');
    change();
    await expect.poll(filters, within).toBe('');
    // What it had open would go on in clear.
    expect(await held.said()).toBe('ECONNRESET');
    expect((await status())?.notes).toBeUndefined();
    const rules = () => execFileSync('ip', ['-n', lab.pod('holder').netns, 'rule'], { encoding: 'utf8' });
    await expect.poll(rules, within).not.toContain('tap');
  });
});

function addMachine(podNetns: string, netns: string): void {
  const batch = (where: string, commands: readonly string[]) =>
    execFileSync('ip', ['-n', where, '-batch', '-'], { input: commands.join('\n') });
  execFileSync('ip', ['netns', 'add', netns]);
  batch(podNetns, [
    `link add tap0 type veth peer name eth0 netns ${netns}`,
    'link set tap0 up',
    'addr add 10.0.2.1/24 dev tap0',
    'addr add fd10:0:2::1/64 dev tap0 nodad',
  ]);
  batch(netns, [
    'link set lo up',
    'link set eth0 up',
    `addr add ${machine.v4}/24 dev eth0`,
    `addr add ${machine.v6}/64 dev eth0 nodad`,
    'route add default via 10.0.2.1',
    'route add default via fd10:0:2::1',
  ]);
}
