/** What is in force of objects that are bad when a directory source starts: the last good version, a refusal, or nothing. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { policyKey } from '../../../src/model/authorization.ts';
import { DirectorySource } from '../../../src/source/directory/directory-source.ts';
import { LastGoodFile } from '../../../src/source/directory/last-good-file.ts';
import { openManifestDirectory } from '../../../src/source/directory/manifest-directory.ts';
import type { KnownObject } from '../../../src/source/kubernetes/objects.ts';
import { translateObjects } from '../../../src/source/translate/mesh.ts';

let root: string;
let directory: string;
let source: DirectorySource;
let objects: Map<string, KnownObject>;

const policy = (name: string, spec: object, metadata: object = {}, kind = 'AuthorizationPolicy') =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name, namespace: 'shop', ...metadata },
    spec,
  });
const id = (name: string, kind = 'AuthorizationPolicy') => `security.istio.io/v1/${kind}/shop/${name}`;
const front = { matchLabels: { app: 'front' } };
const denied = { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['evil'] } }] }] };
const misspelt = { action: 'DENY', rules: [{ form: [] }] };
const bare = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'front', namespace: 'shop', labels: front.matchLabels },
};
const write = (file: string, text: string) => writeFileSync(join(directory, file), text);

function newSource(lookMs = 20): DirectorySource {
  objects = new Map();
  const lastGood = new LastGoodFile({ path: join(root, 'last-good.json'), logger: silentLogger });
  source = new DirectorySource({ directory, logger: silentLogger, lastGood, lookMs });
  return source;
}

async function start(): Promise<void> {
  await newSource().start(({ upserts, removals }) => {
    for (const { id: name, object } of upserts) objects.set(name, object);
    for (const name of removals) objects.delete(name);
  });
}

async function restart(): Promise<void> {
  await source.close();
  await start();
}

/** What agents would be told, by `namespace/name`. */
function told() {
  const { policies } = translateObjects([...objects.values()]);
  return Object.fromEntries(
    policies.map((each) => [
      policyKey(each),
      `${each.action} ${each.scope} ${each.rules.map(({ clauses }) => clauses.length).join()}${each.dryRun ? ' dry run' : ''}`,
    ]),
  );
}
const allDenied = (scope: string) => `DENY ${scope} 0`;
const inForce = () => source.status.rejected.map((each) => each.inForce);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hadal-last-good-'));
  directory = join(root, 'manifests');
  mkdirSync(directory);
});
afterEach(async () => {
  await source?.close();
  rmSync(root, { recursive: true, force: true });
});

