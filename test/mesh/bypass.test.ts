/** The annotation ambient.istio.io/bypass-inbound-capture, as an operator writes it and takes it back while the pod runs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/routing/explain.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { agentOf, connectionWhere } from './observe.ts';
import { dial, echoPod, namespace, pod, startTestLab, whyNoLab } from './world.ts';

const annotation = 'ambient.istio.io/bypass-inbound-capture';
const strict = JSON.stringify({
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'strict', namespace: 't' },
  spec: { mtls: { mode: 'STRICT' } },
});

describe.skipIf(whyNoLab !== undefined)('a pod that lets connections in clear past its agent', () => {
  it('is reached by them while its annotation stands, and not a moment longer', {
    timeout: 60_000,
  }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'hadal-bypass-'));
    const write = (bypassed: boolean) =>
      writeFileSync(
        join(directory, 'pods.yaml'),
        [
          namespace('t', { mesh: true }),
          strict,
          pod('t/member', 'a'),
          pod('t/stranger', 'a', { mesh: false }),
          echoPod('t/server', 'b', 8080, bypassed ? { annotations: { [annotation]: 'true' } } : {}),
        ].join('\n---\n'),
      );
    write(false);
    const lab = await startTestLab({ directory });
    try {
      await lab.waitReady();
      const server = lab.pod('server');
      const agent = agentOf(lab, 'b');
      const byStranger = async (address: string) =>
        (await dial(lab.pod('stranger'), address, 8080, 'hello')).received;
      const status = async () =>
        (await agent.admin<AgentStatus>('/status')).pods.find(({ name }) => name === 't/server');
      const explained = async () => {
        const query = new URLSearchParams({ source: 't/stranger', destination: 't/server:8080' });
        const explanation = await agent.admin<Explanation>(`/explain?${query}`);
        return [explanation.verdict, explanation.endpoints[0]?.decidedBy];
      };
      const within = { timeout: 2_000, interval: 20 };

      expect(await byStranger(server.v4)).toBe('');
      expect(await explained()).toEqual(['refused', 'agent']);
      expect(await status()).not.toHaveProperty('notes');

      write(true);
      await expect
        .poll(async () => (await status())?.notes, within)
        .toEqual([expect.stringContaining(annotation)]);
      for (const address of [server.v4, server.v6]) expect(await byStranger(address)).toBe('hello');
      expect(await explained()).toEqual(['allowed', 'nobody']);
      const told = await connectionWhere(lab, 'b', ({ reason }) => reason === 'inbound_bypassed');
      expect(told).toMatchObject({ direction: 'inbound', path: 'untouched', pod: 't/server' });
      expect((await dial(lab.pod('member'), server.v4, 8080, 'hi')).received).toBe('hi');
      await connectionWhere(lab, 'b', ({ path }) => path === 'tunnel');

      // Another agent knows it from disk, and one that is away changes nothing.
      await agent.kill('SIGKILL');
      expect(await byStranger(server.v4)).toBe('hello');
      agent.start();
      await agent.waitReady();
      expect((await status())?.notes).toHaveLength(1);

      const held = lab.pod('stranger').exec(['node', '-e', holding, server.v4], { timeoutMs: 20_000 });
      await connectionWhere(
        lab,
        'b',
        ({ reason, state }) => reason === 'inbound_bypassed' && state === 'live',
      );
      write(false);
      await expect.poll(async () => (await status())?.notes, within).toBeUndefined();
      expect((await held).stdout).toBe('ECONNRESET\n');
      expect(await byStranger(server.v4)).toBe('');
    } finally {
      await lab.stop();
      rmSync(directory, { recursive: true });
    }
  });
});

/** Connects, says a word, and tells how the connection ended. */
const holding = `
  const s = require('net').connect(8080, process.argv[1], () => s.write('x'));
  s.on('error', (e) => { console.log(e.code); process.exit(0); });
  s.on('end', () => { console.log('end'); process.exit(0); });`;
