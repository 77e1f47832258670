/**
 * The table of policy cases on real connections, over each way into a pod. A seeded part of it in `npm test`, which tells its seed;
 * all of it with HADAL_LONG=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import { policyCases } from '../fixtures/policy-cases/all.ts';
import type { PolicyCase } from '../fixtures/policy-cases/policy-case.ts';
import type { CallerName } from '../fixtures/policy-cases/world.ts';
import { agentOf } from './observe.ts';
import { canBeWritten, reasonOf, situationsOf, verdictBy, type Way, ways } from './policy-ways.ts';
import {
  addressesOf,
  callers,
  Dialer,
  PolicyState,
  policyManifests,
  trustedBesides,
  writeCertificates,
} from './policy-world.ts';
import { describeInLab } from './world.ts';

const long = process.env.HADAL_LONG === '1';
const seed = Number(process.env.HADAL_SEED ?? Date.now() % 1_000_000);
const sampled = long ? Number.POSITIVE_INFINITY : 40;

/** One case by one way. */
interface Outcome {
  readonly name: string;
  readonly way: Way;
  readonly greeted: boolean;
  readonly reason: string;
}

interface Attempt extends Omit<Outcome, 'reason'> {
  readonly error: string;
  readonly node: string;
  /** Address and port of the caller. */
  readonly key: string;
}

/** A part of the list that the seed tells, in the list's order. */
function sample<T>(list: readonly T[], count: number): readonly T[] {
  let state = seed;
  const keyed = list.map((each, index) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + index + 1) | 0;
    return { each, index, key: state >>> 0 };
  });
  const chosen = keyed.sort((one, other) => one.key - other.key).slice(0, count);
  return chosen.sort((one, other) => one.index - other.index).map(({ each }) => each);
}

describeInLab(
  'the table of policy cases on real connections',
  { manifests: policyManifests, agentEnv: { HADAL_TRUST_DOMAIN_ALIASES: trustedBesides } },
  (world) => {
    const dialers = new Map<CallerName, Dialer>();
    let certificates: ReadonlyMap<CallerName, string>;
    let state: PolicyState;

    beforeAll(async () => {
      for (const caller of callers) dialers.set(caller, new Dialer(world.lab, caller, 'past its capture'));
      certificates = await writeCertificates(world.lab);
      state = new PolicyState(world.lab);
    });
    afterAll(() => {
      for (const dialer of dialers.values()) dialer.stop();
    });

    async function connect({ connection, name }: PolicyCase, way: Way): Promise<Attempt> {
      const { from, to, family, port } = connection;
      const { v4, v6, node } = world.lab.pod(to);
      const certificate = way === 'hbone' ? certificates.get(from) : undefined;
      const dialer = dialers.get(from);
      if (dialer === undefined) throw new Error(`no dialer for ${from}`);
      const { greeted, localPort, error } = await dialer.call({
        address: family === 4 ? v4 : v6,
        port,
        ...(certificate !== undefined && { certificate }),
      });
      const source = world.lab.pod(from)[family === 4 ? 'v4' : 'v6'];
      return { name, way, greeted, error, node, key: `${source} ${localPort}` };
    }

    /** What the agents of the called pods tell of each; records come in batches. */
    async function told(attempts: readonly Attempt[]): Promise<Outcome[]> {
      let entries: ReadonlyMap<string, ConnectionEntry> = new Map();
      const missing = () => attempts.filter(({ node, key }) => !entries.has(`${node} ${key}`)).length;
      for (const end = Date.now() + 5_000; missing() > 0 && Date.now() < end; await sleep(100)) {
        const ofNodes = await Promise.all(
          world.lab.nodes.map(async ({ name }) => {
            const { connections } = await agentOf(world.lab, name).connections();
            const inbound = connections.filter(({ direction }) => direction === 'inbound');
            return inbound.map(
              (entry) => [`${name} ${entry.source.address} ${entry.source.port}`, entry] as const,
            );
          }),
        );
        entries = new Map(ofNodes.flat());
      }
      return attempts.map(({ name, way, greeted, error, node, key }) => {
        const reason = entries.get(`${node} ${key}`)?.reason ?? `nothing told: ${error}`;
        return { name, way, greeted, reason };
      });
    }

    it('comes in, or does not, over each way as the table says, for the reason it says', async () => {
      const all = situationsOf(policyCases(addressesOf(world.lab)).filter(canBeWritten));
      const attempts: Attempt[] = [];
      const expected: Outcome[] = [];
      for (const situation of sample(all, sampled)) {
        const [first] = situation;
        if (first === undefined) continue;
        const calls = situation.flatMap((given) =>
          ways.flatMap((way) => {
            const verdict = verdictBy(way, given, situation);
            return verdict === undefined ? [] : [{ given, way, verdict }];
          }),
        );
        await state.become(first);
        attempts.push(...(await Promise.all(calls.map(({ given, way }) => connect(given, way)))));
        for (const { given, way, verdict } of calls)
          expected.push({ name: given.name, way, greeted: verdict === 'allowed', reason: reasonOf[verdict] });
      }
      const outcomes = await told(attempts);
      const count = (way: Way) => expected.filter((each) => each.way === way).length;
      console.log(
        `policy cases on real connections: ${ways.map((way) => `${count(way)} ${way}`).join(', ')}, seed ${seed}`,
      );
      expect(outcomes).toEqual(expected);
    }, 300_000);
  },
);