describe('a policy that is spoilt by an edit', () => {
  it('keeps its last good version over a restart, until it is good again or deleted', async () => {
    write('a.json', policy('a', denied));
    await start();
    const good = objects.get(id('a'));
    write('a.json', policy('a', misspelt));
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    await restart();
    expect(inForce()).toEqual(['last good version']);
    expect(objects.get(id('a'))).toEqual(good);
    write('a.json', policy('a', { ...denied, action: 'ALLOW' }));
    await vi.waitFor(() => expect(told()).toEqual({ 'shop/a': 'ALLOW NAMESPACE 1' }));
    // What was kept is kept no longer: it would come back with the next mistake.
    expect(() => readFileSync(join(root, 'last-good.json'))).toThrow('ENOENT');
    write('a.json', policy('a', misspelt));
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    rmSync(join(directory, 'a.json'));
    await vi.waitFor(() => expect(told()).toEqual({}));
    expect(() => readFileSync(join(root, 'last-good.json'))).toThrow('ENOENT');
  });

  it.each<[string, string, Record<string, string>]>([
    [
      'its selector',
      policy('a', { ...misspelt, selector: front }),
      { 'shop/a': allDenied('WORKLOAD_SELECTOR') },
    ],
    ['its namespace', policy('a', misspelt), { 'shop/a': allDenied('NAMESPACE') }],
    [
      'its namespace where the selector cannot be read',
      policy('a', { ...denied, selector: { matchLabels: { app: 1 } } }),
      { 'shop/a': allDenied('NAMESPACE') },
    ],
    [
      'its namespace where nothing can be read',
      policy('a', [] as object),
      { 'shop/a': allDenied('NAMESPACE') },
    ],
    [
      'the mesh, in the root namespace',
      policy('a', misspelt, { namespace: 'istio-system' }),
      { 'istio-system/a': allDenied('GLOBAL') },
    ],
    [
      'nobody, while it is tried out',
      policy('a', misspelt, { annotations: { 'istio.io/dry-run': 'true' } }),
      { 'shop/a': `${allDenied('NAMESPACE')} dry run` },
    ],
    [
      'its namespace under a version that is not read',
      policy('a', denied).replace('io/v1"', 'io/v9"'),
      { 'shop/a': allDenied('NAMESPACE') },
    ],
    [
      'nobody, where a waypoint enforces it',
      policy('a', { ...misspelt, targetRefs: [{ kind: 'Service', name: 's' }] }),
      {},
    ],
  ])('and was last seen good by nobody refuses for %s', async (_, text, expected) => {
    write('a.json', text);
    await start();
    expect(told()).toEqual(expected);
    if (Object.keys(expected).length === 0) return;
    expect(inForce()).toEqual(['placeholder']);
    expect(source.status.rejected[0]?.reason).toMatch(
      /no good version of it is known.*correct it, or delete it$/,
    );
    // A restart knows no more, and another mistake changes nothing.
    await restart();
    expect(told()).toEqual(expected);
    write('a.json', policy('b', denied));
    await vi.waitFor(() => expect(told()).toEqual({ 'shop/b': 'DENY NAMESPACE 1' }));
  });

  it('and was last seen good by nobody is strict, if it is a PeerAuthentication, and before others', async () => {
    const mode = (mtls: object) => ({ mtls });
    write(
      'open.json',
      policy(
        'open',
        mode({ mode: 'PERMISSIVE' }),
        { creationTimestamp: '2026-01-01T00:00:00Z' },
        'PeerAuthentication',
      ),
    );
    write('a.json', policy('a', { ...mode({ mode: 'STRICT' }), selector: 7 }, {}, 'PeerAuthentication'));
    write('pod.json', JSON.stringify(bare));
    await start();
    expect(source.status.rejected[0]?.reason).toContain('only connections with an identity are let in');
    expect(objects.get(id('a', 'PeerAuthentication'))).toMatchObject({ spec: { mtls: { mode: 'STRICT' } } });
    const { policiesOf } = await import('../../../src/source/translate/workload-policies.ts');
    const { viewOf } = await import('../../../src/source/translate/object-view.ts');
    const pod = { namespace: 'shop', labels: front.matchLabels };
    expect(policiesOf(viewOf([...objects.values()]), pod)).toEqual([
      'istio-system/istio_converted_static_strict',
    ]);
  });

  it('and never was good, since it came while somebody watched, is not in force, also after a restart', async () => {
    write('b.json', policy('b', denied));
    await start();
    write('a.json', policy('a', misspelt));
    await vi.waitFor(() => expect(inForce()).toEqual(['nothing']));
    expect(Object.keys(told())).toEqual(['shop/b']);
    await restart();
    expect(inForce()).toEqual(['nothing']);
    expect(Object.keys(told())).toEqual(['shop/b']);
  });
});

