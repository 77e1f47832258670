/** Turbo as an operator turns it on: an option of the agent, an annotation of both pods. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { turboKernelProblem } from '../../src/kernel/turbo.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { hadal } from '../unit/cli/terminal.ts';
import { agentOf } from './observe.ts';
import { describeInLab, echoPod, namespace, pod } from './world.ts';

const annotations = { 'hadal.io/turbo': 'enabled' };
const problem = turboKernelProblem();
if (problem !== undefined) console.warn(`SKIPPED: turbo in the lab: ${problem}`);

/** Asks the echo 200 times for `text` over one connection, and says how often it came back as it was. */
const asking = `
  const s = require('net').connect({ host: process.argv[1], port: 8080 });
  let left = 200, right = 0;
  const ask = () => s.write('q'.repeat(100));
  s.setTimeout(20000, () => process.exit(3));
  s.on('connect', () => { s.setNoDelay(true); ask(); });
  s.on('data', (d) => { if (String(d) === 'q'.repeat(100)) right++; if (--left > 0) ask(); else { console.log(right); process.exit(0); } });`;

describeInLab(
  'pods of a node that ask for turbo',
  {
    nodes: ['a'],
    agentEnv: { HADAL_TURBO: 'true' },
    manifests: [
      namespace('t', { mesh: true }),
      pod('t/client', 'a', { annotations }),
      pod('t/other', 'a'),
      echoPod('t/server', 'a', 8080, { annotations }),
    ],
  },
  (world) => {
    const redirected = async (): Promise<number> => {
      const environment = { HADAL_BPFFS: join(world.lab.directory, 'bpf'), HADAL_INSTANCE: 'a' };
      const { out, err } = await hadal(['turbo', '-o', 'json'], { environment });
      expect(err).toBe('');
      return JSON.parse(out).counts.redirected;
    };
    const grownBy = async (from: string) => {
      const before = await redirected();
      const { stdout } = await world.lab.pod(from).exec(['node', '-e', asking, world.lab.pod('server').v4]);
      expect(stdout).toBe('200\n');
      return (await redirected()) - before;
    };

    it.skipIf(problem !== undefined)('send to one another past TCP, and others do not', async () => {
      const agent = agentOf(world.lab, 'a');
      await expect
        .poll(async () => (await agent.admin<AgentStatus>('/status')).sameNodePath?.state)
        .toBe('stays');
      // The first connection is a question, and goes by tunnel.
      await expect.poll(() => grownBy('client'), { timeout: 15_000 }).toBeGreaterThan(300);
      await grownBy('other');
      expect(await grownBy('other')).toBe(0);
    });
  },
);
