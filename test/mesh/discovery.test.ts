/** Agents that learn the mesh from the control plane: what they tell of it, and what they learn when they ask one by one. */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { addressType, authorizationType } from '../../src/xds/type-urls.ts';
import { connectionWhere, samplesOf, sectionOf } from './observe.ts';
import { describeInLab, dial, echoPod, namespace, pod, service } from './world.ts';

const port = 8080;
const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  echoPod('shop/far', 'b', port, { serviceAccount: 'far' }),
  service('shop/far', { 80: port }),
  echoPod('shop/other', 'b', port),
  service('shop/other', { 80: port }),
];

async function statusOf(lab: Lab, node: string): Promise<AgentStatus | undefined> {
  return lab.node(node).agent?.admin<AgentStatus>('/status');
}

const namesOf = async (lab: Lab, node: string, kind: 'workloads' | 'services') =>
  (await sectionOf<{ name: string }[]>(lab, node, kind)).map(({ name }) => name).sort();

describeInLab('agents of a control plane', { manifests, controlPlane: true }, (world) => {
  it('tell that they hear it, and how much', async () => {
    const { lab } = world;
    const status = await statusOf(lab, 'a');
    expect(status?.controlPlane).toMatchObject({ state: 'streaming', rejected: [] });
    expect(Date.parse(status?.controlPlane?.heardAt ?? '')).toBeGreaterThan(Date.now() - 120_000);
    const messages = await samplesOf(lab, 'a', 'istio_xds_message_total');
    expect(messages.map(({ labels }) => labels.url).sort()).toEqual([authorizationType, addressType]);
    const [connected] = await samplesOf(lab, 'a', 'hadal_control_plane_connected');
    expect(connected?.value).toBe(1);
  });

  it('tell that they do not hear it any more, and dial on', async () => {
    const { lab } = world;
    await lab.controlPlane?.kill('SIGKILL');
    try {
      await expect
        .poll(async () => (await statusOf(lab, 'b'))?.controlPlane, { timeout: 5_000 })
        .toMatchObject({ error: expect.any(String) });
      const [connected] = await samplesOf(lab, 'b', 'hadal_control_plane_connected');
      expect(connected?.value).toBe(0);
    } finally {
      lab.controlPlane?.start();
      await lab.controlPlane?.waitReady();
    }
    await expect
      .poll(async () => (await statusOf(lab, 'b'))?.controlPlane?.state, { timeout: 20_000 })
      .toBe('streaming');
  });
});

const agentEnv = { HADAL_XDS_ON_DEMAND: 'true', HADAL_XDS_FORGET_AFTER: '4s' };

/** A connection that stays: what is written to it comes back. */
class OpenConnection {
  readonly #child: ChildProcess;
  #heard = '';

  constructor(from: LabPod, address: string, port: number) {
    const program = `const s = require('net').connect(Number(process.argv[2]), process.argv[1], () => s.write('open'));
      s.pipe(process.stdout); process.stdin.pipe(s);`;
    this.#child = from.spawn(['node', '-e', program, address, String(port)]);
    this.#child.stdout?.on('data', (data: Buffer) => {
      this.#heard += data.toString();
    });
  }

  async isOpen(): Promise<void> {
    await expect.poll(() => this.#heard).toBe('open');
  }

  async echo(text: string): Promise<string> {
    this.#heard = '';
    this.#child.stdin?.write(text);
    await expect.poll(() => this.#heard).toBe(text);
    return this.#heard;
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

describeInLab('agents that ask one by one', { manifests, controlPlane: true, agentEnv }, (world) => {
  it('learn what a connection needs while it waits, and nothing else', async () => {
    const { lab } = world;
    const [virtual = ''] = lab.serviceAddresses('shop/far');
    expect(await namesOf(lab, 'a', 'workloads')).not.toContain('far');
    expect(await dial(lab.pod('caller'), virtual, 80, 'by name')).toMatchObject({
      ok: true,
      received: 'by name',
    });
    expect(await namesOf(lab, 'a', 'workloads')).toEqual(['caller', 'far']);
    expect(await namesOf(lab, 'a', 'services')).toContain('far');
    expect(await namesOf(lab, 'a', 'services')).not.toContain('other');
    await connectionWhere(lab, 'b', ({ path }) => path === 'tunnel');
  });

  it('are told at once what changes of what they asked for', async () => {
    const { lab } = world;
    expect(await dial(lab.pod('caller'), lab.pod('other').v4, port, 'x')).toMatchObject({ ok: true });
    await lab.label('Pod', 'shop/other', { version: 'v2' });
    await expect
      .poll(async () => sectionOf<{ name: string; canonicalRevision: string }[]>(lab, 'a', 'workloads'))
      .toContainEqual(expect.objectContaining({ name: 'other', canonicalRevision: 'v2' }));
  });

  it('refuse what the control plane does not know either, as soon as it has said so', async () => {
    const { lab } = world;
    const nobody = lab.pod('far').v4.replace(/\.\d+$/, '.250');
    const begun = performance.now();
    expect(await dial(lab.pod('caller'), nobody, port)).toMatchObject({ ok: false });
    // The wait for what may come to be known would take 4.5 s.
    expect(performance.now() - begun).toBeLessThan(3_000);
    const refused = await connectionWhere(lab, 'a', ({ destination }) => destination.address === nobody);
    expect(refused).toMatchObject({ reason: 'unknown_destination' });
  });

  it('forget what nobody uses any more, keep what is in use and their own pods, and ask again', async () => {
    const { lab } = world;
    const address = lab.pod('far').v4;
    const open = new OpenConnection(lab.pod('caller'), lab.pod('other').v4, port);
    try {
      await open.isOpen();
      expect(await dial(lab.pod('caller'), address, port, 'x')).toMatchObject({ ok: true });
      expect(await namesOf(lab, 'a', 'workloads')).toEqual(['caller', 'far', 'other']);
      await expect
        .poll(() => namesOf(lab, 'a', 'workloads'), { timeout: 15_000 })
        .toEqual(['caller', 'other']);
      // Other than that nothing changes, however long it is.
      await sleep(4_500);
      expect(await namesOf(lab, 'a', 'workloads')).toEqual(['caller', 'other']);
      expect(await namesOf(lab, 'a', 'services')).toContain('mesh-settings');
      expect(await open.echo('still')).toBe('still');
      expect((await statusOf(lab, 'a'))?.controlPlane?.names).toBeLessThan(8);
      await lab.label('Pod', 'shop/far', { version: 'v9' });
      expect(await dial(lab.pod('caller'), address, port, 'x')).toMatchObject({ ok: true, received: 'x' });
      expect(await sectionOf<object[]>(lab, 'a', 'workloads')).toContainEqual(
        expect.objectContaining({ name: 'far', canonicalRevision: 'v9' }),
      );
    } finally {
      open.close();
    }
  });
});
