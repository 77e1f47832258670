/** `hadal lab` as a person uses it: several processes, one lab. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type CommandResult, capture } from '../../src/lab/command.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import { readLab } from '../../src/lab/registry.ts';
import { labName, namespace, pod, whoAmIPod, whyNoLab } from './world.ts';

const program = [process.execPath, join(packageRoot(), 'src', 'cli', 'main.ts')];
const hadal = (...args: string[]): Promise<CommandResult> => capture([...program, ...args]);

describe.skipIf(whyNoLab !== undefined)('hadal lab', () => {
  const name = labName();
  const directory = mkdtempSync(join(tmpdir(), 'hadal-command-'));
  const pods = [namespace('t'), pod('t/client', 'a'), whoAmIPod('t/server', 'b', 8080)];
  let up: ChildProcess;
  let said = '';
  let ended: Promise<number | null>;

  beforeAll(async () => {
    writeFileSync(join(directory, 'pods.yaml'), pods.join('\n---\n'));
    const [node = '', ...args] = program;
    up = spawn(node, [...args, 'lab', 'up', directory, '--name', name, '--no-agents', '--keep']);
    ended = new Promise((resolve) => up.once('exit', resolve));
    for (const stream of [up.stdout, up.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    }
    await vi.waitFor(() => expect(said).toContain(`lab ${name} is up: 2 pods on 2 nodes`), 20_000);
  });

  afterAll(async () => {
    up.kill('SIGKILL');
    await ended;
    await hadal('lab', 'down', '--name', name);
    rmSync(directory, { recursive: true });
  });

  it('up tells what it does and what to try next', async () => {
    expect(said).toContain('pod t/client on a:');
    await expect
      .poll(() => said, { timeout: 5_000 })
      .toContain(`npx hadal lab exec --name ${name} client -- `);
  });

  it('status lists nodes and pods, for people and as JSON', async () => {
    const text = await hadal('lab', 'status', '--name', name);
    expect(text.stdout).toMatch(new RegExp(`lab ${name}: up`));
    expect(text.stdout).toMatch(/t\/server +b +\S+ \S+ +outside the mesh, ready/);
    const json = JSON.parse((await hadal('lab', 'status', '--name', name, '-o', 'json')).stdout) as {
      labs: { pods: { name: string }[] }[];
    };
    expect(json.labs[0]?.pods.map((one) => one.name).sort()).toEqual(['client', 'server']);
  });

  it('exec runs a program in the pod, as its user, and ends with its status', async () => {
    const server = readLab(name)?.pods.find((one) => one.name === 'server')?.addresses[0];
    const asked = await hadal(
      'lab',
      'exec',
      '--name',
      name,
      'client',
      '--',
      'curl',
      '-s',
      '--http0.9',
      `http://${server}:8080/`,
    );
    expect(asked.stdout).toContain(`${server} 8080`);
    const who = await hadal('lab', 'exec', '--name', name, 't/client', '--', 'sh', '-c', 'id -un; exit 3');
    expect(who).toMatchObject({ code: 3, stdout: 'app\n' });
    const root = await hadal('lab', 'exec', '--name', name, '--root', 'client', '--', 'id', '-un');
    expect(root.stdout).toBe('root\n');
  });

  it('exec names the pods when there is none of that name', async () => {
    const wrong = await hadal('lab', 'exec', '--name', name, 'nobody', '--', 'true');
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/no pod nobody in lab .*t\/client/);
  });

  it('follows the manifests while it is up, and says what is wrong with them', async () => {
    writeFileSync(join(directory, 'more.yaml'), `${pod('t/more', 'a')}\n---\n${pod('t/lost', 'z')}`);
    await expect.poll(() => readLab(name)?.pods.length, { timeout: 5_000 }).toBe(3);
    expect(said).toContain('Pod t/lost does not run: there is no node z');
  });

  it('down ends the process that holds the lab, and the lab', async () => {
    const down = await hadal('lab', 'down', '--name', name);
    expect(down).toMatchObject({ code: 0, stdout: `lab ${name} is down\n` });
    expect(await ended).toBe(0);
    expect(readLab(name)).toBeUndefined();
    const again = await hadal('lab', 'down', '--name', name);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain(`no lab ${name} is up`);
  });
});
