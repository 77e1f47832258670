/** What /metrics tells of connections that ended early, and of those that the kernel refused. */
import { expect, it } from 'vitest';
import { sumOf } from './observe.ts';
import { describeInLab, dial, echoPod, namespace, pod, service } from './world.ts';

const port = 8080;
const resetting = `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', () => s.resetAndDestroy()); }).listen(${port}, '::')`;

const manifests = [
  namespace('t', { mesh: true }),
  pod('t/client', 'a'),
  echoPod('t/server', 'b', port),
  pod('t/resetting', 'b', { command: ['node', '-e', resetting] }),
  service('t/server', { 80: port }),
];

const early = 'hadal_connections_ended_early_total';
const failed = 'istio_tcp_connections_failed_total';

describeInLab('metrics of endings', { manifests }, (world) => {
  const client = (script: string, address: string) =>
    world.lab.pod('client').exec(['node', '-e', script, address], { timeoutMs: 10_000 });

  it('count connections that were open and were reset, by who did it; those that ended by themselves are not among them', async () => {
    const { lab } = world;
    expect((await dial(lab.pod('client'), lab.pod('server').v4, port, 'graceful')).received).toBe('graceful');
    expect(await sumOf(lab, 'a', early)).toBe(0);

    const reset = `const s = require('net').connect(${port}, process.argv[1], () => s.write('x'));
      s.on('data', () => s.resetAndDestroy()); s.on('close', () => process.exit(0));`;
    await client(reset, lab.pod('server').v4);
    await client(reset, lab.pod('server').v6);
    const wait = `const s = require('net').connect(${port}, process.argv[1], () => s.write('x'));
      s.on('error', () => process.exit(0));`;
    await expect
      .poll(
        () =>
          lab
            .pod('resetting')
            .exec(['ss', '-Hltn'])
            .then(({ stdout }) => stdout),
        { timeout: 5_000 },
      )
      .toContain(`:${port}`);
    await client(wait, lab.pod('resetting').v4);
    for (const node of ['a', 'b']) {
      await expect.poll(() => sumOf(lab, node, early, { reason: 'reset_by_source' })).toBe(2);
      await expect.poll(() => sumOf(lab, node, early, { reason: 'reset_by_destination' })).toBe(1);
      expect(await sumOf(lab, node, failed)).toBe(0);
    }
  });

  it('count each refusal once, whether the tunnel or connect() refused, also after the agent was replaced', async () => {
    const { lab } = world;
    const [address = ''] = lab.serviceAddresses('server');
    const refused = { reason: 'no_such_port', source_workload: 'client', response_flags: 'CONNECT' };
    for (let attempt = 1; attempt <= 4; attempt++) {
      expect((await dial(lab.pod('client'), address, 81)).ok).toBe(false);
      await expect.poll(() => sumOf(lab, 'a', failed, refused)).toBe(attempt);
    }
    expect(await sumOf(lab, 'a', 'hadal_kernel_decisions_total', { reason: 'no_such_port' })).toBe(3);

    const { agent } = lab.node('a');
    await agent?.kill('SIGKILL');
    agent?.start();
    await agent?.waitReady();
    // The numbers of its edges begin anew: what was counted under the old ones belongs to none of them.
    expect((await dial(lab.pod('client'), address, 82)).ok).toBe(false);
    await expect.poll(() => sumOf(lab, 'a', failed, { reason: 'no_such_port' })).toBe(1);
  });
});
