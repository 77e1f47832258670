/** A policy that an edit spoils keeps nobody out of what it let in and lets nobody in whom it kept out, whatever restarts. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import type { ControlPlaneStatus } from '../../src/controlplane/plane-reports.ts';
import type { LabControlPlane } from '../../src/lab/control-plane.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { describeInLab, dial, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;
const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/friend', 'a', { serviceAccount: 'friend' }),
  pod('shop/enemy', 'a', { serviceAccount: 'enemy' }),
  whoAmIPod('shop/server', 'b', port, { serviceAccount: 'server' }),
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { action: 'DENY', rules: [{ from: [{ source: { serviceAccounts: ['enemy'] } }] }] },
  }),
];

function planeOf({ controlPlane }: Lab): LabControlPlane {
  if (controlPlane === undefined) throw new Error('the lab has no control plane');
  return controlPlane;
}

/** Two programs are started for each look. */
const patience = { timeout: 20_000 };

const statusOf = (lab: Lab) => planeOf(lab).admin<ControlPlaneStatus>('/status');

/** Who gets through to the server. */
async function admitted(lab: Lab): Promise<string[]> {
  const connected: string[] = [];
  for (const caller of ['friend', 'enemy']) {
    const { received } = await dial(lab.pod(caller), lab.pod('server').v4, port);
    if (received !== '') connected.push(caller);
  }
  return connected;
}

/** Until every agent has heard what the control plane has to say now. */
async function told(lab: Lab): Promise<void> {
  await planeOf(lab).waitReady();
  const settled = async () => {
    const { agents } = await statusOf(lab);
    return agents
      .filter(({ pending }) => pending === 0)
      .map(({ node }) => node)
      .sort();
  };
  await expect.poll(settled, patience).toEqual(['a', 'b']);
}

describeInLab('a policy that is spoilt', { manifests, controlPlane: true }, (world) => {
  it('is enforced by its last good version after a restart of the control plane, and refuses all where nobody knows that', async () => {
    const { lab } = world;
    const plane = planeOf(lab);
    const file = join(plane.files.directory, 'AuthorizationPolicy_shop_p.json');
    const record = join(dirname(plane.files.directory), 'data', 'last-good.json');
    const good = readFileSync(file, 'utf8');
    await expect.poll(() => admitted(lab), patience).toEqual(['friend']);

    writeFileSync(file, good.replace('"from"', '"form"'));
    await expect.poll(async () => (await statusOf(lab)).rejected, patience).toBe(1);
    await plane.kill('SIGKILL');
    plane.start();
    await told(lab);
    expect(await admitted(lab)).toEqual(['friend']);

    await plane.kill('SIGKILL');
    rmSync(record);
    plane.start();
    await told(lab);
    await expect.poll(() => admitted(lab), patience).toEqual([]);
    const { rejected } = await plane.admin<{ rejected: { source: { reason: string }[] } }>(
      '/config_dump?section=rejected',
    );
    expect(rejected.source[0]?.reason).toMatch(/no good version of it is known.*correct it, or delete it/);

    writeFileSync(file, good);
    await expect.poll(() => admitted(lab), patience).toEqual(['friend']);
    expect(existsSync(record)).toBe(false);
  });

  it('is left with agents as they have it while its file cannot be read and nobody knows what it held', async () => {
    const { lab } = world;
    const plane = planeOf(lab);
    const file = join(plane.files.directory, 'AuthorizationPolicy_shop_p.json');
    const good = readFileSync(file, 'utf8');
    await plane.kill('SIGKILL');
    rmSync(file);
    mkdirSync(file);
    plane.start();
    await expect
      .poll(async () => (await statusOf(lab).catch(() => undefined))?.source.error, patience)
      .toMatch(/agents keep what they have: AuthorizationPolicy_shop_p\.json: EISDIR.*Correct it/);
    expect(await statusOf(lab)).toMatchObject({ ready: false, agents: [], source: { isSynced: false } });
    expect(await admitted(lab)).toEqual(['friend']);
    rmSync(file, { recursive: true });
    writeFileSync(file, good);
    await told(lab);
    expect(await admitted(lab)).toEqual(['friend']);
  });
});