describe('a file that cannot be read when a source starts', () => {
  const broken: [string, () => void][] = [
    ['is no YAML', () => write('a.yaml', 'kind: [')],
    [
      'fails to be read',
      () => {
        rmSync(join(directory, 'a.yaml'), { force: true });
        mkdirSync(join(directory, 'a.yaml'));
      },
    ],
    [
      'is a link to nothing',
      () => {
        rmSync(join(directory, 'a.yaml'), { force: true });
        symlinkSync(join(root, 'nowhere'), join(directory, 'a.yaml'));
      },
    ],
  ];

  it.each(broken)('and %s holds everything up, by name, until it is corrected', async (_, spoil) => {
    write('b.yaml', policy('b', denied));
    spoil();
    let started = false;
    const starting = start().then(() => {
      started = true;
    });
    await vi.waitFor(() =>
      expect(source.status.error).toMatch(/agents keep what they have: a\.yaml.*Correct it/s),
    );
    await sleep(60);
    expect(started).toBe(false);
    expect(source.status.isSynced).toBe(false);
    expect(objects.size).toBe(0);
    rmSync(join(directory, 'a.yaml'), { recursive: true });
    write('a.yaml', policy('a', denied));
    await starting;
    expect(Object.keys(told())).toEqual(['shop/a', 'shop/b']);
    expect(source.status).toMatchObject({ isSynced: true, error: undefined });
  });

  it.each(broken)('and %s keeps what the process before knew of it', async (_, spoil) => {
    write('a.yaml', `${policy('a', denied)}\n---\n${policy('c', { ...denied, selector: front })}`);
    await start();
    const before = new Map(objects);
    spoil();
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    await restart();
    expect(objects).toEqual(before);
    await restart();
    expect(objects).toEqual(before);
  });

  it('and came while somebody watched holds nothing up', async () => {
    write('b.yaml', policy('b', denied));
    await start();
    write('a.yaml', 'kind: [');
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    await restart();
    expect(Object.keys(told())).toEqual(['shop/b']);
  });

  it('waits in vain when the source is closed', async () => {
    write('a.yaml', 'kind: [');
    const starting = start();
    starting.catch(() => {});
    await vi.waitFor(() => expect(source.status.error).toBeDefined());
    await source.close();
    await expect(starting).rejects.toThrow('given up');
  });
});

describe('a directory of a lab', () => {
  it('refuses for a policy that is bad at the first look, and keeps what was good after it', async () => {
    write('a.json', policy('a', misspelt));
    const manifests = openManifestDirectory(directory, () => {});
    try {
      expect(manifests.current.objects).toMatchObject([{ spec: { action: 'DENY', rules: [{ when: [] }] } }]);
      expect(manifests.current.rejections).toHaveLength(1);
      write('a.json', policy('a', denied));
      await vi.waitFor(() => expect(manifests.current.rejections).toEqual([]));
      write('a.json', policy('a', misspelt));
      write('new.json', policy('new', misspelt));
      await vi.waitFor(() => expect(manifests.current.rejections).toHaveLength(2));
      expect(manifests.current.objects).toMatchObject([{ metadata: { name: 'a' }, spec: denied }]);
    } finally {
      manifests.close();
    }
  });
});

describe('the record of last good versions', () => {
  const recordFile = () => join(root, 'last-good.json');

  it.each([
    ['is no JSON', () => '{'],
    ['is cut off', (text: string) => text.slice(0, -3)],
    ['says something else than was written', (text: string) => text.replace('"evil"', '"good"')],
    ['is of another form', () => '{"version":7}'],
    ['is a directory', () => undefined],
  ])('counts as unknown when it %s', async (_, spoil) => {
    write('a.json', policy('a', denied));
    await start();
    write('a.json', policy('a', misspelt));
    await vi.waitFor(() => expect(source.status.rejected).toHaveLength(1));
    await source.close();
    const text = spoil(readFileSync(recordFile(), 'utf8'));
    rmSync(recordFile());
    if (text === undefined) mkdirSync(recordFile());
    else writeFileSync(recordFile(), text);
    await start();
    expect(inForce()).toEqual(['placeholder']);
    expect(told()).toEqual({ 'shop/a': allDenied('NAMESPACE') });
  });

  it('says when it cannot be written', async () => {
    write('a.json', policy('a', denied));
    await start();
    mkdirSync(recordFile());
    write('a.json', policy('a', misspelt));
    await vi.waitFor(() => expect(source.status.problems?.[0]).toContain('could not be kept'));
    expect(told()).toEqual({ 'shop/a': 'DENY NAMESPACE 1' });
  });
});
