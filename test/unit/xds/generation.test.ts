/** An agent among replicas of its control plane, of which one has seen less, and after a restore, when all have. */
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Backoff } from '../../../src/base/backoff.ts';
import type { MeshChange } from '../../../src/model/change.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { XdsClient } from '../../../src/xds/client.ts';
import type { XdsClientOptions } from '../../../src/xds/client-options.ts';
import { GenerationGuard } from '../../../src/xds/generation-guard.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { noVersions, type VersionedChange } from '../../../src/xds/versioned-change.ts';
import { type ControlPlane, moment, startControlPlane } from './discovery.ts';
import { change, pod, uid } from './mesh.ts';
import { plainClient } from './plain-client.ts';

const clients: XdsClient[] = [];
let mesh: MeshSnapshot;
let told: VersionedChange[];

beforeEach(() => {
  mesh = emptySnapshot;
  told = [];
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});

function start(
  { address }: Pick<ControlPlane, 'address'>,
  options: Partial<XdsClientOptions> = {},
): XdsClient {
  const client = new XdsClient({
    ...plainClient(address),
    onChange: (next) => {
      told.push(next);
      mesh = updateSnapshot(mesh, next.change).snapshot;
    },
    backoff: new Backoff({ initialMs: 5, maxMs: 20 }),
    ...options,
  });
  clients.push(client);
  client.start();
  return client;
}

const seen = (pods: bigint, at = pods, lineage = 'kubernetes:east') => ({
  lineage,
  positions: new Map([['Pod', pods]]),
  told: new Map([['Pod', at]]),
});
const pods = (...names: string[]): MeshChange =>
  change({ workloads: { upserts: names.map((name) => pod(name)) } });
const names = () => [...mesh.workloads.keys()].map((name) => name.slice(uid('').length));
/** What an agent had from a replica that was told something up to 930, and has followed its API server to 1000. */
const kept = {
  versions: { ...noVersions, workloads: new Map([[uid('old'), 'v1']]) },
  generation: 'kubernetes:east;Pod=930',
};

async function replica(mesh: MeshChange, at: ReturnType<typeof seen> | undefined) {
  const store = new ResourceStore();
  store.apply(mesh, at);
  const control = await startControlPlane({ store });
  return control;
}

describe('a replica that survives another one', () => {
  it('need not have seen what told nothing: it serves the agents of the other at once', async () => {
    const first = await replica(pods('a'), seen(1000n, 930n));
    const client = start(first);
    await vi.waitFor(() => expect(names()).toEqual(['a']));
    expect(told.at(-1)?.generation).toBe('kubernetes:east;Pod=930');
    await client.close();

    const survivor = await replica(pods('a', 'b'), seen(940n, 930n));
    const versions = told.at(-1)?.versions ?? noVersions;
    start(survivor, { kept: { versions, generation: told.at(-1)?.generation ?? '' } });
    await vi.waitFor(() => expect(names()).toEqual(['a', 'b']));
  });

  it('is not believed while it lacks something; the agent keeps what it has and says so, a new one is served', async () => {
    const behind = await replica(pods('a'), seen(900n));
    const client = start(behind, { kept });
    await vi.waitFor(() => expect(client.status.behind).toBeDefined());
    const { since = 0, acceptedAt = 0 } = client.status.behind ?? {};
    expect(acceptedAt - since).toBe(600_000);
    expect(client.status.error).toMatch(
      /Pod: seen up to 900, and 930 is in force.*HADAL_XDS_BEHIND_PATIENCE/,
    );
    expect(told).toEqual([]);
    start(behind);
    await vi.waitFor(() => expect(names()).toEqual(['a']));
    mesh = emptySnapshot;
    behind.store.apply(pods('b'), seen(931n));
    await vi.waitFor(() => expect(names()).toContain('b'));
    await vi.waitFor(() => expect(client.status.behind).toBeUndefined());
    expect(client.status.error).toBeUndefined();
  });
});

describe('after a restore of the cluster from a backup', () => {
  it('what there is counts when nothing else answered for the time given, and from then on it is what is compared', async () => {
    const warnings: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line) => void warnings.push(line) });
    const restored = await replica(pods('a'), seen(500n));
    const begun = performance.now();
    const client = start(restored, { kept, behindPatienceMs: 300, logger });
    await moment(150);
    expect(told).toEqual([]);
    await vi.waitFor(() => expect(names()).toEqual(['a']));
    expect(performance.now() - begun).toBeGreaterThan(290);
    expect(told[0]?.generation).toBe('kubernetes:east;Pod=500');
    expect(told.flatMap(({ change: { workloads } }) => workloads.removals)).toEqual([uid('old')]);
    expect(client.status.behind).toBeUndefined();
    expect(warnings.join('')).toContain('what it tells now is taken');
  });

  it('another cluster under the same address is not taken at once either', async () => {
    const other = await replica(pods('a'), seen(5_000n, 5_000n, 'kubernetes:west'));
    const client = start(other, { kept, behindPatienceMs: 300 });
    await vi.waitFor(() =>
      expect(client.status.error).toContain('kubernetes:west there and kubernetes:east here'),
    );
    expect(told).toEqual([]);
    await vi.waitFor(() => expect(names()).toEqual(['a']));
    expect(told[0]?.generation).toBe('kubernetes:west;Pod=5000');
  });

  it('a control plane that counts for itself follows any of its kind at once', async () => {
    const first = await replica(pods('a'), undefined);
    const client = start(first);
    await vi.waitFor(() => expect(names()).toEqual(['a']));
    expect(told.at(-1)?.generation).toMatch(/^own:/);
    await client.close();
    start(await replica(pods('a', 'b'), undefined), {
      kept: { versions: told.at(-1)?.versions ?? noVersions, generation: told.at(-1)?.generation ?? '' },
    });
    await vi.waitFor(() => expect(names()).toEqual(['a', 'b']));
  });
});

describe('patience', () => {
  const refused = (guard: GenerationGuard, text: string) => () => guard.check(text);

  it('is counted from the first answer that was behind, anew after a good one or after a silence', () => {
    let now = 0;
    const guard = new GenerationGuard('k;p=7', 100_000, () => now);
    expect(refused(guard, 'k;p=5')).toThrow(/p: seen up to 5, and 7/);
    now = 50_000;
    expect(refused(guard, 'k;p=6')).toThrow('1970-01-01T00:01:40');
    expect(guard.behind).toEqual({ since: 0, acceptedAt: 100_000 });
    guard.check('k;p=8@7');
    expect(guard.behind).toBeUndefined();
    expect(refused(guard, 'k;p=6')).toThrow();
    // Nobody was there: that is no answer.
    now = 149_000 + 61_000;
    expect(guard.giveUp()).toBe(false);
    expect(refused(guard, 'k;p=6')).toThrow();
    expect([guard.behind?.since, guard.giveUp()]).toEqual([now, false]);
    now += 50_000;
    expect(refused(guard, 'k;p=6')).toThrow();
    now += 50_000;
    expect([guard.giveUp(), guard.text]).toEqual([true, '']);
    guard.check('k;p=6');
  });
});
