/** Networks that carry what pods of one node say to one another out of it, or translate it: nothing of it goes in clear. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { capture } from '../../src/lab/command.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import type { SameNodePath } from '../../src/routing/same-node-path.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { agentOf, connectionWhere } from './observe.ts';
import { Running } from './running.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const manifests = [
  namespace('shop', { mesh: true }),
  namespace('plain'),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  echoPod('shop/echo', 'a', port, { serviceAccount: 'echo' }),
  pod('plain/outsider', 'a'),
  echoPod('plain/store', 'a', port),
];
const agentEnv = { HADAL_SAME_NODE_PROBE_INTERVAL: '1s' };

/** Says something again and again until it is ended. */
const talker = `
  const s = require('net').connect({ host: process.argv[1], port: Number(process.argv[2]) });
  let code = '';
  s.on('connect', () => { console.log(JSON.stringify({ connected: true })); setInterval(() => s.write('x'), 20); });
  s.on('error', (e) => { code = e.code; });
  s.on('close', () => { console.log(JSON.stringify({ closed: code })); process.exit(0); });
  s.resume();`;

async function pathOf(lab: Lab): Promise<SameNodePath | undefined> {
  return (await agentOf(lab, 'a').admin<AgentStatus>('/status')).sameNodePath;
}

const becomes = (lab: Lab, state: SameNodePath['state']) =>
  expect.poll(async () => (await pathOf(lab))?.state, { timeout: 10_000, interval: 100 }).toBe(state);

/** Both families, and how each connection went. */
async function exchange(lab: Lab, text: string): Promise<string[]> {
  const paths: string[] = [];
  for (const address of lab.pod('echo').addresses) {
    const said = `${text} at ${address}`;
    const answer = await dial(lab.pod('caller'), address, port, said);
    expect(answer).toMatchObject({ ok: true, received: said });
    const entry = await connectionWhere(
      lab,
      'a',
      ({ direction, source }) => direction === 'outbound' && source.port === answer.localPort,
    );
    paths.push(entry.path);
  }
  return paths;
}

const hadal = (...args: string[]) =>
  capture([process.execPath, join(packageRoot(), 'src', 'cli', 'main.ts'), ...args]);

describeInLab(
  'a network that leads connections between pods of one node out of it',
  { manifests, agentEnv, podNetwork: 'hairpin' },
  (world) => {
    it('is found out, with the interface', async () => {
      await becomes(world.lab, 'leaves');
      expect(await pathOf(world.lab)).toMatchObject({
        interfaceName: 'fabric0',
        reason: expect.stringMatching(/^a probe from .* was seen on fabric0, which is no pod's interface$/),
      });
    });

    it('is told by hadal check and hadal status', async () => {
      const check = await hadal('check', '--lab', world.lab.name, '-o', 'json');
      const { requirements } = JSON.parse(check.stdout) as { requirements: { id: string }[] };
      expect(requirements.find(({ id }) => id === 'path_leaves_node')).toMatchObject({
        ok: false,
        essential: false,
        need: 'connections between pods of node a stay in it',
        found: expect.stringContaining('path_leaves_node by fabric0'),
      });
      const status = await hadal('status', '--lab', world.lab.name);
      expect(status.stdout).toMatch(/same node +path_leaves_node by fabric0: a probe from/);
      expect(status.code).toBe(0);
    });

    it('sees none of their bytes in clear, while it sees those of pods outside the mesh', async () => {
      const { lab } = world;
      const fabric = await lab.capture();
      // Twice: by the second the agent has answered what the first asked.
      for (let n = 0; n < 2; n++)
        expect(await exchange(lab, 'hidden from the fabric')).toEqual(['tunnel', 'tunnel']);
      for (const address of lab.pod('store').addresses) {
        const said = `shown to the fabric at ${address}`;
        expect(await dial(lab.pod('outsider'), address, port, said)).toMatchObject({ received: said });
      }
      const { dropped } = await fabric.stop();
      expect(dropped).toBe(0);
      const wire = readFileSync(fabric.file);
      for (const address of lab.pod('store').addresses)
        expect(wire.includes(`shown to the fabric at ${address}`)).toBe(true);
      expect(wire.includes('hidden from the fabric')).toBe(false);
    });

    it('is noticed when it begins and when it ends, while the agent runs', async () => {
      const { lab } = world;
      await lab.hairpin('a', false);
      await becomes(lab, 'stays');
      // The first may be on its way before the row is.
      await exchange(lab, 'within the node');
      expect(await exchange(lab, 'within the node')).toEqual(['node_local', 'node_local']);
      const open = new Running(
        lab.pod('caller').spawn(['node', '-e', talker, lab.pod('echo').v4, String(port)]),
      );
      expect(await open.line(0)).toEqual({ connected: true });
      await lab.hairpin('a', true);
      await becomes(lab, 'leaves');
      expect(await open.line(1)).toEqual({ closed: 'ECONNRESET' });
      expect(await exchange(lab, 'led out again')).toEqual(['tunnel', 'tunnel']);
    });
  },
);

describeInLab(
  'a network that translates addresses between pods of one node',
  { manifests, agentEnv, podNetwork: 'masquerade' },
  (world) => {
    it('is found out, and connections go on through the tunnel', async () => {
      const { lab } = world;
      await becomes(lab, 'leaves');
      expect((await pathOf(lab))?.reason).toMatch(/arrived from .*: the network translates addresses/);
      expect(await exchange(lab, 'past a translation')).toEqual(['tunnel', 'tunnel']);
    });
  },
);

describeInLab(
  'a network that keeps them in the node by a bridge',
  { manifests, agentEnv, podNetwork: 'bridge' },
  (world) => {
    it('is known to stay, and no longer when one of the two pods is gone', async () => {
      const { lab } = world;
      await becomes(lab, 'stays');
      await exchange(lab, 'over a bridge');
      await lab.label('Pod', 'shop/caller', { 'istio.io/dataplane-mode': 'none' });
      await becomes(lab, 'unknown');
      expect((await pathOf(lab))?.reason).toContain('no two pods');
      await lab.label('Pod', 'shop/caller', { 'istio.io/dataplane-mode': undefined });
      await becomes(lab, 'stays');
    });
  },
);
