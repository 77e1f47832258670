/** Policies that were never understood: what holds in their place, from the wire to the verdict. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KeptState } from '../../../src/agent/kept-state.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { parseAddress } from '../../../src/model/address.ts';
import {
  type AuthorizationFields,
  createAuthorization,
  policyKey,
} from '../../../src/model/authorization.ts';
import { changeFrom } from '../../../src/model/change.ts';
import { reasonDetails } from '../../../src/model/reasons.gen.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { evaluate } from '../../../src/policy/evaluate.ts';
import { explain } from '../../../src/policy/explain.ts';
import { XdsClient } from '../../../src/xds/client.ts';
import { encodeAuthorization, encodeWorkloadAddress } from '../../../src/xds/codec.ts';
import { refusingAmong } from '../../../src/xds/refusing-policy.ts';
import { addressType, authorizationType } from '../../../src/xds/type-urls.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { plainClient } from './plain-client.ts';
import { ScriptedServer, type ScriptedStream } from './scripted-server.ts';

let server: ScriptedServer;
let mesh: MeshSnapshot;
const clients: XdsClient[] = [];

beforeEach(async () => {
  server = await new ScriptedServer().listen();
  mesh = emptySnapshot;
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  server.close();
});

/** An agent's discovery with what it keeps on disk, if it has one. */
async function start(disk?: KeptState): Promise<XdsClient> {
  const kept = await disk?.read();
  if (kept !== undefined) mesh = updateSnapshot(emptySnapshot, changeFrom(kept.resources)).snapshot;
  const address = `127.0.0.1:${server.port}`;
  const client = new XdsClient({
    ...plainClient(address),
    kept: kept && { ...kept, refusing: refusingAmong(kept.resources.policies) },
    onChange: (told) => {
      mesh = updateSnapshot(mesh, told.change).snapshot;
      disk?.keep(told, mesh);
    },
  });
  clients.push(client);
  client.start();
  return client;
}

/** A stream that has told the workloads `shop/a`, which names a policy, and `other/b`. */
async function opened(index = 0): Promise<ScriptedStream> {
  const stream = await server.stream(index);
  await stream.request();
  await stream.request();
  await stream.ask(
    addressType,
    [a, b].map((each) => ({ name: each.uid, value: encodeWorkloadAddress(each) })),
  );
  return stream;
}

const a = createWorkload({ uid: 'a', namespace: 'shop', authorizationPolicies: ['shop/p'] });
const b = createWorkload({ uid: 'b', namespace: 'other' });

function verdictOn(workload: typeof a) {
  const facts = {
    identity: undefined,
    sourceAddress: parseAddress('10.0.0.1') as never,
    destinationAddress: parseAddress('10.0.0.2') as never,
    destinationPort: 80,
  };
  const verdict = evaluate(mesh, workload, facts);
  return {
    policy: verdict.policy,
    explanation: explain(verdict, facts),
    reason: reasonDetails.get(verdict.reason)?.name,
  };
}

const reasonsNow = () => [verdictOn(a).reason, verdictOn(b).reason];

/** Field 99, which no policy has. */
const later = Uint8Array.of(0x98, 0x06, 0x01);
const policyBytes = (fields: Partial<AuthorizationFields> = {}) =>
  encodeAuthorization(createAuthorization({ namespace: 'shop', name: 'p', action: 'DENY', ...fields }));
const good = (fields: Partial<AuthorizationFields> = {}, name = 'shop/p') => ({
  name,
  value: policyBytes(fields),
});
const strange = (fields: Partial<AuthorizationFields> = {}, name = 'shop/p') => ({
  name,
  version: 'v9',
  value: Buffer.concat([policyBytes(fields), later]),
});
/** Scope is field 3. */
const strangeScope = { name: 'shop/p', value: Buffer.concat([policyBytes(), Uint8Array.of(0x18, 7)]) };
const broken = (name: string) => ({ name, value: Uint8Array.of(0xff) });

describe('a policy that was never understood refuses', () => {
  const everybody = ['UNKNOWN_POLICY', 'UNKNOWN_POLICY'];
  const namespace = ['UNKNOWN_POLICY', 'NONE'];
  const cases = [
    ['the mesh, where that is its scope', strange({ scope: 'GLOBAL' }), everybody],
    ['its namespace, where that is its scope', strange({ scope: 'NAMESPACE' }), namespace],
    ['who names it, where a selector is its scope', strange({ scope: 'WORKLOAD_SELECTOR' }), namespace],
    ['the namespace in its name, where its scope is none', strangeScope, namespace],
    ['the namespace in its name, where nothing of it can be read', broken('shop/p'), namespace],
    [
      'the mesh, where nothing can be read and the name is of the root namespace',
      broken('istio-system/p'),
      everybody,
    ],
    ['the mesh, where not even the name has a namespace', broken('p'), everybody],
    [
      'the namespace in its name, where its own fields name another',
      strange({ scope: 'NAMESPACE', namespace: 'x' }),
      namespace,
    ],
    ['nobody, where nobody is to enforce it', strange({ scope: 'GLOBAL', dryRun: true }), ['NONE', 'NONE']],
  ] as const;
  for (const [whom, sent, expected] of cases) {
    it(whom, async () => {
      const client = await start();
      const stream = await opened();
      const answer = await stream.ask(authorizationType, [sent]);
      expect(answer.errorDetail?.message).toContain(sent.name);
      expect(reasonsNow()).toEqual(expected);
      expect(client.status.rejected).toEqual([
        expect.objectContaining({ name: sent.name, refuses: expect.any(String) }),
      ]);
      // Under the name it was sent with, whatever its own fields say.
      await stream.ask(authorizationType, [], [sent.name, 'shop/p']);
      expect(reasonsNow()).toEqual(['NONE', 'NONE']);
      expect(client.status.rejected).toEqual([]);
    });
  }

  it('not the workloads of another selector', async () => {
    await start();
    const stream = await opened();
    await stream.ask(authorizationType, [
      strange({ scope: 'WORKLOAD_SELECTOR', name: 'q' }, 'shop/q'),
      good(),
    ]);
    expect(reasonsNow()).toEqual(['NONE', 'NONE']);
  });
});

