import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { runScript } from '../../src/lab/command.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { netnsName, netnsPath } from '../../src/lab/layout.ts';
import { describeInLab, namespace, pod } from '../mesh/world.ts';

interface Row {
  readonly pods: number;
  readonly fds: number;
  readonly rssKiB: number;
  readonly privateKiB: number;
  /** Since the row before, for one pod. */
  readonly msPerPod: number;
  readonly cpuMsPerPod: number;
}

/** Namespaces with an interface and an address, as a CNI plugin leaves them; named as the lab's, which removes them. */
async function createNamespaces(lab: Lab, from: number, to: number): Promise<string[]> {
  const names = Array.from({ length: to - from }, (_, index) =>
    netnsName(lab.name, 'a', `bare${from + index}`),
  );
  const lines = names.flatMap((name, index) => {
    const number = from + index;
    return [
      `ip netns add ${name}`,
      `ip -n ${name} link set lo up`,
      `ip -n ${name} link add eth0 type veth peer name eth1`,
      `ip -n ${name} address add 10.250.${number >> 8}.${number & 255}/32 dev eth0`,
      `ip -n ${name} address add fd00:250::${number.toString(16)}/128 dev eth0 nodad`,
      `ip -n ${name} link set eth0 up`,
    ];
  });
  await runScript(`create ${names.length} namespaces`, lines.join('\n'));
  return names;
}

function enrol(lab: Lab, netns: string): Promise<void> {
  const body = {
    Netns: netnsPath(netns),
    PodName: netns,
    PodNamespace: 't',
    PodUID: randomUUID(),
    ServiceAccount: 'default',
  };
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath: lab.node('a').agent?.socket, path: '/cmdadd', method: 'POST' },
      (response) => {
        response.resume();
        response.on('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`/cmdadd: ${response.statusCode}`)),
        );
      },
    );
    asked.on('error', reject);
    asked.end(JSON.stringify(body));
  });
}

function measure(pid: number, pods: number, before: { at: number; cpuMs: number; pods: number }): Row {
  const memory = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(memory)?.[1] ?? 0);
  const more = Math.max(1, pods - before.pods);
  return {
    pods,
    fds: readdirSync(`/proc/${pid}/fd`).length,
    rssKiB: field('VmRSS'),
    privateKiB: field('RssAnon'),
    msPerPod: (performance.now() - before.at) / more,
    cpuMsPerPod: (cpuMsOf(pid) - before.cpuMs) / more,
  };
}

function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

describeInLab(
  'an agent with many pods',
  { manifests: [namespace('t', { mesh: true }), pod('t/first', 'a')] },
  (world) => {
    it('takes 110 and 250 of them, each for the same price', { timeout: 300_000 }, async () => {
      const { lab } = world;
      const pid = lab.node('a').agent?.pid ?? 0;
      // It gives back what its start took two seconds later.
      await sleep(3_000);
      const rows: Row[] = [measure(pid, 1, { at: performance.now(), cpuMs: cpuMsOf(pid), pods: 1 })];
      for (const wanted of [10, 110, 250]) {
        const enrolled = rows.at(-1)?.pods ?? 1;
        const names = await createNamespaces(lab, enrolled, wanted);
        const before = { at: performance.now(), cpuMs: cpuMsOf(pid), pods: enrolled };
        for (const name of names) await enrol(lab, name);
        rows.push(measure(pid, wanted, before));
      }
      console.table(
        rows.map((row) => ({
          ...row,
          msPerPod: row.msPerPod.toFixed(1),
          cpuMsPerPod: row.cpuMsPerPod.toFixed(1),
        })),
      );
      const [, ten, some, many] = rows as [Row, Row, Row, Row];
      const fdsPerPod = (from: Row, to: Row) => (to.fds - from.fds) / (to.pods - from.pods);
      expect(fdsPerPod(some, many)).toBeCloseTo(fdsPerPod(ten, some), 0);
      // What a collection of the heap gives back or not is more than what a pod takes.
      expect((many.privateKiB - ten.privateKiB) / (many.pods - ten.pods)).toBeLessThan(100);
      expect(many.msPerPod).toBeLessThan(2 * some.msPerPod + 10);
    });
  },
);
