import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createAuthorization } from '../../../src/model/authorization.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { asRunning } from '../../../src/source/offline/as-running.ts';
import { readManifestSet } from '../../../src/source/offline/manifest-set.ts';
import { translateObjects } from '../../../src/source/translate/mesh.ts';
import { hadal, startTestAgent } from './terminal.ts';

const shop = fileURLToPath(new URL('../../fixtures/shop', import.meta.url));
const mesh = () =>
  createSnapshot(translateObjects(asRunning(readManifestSet(shop).objects.map(({ object }) => object))));

const commands = [
  ['workloads'],
  ['workloads', '-o', 'wide'],
  ['workloads', '--namespace', 'nowhere'],
  ['workloads', '-o', 'json'],
  ['services'],
  ['services', '-o', 'wide'],
  ['services', '-o', 'json'],
  ['policies'],
  ['policies', '-o', 'json'],
  ['explain', 'shop/front', 'catalog:80'],
  ['explain', 'shop/front', 'catalog.shop:80', '-o', 'json'],
  ['explain', 'visitor', 'catalog.shop.svc.cluster.local:80'],
  ['explain', '192.0.2.7', 'shop/catalog:8080'],
  ['explain', 'shop/batch', '10.96.0.2:80'],
];

describe.each(commands)('hadal %s %s %s %s %s', (...words) => {
  const args = words.filter((word) => word !== undefined);
  const file = args.map((word) => word.replace(/^-+/, '').replace(/[^a-z0-9]+/gi, '_')).join('-');

  it('of a directory is as it was agreed, and the same from an agent', async () => {
    const offline = await hadal([...args, '--directory', shop]);
    await expect(offline.out).toMatchFileSnapshot(`golden/mesh/${file}.txt`);
    expect(offline.err).toBe('');
    const agent = await startTestAgent({ mesh: mesh() });
    expect(await agent.run(args)).toEqual(offline);
  });
});

describe('a policy that the agent never understood', () => {
  const workload = createWorkload({ uid: 'w', name: 'w', namespace: 'shop', tunnelProtocol: 'HBONE' });
  const policies = [
    createAuthorization({ namespace: 'shop', name: 'new', scope: 'NAMESPACE', notUnderstood: 'field 9' }),
  ];
  const held = createSnapshot({ workloads: [workload], services: [], policies });

  it('is told as one that refuses, with the reason', async () => {
    const agent = await startTestAgent({ mesh: held });
    const { out } = await agent.run(['policies']);
    expect(out).toMatch(/shop +new +\? +namespace +\? +1 +refuses all, not understood: field 9/);
    const json = JSON.parse((await agent.run(['policies', '-o', 'json'])).out);
    expect(json.policies).toEqual([expect.objectContaining({ name: 'new', notUnderstood: 'field 9' })]);
  });
});

describe('a policy that is rejected, and of which nobody knows what it said', () => {
  const mistakes = fileURLToPath(new URL('../../fixtures/mistakes', import.meta.url));

  it('is told as one that denies all, and what is wrong with it', async () => {
    const { out, err } = await hadal(['policies', '--directory', mistakes]);
    expect(out).toMatch(
      /shop +broken +DENY +namespace +1 +1 +denies all: rejected, no good version is known/,
    );
    expect(err).toMatch(
      /AuthorizationPolicy shop\/broken: .*is 80.*every connection .*is denied; correct it, or delete it/,
    );
    const json = JSON.parse((await hadal(['policies', '--directory', mistakes, '-o', 'json'])).out);
    expect(json.policies[0]).toMatchObject({ name: 'broken', isPlaceholder: true });
    expect(json.policies[1]).not.toHaveProperty('isPlaceholder');
  });
});

describe('hadal explain', () => {
  it.each([
    ['an allowed connection', ['shop/front', 'catalog:80'], 0],
    ['a refused one', ['visitor', 'catalog.shop:80'], 1],
    ['one in the clear to a pod that is strict', ['192.0.2.7', 'shop/front:8080'], 1],
    ['one to somebody outside the mesh', ['shop/front', 'shop/batch:80'], 0],
  ])('ends for %s with its status', async (_, ends, status) => {
    expect((await hadal(['explain', ...ends, '--directory', shop])).status).toBe(status);
  });

  it.each([
    ['a source that nobody has', ['shop/nobody', 'catalog:80'], 'no workload is called shop/nobody'],
    ['a service that nobody has', ['shop/front', 'nothing:80'], 'no service is called nothing'],
    ['a destination without port', ['shop/front', 'catalog'], 'is not ADDRESS:PORT'],
    ['a port that is none', ['shop/front', 'catalog:http'], 'is not ADDRESS:PORT'],
  ])('names %s', async (_, ends, text) => {
    const offline = await hadal(['explain', ...ends, '--directory', shop]);
    expect([offline.status, offline.out]).toEqual([1, '']);
    expect(offline.err).toContain(text);
    const agent = await startTestAgent({ mesh: mesh() });
    expect((await agent.run(['explain', ...ends])).err).toContain(text);
  });
});

describe('a directory', () => {
  it('that is not there is an error that names it', async () => {
    const run = await hadal(['workloads', '--directory', '/nonexistent/manifests']);
    expect(run.status).toBe(1);
    expect(run.err).toContain('cannot read the directory /nonexistent/manifests');
  });
  it('and an agent at once are a mistake', async () => {
    const run = await hadal(['workloads', '--directory', shop, '--node', 'a']);
    expect(run.status).toBe(2);
    expect(run.err).toContain('--directory is asked instead of agents');
  });
});
