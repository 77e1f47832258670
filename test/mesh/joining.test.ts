/** Joining and leaving the mesh while programs run. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import { describeInLab, dial, echoPod, namespace, pod, service } from './world.ts';

const manifests = [
  namespace('t'),
  pod('t/client', 'a'),
  echoPod('t/server', 'b', 8080, { mesh: true }),
  service('t/server', { 80: 'main' }),
];

const ambient = { 'istio.io/dataplane-mode': 'ambient' };

describeInLab('a label', { manifests }, (world) => {
  const outbound = async (): Promise<ConnectionEntry[]> => {
    const told = await world.lab.node('a').agent?.connections('pod=t/client');
    return (told?.connections ?? []).filter(({ direction }) => direction === 'outbound');
  };

  it("takes a running pod's next connection into the mesh within two seconds", async () => {
    const { lab } = world;
    const server = lab.pod('server');
    expect((await dial(lab.pod('client'), server.v4, 8080, 'before')).received).toBe('before');
    expect(await outbound()).toEqual([]);
    const pause = lab.pod('client').pause;
    const started = performance.now();
    await lab.label('Pod', 't/client', ambient);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(lab.pod('client').pause).toEqual(pause);
    expect((await dial(lab.pod('client'), server.v4, 8080, 'after')).received).toBe('after');
    await expect
      .poll(outbound, { timeout: 5_000 })
      .toMatchObject([{ path: 'tunnel', bytesSent: 5, bytesReceived: 5 }]);
  });

  it('lets a meshed pod reach services by name and address', async () => {
    const [v4 = '', v6 = ''] = world.lab.serviceAddresses('server');
    for (const name of ['server', 'server.t.svc', v4, v6]) {
      expect((await dial(world.lab.pod('client'), name, 80, name)).received).toBe(name);
    }
  });

  it('that is taken away takes the pod out within two seconds, and its open connections live on', async () => {
    const { lab } = world;
    const server = lab.pod('server');
    const program = `
      const s = require('net').connect(8080, process.argv[1]);
      process.stdin.on('data', (d) => s.write(d)).on('end', () => s.end());
      s.on('data', (d) => process.stdout.write(d)).on('error', (e) => { console.log(e.code); process.exit(1); }).on('end', () => process.exit(0));`;
    const open = lab.pod('client').spawn(['node', '-e', program, server.v4]);
    let said = '';
    open.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const ended = new Promise<number | null>((resolve) => open.once('close', (code) => resolve(code)));
    open.stdin?.write('one ');
    await expect.poll(() => said, { timeout: 5_000 }).toBe('one ');

    const started = performance.now();
    await lab.label('Pod', 't/client', { 'istio.io/dataplane-mode': undefined });
    expect(performance.now() - started).toBeLessThan(2_000);
    const before = (await lab.node('b').agent?.connections('pod=t/server'))?.connections.length;
    expect((await dial(lab.pod('client'), server.v4, 8080, 'clear')).received).toBe('clear');
    await sleep(500);
    const told = (await lab.node('b').agent?.connections('pod=t/server'))?.connections ?? [];
    expect(told.length).toBeGreaterThan(before ?? 0);
    expect(told[0]).toMatchObject({ direction: 'inbound', path: 'plaintext', bytesSent: 5 });

    open.stdin?.end('two');
    expect(await ended).toBe(0);
    expect(said).toBe('one two');
  });

  it('and can be given back at once', async () => {
    await world.lab.label('Pod', 't/client', ambient);
    const [v4 = ''] = world.lab.serviceAddresses('server');
    expect((await dial(world.lab.pod('client'), v4, 80, 'again')).received).toBe('again');
  });

  it('is followed once the agent is back: until then a new pod does not start, and says why', {
    timeout: 60_000,
  }, async () => {
    const { lab } = world;
    const agent = lab.node('a').agent;
    await agent?.kill('SIGKILL');
    await lab.apply(echoPod('t/late', 'a', 8080, { mesh: true }));
    expect(lab.problems.get('t/late')).toMatch(/cmdadd/);
    expect(lab.pod('late').enrolled).toBe(false);
    expect((await lab.pod('late').exec(['ss', '-Hltn'])).stdout).toBe('');
    await lab.label('Pod', 't/client', { 'istio.io/dataplane-mode': 'none' });
    expect(lab.problems.get('t/client')).toMatch(/cmddel/);

    agent?.start();
    await agent?.waitReady();
    await expect.poll(() => lab.pod('late').ready, { timeout: 10_000 }).toBe(true);
    expect(lab.pod('late').enrolled).toBe(true);
    await expect.poll(() => lab.problems.size, { timeout: 5_000 }).toBe(0);
    expect(lab.pod('client').held).toBe(false);
    expect((await dial(lab.pod('client'), lab.pod('late').v4, 8080, 'hello')).received).toBe('hello');
  });
});
