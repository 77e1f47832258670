/**
 * Pods that an earlier agent carried, and an agent that cannot carry them: they stay captured, so nothing of theirs leaves in
 * the clear, until somebody says what is to become of them.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { netnsPath } from '../../src/lab/layout.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const manifests = [
  namespace('t', { mesh: true }),
  pod('t/client', 'a', { serviceAccount: 'client' }),
  pod('t/late', 'a', { serviceAccount: 'late', mesh: false }),
  echoPod('t/server', 'b', port),
];

interface Kept {
  lastIndex: number;
  pods: Record<string, unknown>[];
}

const storeOf = (lab: Lab) => join(lab.node('a').layout.directory, 'data', 'pods.json');

/** The agent dies, its store is changed, another agent comes. */
async function restartWith(lab: Lab, change: (path: string) => void): Promise<void> {
  const { agent } = lab.node('a');
  await agent?.kill('SIGKILL');
  change(storeOf(lab));
  agent?.start();
  await agent?.waitReady();
}

function editStore(edit: (entry: Record<string, unknown>) => void): (path: string) => void {
  return (path) => {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Kept;
    for (const entry of kept.pods) edit(entry);
    writeFileSync(path, JSON.stringify(kept));
  };
}

function post(
  lab: Lab,
  path: string,
  body: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: lab.node('a').agent?.socket, path, method: 'POST' }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) }),
      );
    });
    asked.on('error', reject);
    asked.end(JSON.stringify(body));
  });
}

const addBody = (of: LabPod) => ({
  Netns: netnsPath(of.netns),
  PodName: of.name,
  PodNamespace: of.namespace,
  PodUID: of.podUid,
  ServiceAccount: of.plan.object.spec.serviceAccountName,
  IPs: of.addresses.map((address) => ({ Address: address })),
});

/** What the client got back: the text when it reached the server, '' when it was refused. */
async function reach(lab: Lab): Promise<string> {
  return (await dial(lab.pod('client'), lab.pod('server').v4, port, 'hello')).received;
}

/** Paths of the last connections that the server's agent saw. */
async function lastPath(lab: Lab): Promise<string | undefined> {
  const told = await lab.node('b').agent?.connections('pod=t/server');
  return told?.connections[0]?.path;
}

const pinsOf = (lab: Lab): string[] => {
  const root = join(lab.directory, 'bpf');
  const found = existsSync(root) ? readdirSync(root, { recursive: true, encoding: 'utf8' }) : [];
  return found.filter((path) => /hadal\/a\/v\d+\/pods\/\d+-\d+$/.test(path));
};

describeInLab(
  'a pod that cannot be carried again',
  { manifests, agentEnv: { HADAL_ENROL_TIMEOUT: '3s' } },
  (world) => {
    it('is refused, not let out, when the store that knew it is lost; /cmdadd takes it in again', async () => {
      const { lab } = world;
      expect(await reach(lab)).toBe('hello');
      await restartWith(lab, (path) => writeFileSync(path, '{"version": 7}'));
      expect(await reach(lab)).toBe('');
      // What nobody knows stays refused over a further restart, whose store is whole again.
      expect((await post(lab, '/cmdadd', addBody(lab.pod('late')))).status).toBe(200);
      await restartWith(lab, () => {});
      expect(await reach(lab)).toBe('');
      expect((await post(lab, '/cmdadd', addBody(lab.pod('client')))).status).toBe(200);
      expect(await reach(lab)).toBe('hello');
      await expect.poll(() => lastPath(lab)).toBe('tunnel');
      expect(pinsOf(lab)).toHaveLength(2);
      await post(lab, '/cmddel', { PodUID: lab.pod('late').podUid });
      expect(pinsOf(lab)).toHaveLength(1);
    });

    it('is refused while its namespace cannot be opened, which is not the same as gone', async () => {
      const { lab } = world;
      const netns = netnsPath(lab.pod('client').netns);
      await restartWith(
        lab,
        editStore((entry) => {
          entry.netns = '/etc/hostname';
        }),
      );
      expect(await reach(lab)).toBe('');
      await restartWith(
        lab,
        editStore((entry) => {
          entry.netns = netns;
        }),
      );
      expect(await reach(lab)).toBe('hello');
    });

    it('keeps its number when it is asked for anew, and can leave', async () => {
      const { lab } = world;
      const spoil = editStore((entry) => {
        entry.serviceAccount = 'no/identity';
      });
      await restartWith(lab, spoil);
      expect(await reach(lab)).toBe('');
      const { body: told } = (await lab.node('a').agent?.get(15000, '/status')) ?? { body: '{}' };
      expect(JSON.parse(told).pods).toMatchObject([
        { name: 't/client', state: 'pending', error: expect.stringContaining('no/identity') },
      ]);
      const [before] = (JSON.parse(readFileSync(storeOf(lab), 'utf8')) as Kept).pods;
      const { status, body } = await post(lab, '/cmdadd', addBody(lab.pod('client')));
      expect({ status, podIndex: body.podIndex }).toEqual({ status: 200, podIndex: before?.podIndex });
      expect(await reach(lab)).toBe('hello');
      expect(pinsOf(lab)).toHaveLength(1);

      await restartWith(lab, spoil);
      expect(await reach(lab)).toBe('');
      const left = await post(lab, '/cmddel', { PodUID: lab.pod('client').podUid, Reason: 'left' });
      expect(left).toMatchObject({ status: 200, body: { removed: true } });
      expect(await reach(lab)).toBe('hello');
      await expect.poll(() => lastPath(lab)).toBe('plaintext');
      expect(pinsOf(lab)).toEqual([]);
      const rules = await lab
        .pod('client')
        .exec(['sh', '-c', 'ip rule; ip route show table 18497'], { asRoot: true });
      expect(rules.stdout).not.toContain('0x4841');
    });

    it('is not carried in the end when it was removed while it was being enrolled', async () => {
      const { lab } = world;
      await lab.agents?.stopAuthority();
      const late = lab.pod('late');
      // Without its certificate the enrolment takes a while.
      const adding = post(lab, '/cmdadd', addBody(late));
      await expect
        .poll(async () => (await lab.node('a').agent?.get(15000, '/config_dump?section=certificates'))?.body)
        .toContain('sa/late');
      const byName = { PodName: late.name, PodNamespace: late.namespace };
      const removed = await post(lab, '/cmddel', byName);
      expect((await adding).status).toBe(200);
      expect(removed.body).toMatchObject({ removed: true });
      const { body } = (await lab.node('a').agent?.get(15000, '/config_dump?section=enrolment')) ?? {
        body: '',
      };
      expect(body).not.toContain(late.podUid);
      await lab.agents?.startAuthority();
    });
  },
);
