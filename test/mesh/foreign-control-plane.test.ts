/** Agents under a control plane that says what ours does not: policies that nobody here understands, a mesh in halves. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { createAuthorization } from '../../src/model/authorization.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { encodeAuthorization } from '../../src/xds/codec.ts';
import { Interposer } from './interposer.ts';
import { connectionWhere, sectionOf } from './observe.ts';
import { dial, echoPod, namespace, pod, service, startTestLab, whyNoLab } from './world.ts';

const port = 8080;
const manifests = [
  namespace('shop', { mesh: true }),
  namespace('other', { mesh: true }),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
  service('shop/far', { 80: port }),
  echoPod('other/away', 'b', port, { serviceAccount: 'away' }),
];

/** A DENY for its namespace, with a field 99 that no policy has. */
const strange = Buffer.concat([
  encodeAuthorization(
    createAuthorization({ namespace: 'shop', name: 'strange', action: 'DENY', scope: 'NAMESPACE' }),
  ),
  Uint8Array.of(0x98, 0x06, 0x01),
]).toString('hex');

const named = whyNoLab === undefined ? '' : ` (skipped: ${whyNoLab})`;

describe.skipIf(whyNoLab !== undefined)(`agents of a foreign control plane${named}`, () => {
  let lab: Lab;
  let between: Interposer;

  beforeAll(async () => {
    between = new Interposer();
    lab = await startTestLab({ manifests, ...between.options });
    await lab.waitReady();
    for (const node of ['a', 'b']) {
      await between.start(lab, node);
      await restart(node);
    }
  });
  afterAll(async () => {
    await between.close();
    await lab?.stop();
  });

  async function restart(node: string): Promise<void> {
    const { agent } = lab.node(node);
    await agent?.kill('SIGKILL');
    agent?.start();
    await agent?.waitReady();
  }

  const statusOf = async (node: string) => lab.node(node).agent?.admin<AgentStatus>('/status');
  const call = async (name: string) => (await dial(lab.pod('caller'), lab.pod(name).v4, port, 'x')).received;
  const meshStateFiles = (node: string) =>
    readdirSync(join(lab.node(node).layout.directory, 'data', 'mesh-state'));

  it('refuse what a policy is for that they never understood, by its name, also after a restart on their own', async () => {
    expect([await call('far'), await call('away')]).toEqual(['x', 'x']);
    between.tell('b', { inject: { name: 'shop/strange', hex: strange } });
    await expect.poll(() => call('far'), { timeout: 10_000 }).toBe('');
    expect(await call('away')).toBe('x');
    const refused = await connectionWhere(lab, 'b', ({ reason }) => reason === 'unknown_policy');
    expect(refused.destination.port).toBe(port);
    expect((await statusOf('b'))?.controlPlane?.rejected).toEqual([
      {
        name: 'shop/strange',
        reason: expect.stringContaining('99'),
        refuses: 'all workloads of namespace shop',
      },
    ]);
    // On disk half a second later.
    await sleep(1_000);
    await between.stop('b');
    await restart('b');
    expect([await call('far'), await call('away')]).toEqual(['', 'x']);
    expect(await sectionOf<unknown[]>(lab, 'b', 'policies')).toEqual([
      expect.objectContaining({ name: 'strange', notUnderstood: expect.stringContaining('99') }),
    ]);
    expect((await statusOf('b'))?.controlPlane?.rejected).toHaveLength(1);
    // The one who told it is gone, and ours has no such policy.
    await between.start(lab, 'b');
    await expect.poll(() => call('far'), { timeout: 10_000 }).toBe('x');
    expect((await statusOf('b'))?.controlPlane?.rejected).toEqual([]);
  });

  it('are ready, and keep and judge by a first push, only when it is whole; who connects meanwhile waits', async () => {
    const { agent } = lab.node('a');
    await agent?.kill('SIGKILL');
    await between.stop('a');
    rmSync(join(lab.node('a').layout.directory, 'data', 'mesh-state'), { recursive: true });
    await between.start(lab, 'a', { hold: true });
    agent?.start();
    await expect
      .poll(async () => (await statusOf('a').catch(() => undefined))?.controlPlane?.held, { timeout: 20_000 })
      .toBeGreaterThan(0);
    const begun = performance.now();
    const answer = call('far').then((received) => ({ received, ms: performance.now() - begun }));
    await sleep(1_500);
    expect(await statusOf('a')).toMatchObject({ ready: false, mesh: { workloads: 0, services: 0 } });
    expect(meshStateFiles('a')).toEqual([]);
    between.tell('a', { hold: false });
    const { received, ms } = await answer;
    expect(received).toBe('x');
    expect(ms).toBeGreaterThan(1_400);
    await agent?.waitReady();
    await expect.poll(() => meshStateFiles('a').length).toBeGreaterThan(0);
  });
});