describe('the refusal of a policy that was never understood', () => {
  it('names the policy, whom it is for and why', async () => {
    await start();
    const stream = await opened();
    await stream.ask(authorizationType, [strange({ scope: 'NAMESPACE' })]);
    const { policy, explanation } = verdictOn(a);
    expect(policy).toEqual({ name: 'shop/p', rule: undefined });
    expect(explanation.at(-1)).toMatch(
      /policy shop\/p, for all workloads of namespace shop, is not understood here \(field number 99 .*\): refused/,
    );
  });

  it('ends with a version that is understood, and then the last good version stays', async () => {
    const client = await start();
    const stream = await opened();
    await stream.ask(authorizationType, [strange({ scope: 'GLOBAL' })]);
    await stream.ask(authorizationType, [good({ scope: 'NAMESPACE' })]);
    expect(reasonsNow()).toEqual(['NONE', 'NONE']);
    await stream.ask(authorizationType, [strange({ scope: 'GLOBAL' })]);
    expect(reasonsNow()).toEqual(['NONE', 'NONE']);
    expect(client.status.rejected[0]).toMatchObject({ name: 'shop/p', version: 'v9' });
    expect(client.status.rejected[0]?.refuses).toBeUndefined();
  });

  it('follows the scope of the newest version, while none is understood', async () => {
    const client = await start();
    const stream = await opened();
    await stream.ask(authorizationType, [strange({ scope: 'GLOBAL' })]);
    await stream.ask(authorizationType, [strange({ scope: 'NAMESPACE' })]);
    expect(reasonsNow()).toEqual(['UNKNOWN_POLICY', 'NONE']);
    expect(client.status.rejected[0]?.refuses).toBe('all workloads of namespace shop');
  });

  it('holds also when the good version was removed in the same response', async () => {
    await start();
    const stream = await opened();
    await stream.ask(authorizationType, [good()]);
    await stream.ask(authorizationType, [strange({ scope: 'NAMESPACE' })], ['shop/p']);
    expect(reasonsNow()).toEqual(['UNKNOWN_POLICY', 'NONE']);
  });

  it('is asked for again with each stream, and outlasts a restart of the agent with its reason', async () => {
    const directory = temporaryDirectory();
    const disk = new KeptState(directory, silentLogger, 1);
    const first = await start(disk);
    const stream = await opened();
    await stream.ask(authorizationType, [strange({ scope: 'GLOBAL' })]);
    await first.close();
    await disk.close();
    mesh = emptySnapshot;

    const again = new KeptState(directory, silentLogger, 1);
    const second = await start(again);
    expect(reasonsNow()).toEqual(['UNKNOWN_POLICY', 'UNKNOWN_POLICY']);
    expect(second.status.rejected).toEqual([
      expect.objectContaining({
        name: 'shop/p',
        reason: expect.stringContaining('99'),
        refuses: 'all workloads',
      }),
    ]);
    const next = await server.stream(1);
    // An agent that understands more than the one before must be told again.
    expect((await next.request()).initialResourceVersions).toEqual(new Map([['shop/p', '']]));
    await next.request();
    await next.ask(authorizationType, [good({ scope: 'NAMESPACE' })]);
    expect(reasonsNow()).toEqual(['NONE', 'NONE']);
    expect(second.status.rejected).toEqual([]);
    await second.close();
    await again.close();
  });

  it('ends when it was removed while the agent was away', async () => {
    await start();
    const stream = await opened();
    await stream.ask(authorizationType, [strange({ scope: 'GLOBAL' })]);
    stream.end();
    const next = await opened(1);
    await next.ask(authorizationType, [], ['shop/p']);
    expect([...mesh.policies.keys()].map(String)).toEqual([]);
    expect(reasonsNow()).toEqual(['NONE', 'NONE']);
  });
});

it('a policy has its name, and one without a namespace has it too', () => {
  expect(policyKey({ namespace: 'shop', name: 'p' })).toBe('shop/p');
  expect(policyKey({ namespace: '', name: 'p' })).toBe('p');
});
