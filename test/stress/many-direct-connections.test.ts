/** Thousands of open direct connections that a change refuses: ended within a second, and the agent's thread goes on meanwhile. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { DirectConnections } from '../../src/agent/direct-connections.ts';
import { VERDICT_DIRECT } from '../../src/kernel/constants.gen.ts';
import { dependency } from '../../src/model/diff.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { emptySnapshot } from '../../src/model/snapshot.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const service = '10.96.0.10';
const count = 10_000;

/** Runs a program in the pod; resolves when it says a line that begins so. */
async function run(pod: EnrolledPod, program: string, says: string): Promise<ChildProcess> {
  const enter = 'echo $$ > "$0/cgroup.procs" && exec ip netns exec "$1" "$2" -e "$3"';
  const child = spawn('sh', ['-c', enter, pod.cgroup, pod.netns, process.execPath, program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve) => {
    child.stdout?.on('data', (chunk: Buffer) => chunk.toString().includes(says) && resolve());
  });
  return child;
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

let longest = 0;
/** A step during which nobody else has a turn. */
function timed<T>(step: () => T): T {
  const before = cpuMs();
  const result = step();
  longest = Math.max(longest, cpuMs() - before);
  return result;
}

it.skipIf(podWorldUnavailable !== undefined)(
  `${count} direct connections end within a second, and nothing else waits for it`,
  async () => {
    const world = await CaptureWorld.create();
    const children: ChildProcess[] = [];
    try {
      const client = await world.addEnrolledPod('client');
      const server = await world.addEnrolledPod('server');
      const { netnsCookie, ipv4: address, podIndex } = server;
      world.capture.dns.beat();
      for (const port of [8080, 8081]) {
        const slot = {
          kind: 'direct',
          address,
          port,
          podIndex,
          netnsCookie,
          edge: 1,
          inboundEdge: 2,
        } as const;
        world.capture.putRows([
          [
            { podIndex: client.podIndex, address: service, port },
            { verdict: VERDICT_DIRECT, edge: 3, slots: [slot] },
          ],
        ]);
      }
      const serve = `for (const port of [8080, 8081]) require('net').createServer((s) => s.on('error', () => {})).listen({ port, host: '0.0.0.0', backlog: 4096 }, () => port === 8081 && console.log('serving'));`;
      children.push(await run(server, serve, 'serving'));
      const dial = `let open = 0, wanted = ${count}, started = 0;
        const more = () => { if (started >= wanted) return; const n = started++;
          const s = require('net').connect(n % 2 ? 8080 : 8081, '${service}');
          s.on('connect', () => { if (++open === wanted) console.log('all open'); more(); });
          s.on('error', () => {}); s.on('close', () => { if (--open === wanted / 2) console.log('half gone'); }); };
        for (let i = 0; i < 50; i++) more();`;
      const dialler = await run(client, dial, 'all open');
      children.push(dialler);
      const reader = world.capture.openFlows({ onClosed: () => {}, onSlipped: () => {} });
      const pods = [client, server].map(({ podIndex: index, netnsFd, ipv4, name }) => ({
        podIndex: index,
        netnsFd,
        state: 'carried' as const,
        identity: `spiffe://cluster.local/ns/shop/sa/${name}`,
        enrolled: { uid: `c//Pod/shop/${name}`, namespace: 'shop', serviceAccount: name, addresses: [ipv4] },
      }));
      let destroyed = 0;
      const direct = new DirectConnections({
        reader: {
          recordBytes: reader.recordBytes,
          decode: (records, index) => reader.decode(records, index),
          readLive: (netnsFd) => timed(() => reader.readLive(netnsFd)),
        },
        sockets: {
          destroy: (netnsFd, cookies, reason) =>
            timed(() => world.capture.sockets.destroy(netnsFd, cookies, reason)),
        },
        pods: { all: () => pods, at: (index) => pods.find((pod) => pod.podIndex === index) },
        snapshot: () => emptySnapshot,
        judge: ({ port }) => (port === 8080 ? reasons.POLICY_DENIED : reasons.NONE),
        onDestroyed: (_, ended) => {
          destroyed += ended;
        },
        logger: pino({ enabled: false }),
      });
      const gone = new Promise<number>((resolve) => {
        dialler.stdout?.on('data', (chunk: Buffer) => {
          if (chunk.toString().includes('half gone')) resolve(performance.now());
        });
      });
      const started = performance.now();
      const before = cpuMs();
      direct.review([dependency.global]);
      const took = (await gone) - started;
      const cpu = cpuMs() - before;
      console.log(
        `${count / 2} of ${count} ended in ${Math.round(took)} ms, with ${Math.round(cpu)} ms of the thread, at most ${longest.toFixed(1)} ms of it at once`,
      );
      await direct.close();
      reader.close();
      expect(destroyed).toBe(count / 2);
      // Of the thread's own time, whatever else the machine does. One pod has them all: to list them takes 17 ms.
      expect(longest).toBeLessThan(40);
      expect(cpu).toBeLessThan(1000);
    } finally {
      const gone = children.map((child) => once(child, 'exit'));
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(gone);
      await world.dispose();
    }
  },
  120_000,
);
