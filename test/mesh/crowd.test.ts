/**
 * Many connections at a time from one address outside the mesh. Each is two in the pod's namespace, from the client to the
 * agent and from the agent to the application, with the client's address in both.
 */
import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Generator, type GeneratorProcess, type SliceAnswer } from '../../bench/generator.ts';
import { describeInLab, namespace, pod } from './world.ts';

const generator = '/opt/hadal/package/build/Release/hadal-bench';
const echoPort = 7700;
const threads = 16;

describeInLab(
  'a crowd outside the mesh',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/server', 'b', { serviceAccount: 'server' }),
      pod('plain/client', 'a'),
    ],
  },
  (world) => {
    let server: ChildProcess;

    beforeAll(async () => {
      server = world.lab.pod('server').spawn([generator, 'server', String(echoPort)]);
      await new Promise((resolve) => server.stdout?.once('data', resolve));
    });
    afterAll(() => {
      server.kill('SIGKILL');
    });

    /** Each thread connects, exchanges 64 bytes and resets; a single failure ends it. */
    async function connectFor(ms: number, family: 'v4' | 'v6'): Promise<SliceAnswer> {
      const { lab } = world;
      const address = lab.pod('server')[family];
      const argv = [generator, 'client', 'connections', address, String(echoPort), String(threads), '64'];
      const client = await new Generator(
        lab.pod('client').spawn(argv) as GeneratorProcess,
        'the crowd',
      ).ready();
      const answer = await client.ask<SliceAnswer>(`run ${ms}`);
      await client.close();
      return answer;
    }

    it.each(['v4', 'v6'] as const)('is let in whole, connection by connection (%s)', async (family) => {
      const answer = await connectFor(2000, family);
      expect(answer.failures).toBe(0);
      expect(answer.operations).toBeGreaterThan(1000);
    });
  },
);
