/**
 * The table of policy cases on real connections, over each way into a pod. A seeded part of it in `npm test`, which tells its seed;
 * all of it with HADAL_LONG=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConnectionEntry } from '../../src/telemetry/connection-entry.ts';
import { policyCases } from '../fixtures/policy-cases/all.ts';
import type { CaseVerdict, PolicyCase } from '../fixtures/policy-cases/policy-case.ts';
import type { CallerName } from '../fixtures/policy-cases/world.ts';
import { agentOf, sumOf } from './observe.ts';
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

interface Trial {
  readonly given: PolicyCase;
  readonly way: Way;
  readonly verdict: CaseVerdict;
}

interface Attempt extends Omit<Outcome, 'reason'> {
  readonly error: string;
  readonly node: string;
  /** Address and port of the caller. */
  readonly key: string;
}

function reasonBy(way: Way, verdict: CaseVerdict): string {
  if (way === 'direct') return `${reasonOf[verdict]} by node_local`;
  return way === 'connect' && verdict !== 'allowed' ? 'EACCES' : reasonOf[verdict];
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
    const past = new Map<CallerName, Dialer>();
    const inside = new Map<CallerName, Dialer>();
    /** As programs saw them. */
    let refusals = 0;
    let certificates: ReadonlyMap<CallerName, string>;
    let state: PolicyState;

    beforeAll(async () => {
      for (const caller of callers) {
        past.set(caller, new Dialer(world.lab, caller, 'past its capture'));
        inside.set(caller, new Dialer(world.lab, caller, 'as the pod'));
      }
      certificates = await writeCertificates(world.lab);
      state = new PolicyState(world.lab);
    });
    afterAll(() => {
      for (const dialer of [...past.values(), ...inside.values()]) dialer.stop();
    });

    function dialerOf(from: CallerName, way: Way): Dialer {
      const dialer = (way === 'hbone' || way === 'plaintext' ? past : inside).get(from);
      if (dialer === undefined) throw new Error(`no dialer for ${from}`);
      return dialer;
    }

    async function connect({ given, way, verdict }: Trial): Promise<Attempt> {
      const { from, to, family, port } = given.connection;
      const { v4, v6, node } = world.lab.pod(to);
      const certificate = way === 'hbone' ? certificates.get(from) : undefined;
      const address = family === 4 ? v4 : v6;
      const dialer = dialerOf(from, way);
      const dial = async () => {
        const dialled = await dialer.call({
          address,
          port,
          ...(certificate !== undefined && { certificate }),
        });
        if (dialled.error === 'EACCES') refusals++;
        return dialled;
      };
      let result = await dial();
      // The first asks the agent; what it answers is then the kernel's.
      const isKnown = () => way === 'connect' && (verdict === 'allowed' || result.error === 'EACCES');
      for (
        let more = { connect: 40, direct: 3, hbone: 0, plaintext: 0 }[way];
        more > 0 && !isKnown();
        more--
      ) {
        await sleep(25);
        result = await dial();
      }
      const { greeted, localPort, error } = result;
      const source = world.lab.pod(from)[family === 4 ? 'v4' : 'v6'];
      return { name: given.name, way, greeted, error, node, key: `${source} ${localPort}` };
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
        if (error === 'EACCES') return { name, way, greeted, reason: error };
        const { reason = `nothing told: ${error}`, path = '' } = entries.get(`${node} ${key}`) ?? {};
        // So the kernel says that nothing went wrong.
        const said = reason === 'authorized' ? 'none' : reason;
        return { name, way, greeted, reason: way === 'direct' ? `${said} by ${path}` : said };
      });
    }

    /** The kernel tells of a connect() that it refuses by counting. */
    async function refusedAtConnect() {
      const count = async (reason: string) => {
        const ofNodes = world.lab.nodes.map(({ name }) =>
          sumOf(world.lab, name, 'hadal_kernel_decisions_total', { reason }),
        );
        return (await Promise.all(ofNodes)).reduce((sum, each) => sum + each, 0);
      };
      return {
        policy_denied: await count('policy_denied'),
        policy_not_allowed: await count('policy_not_allowed'),
      };
    }

    it('comes in, or does not, over each way as the table says, for the reason it says', async () => {
      const all = situationsOf(policyCases(addressesOf(world.lab)).filter(canBeWritten));
      const attempts: Attempt[] = [];
      const expected: Outcome[] = [];
      const refused = { policy_denied: 0, policy_not_allowed: 0 };
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
        attempts.push(...(await Promise.all(calls.map(connect))));
        for (const { given, way, verdict } of calls) {
          const reason = reasonBy(way, verdict);
          expected.push({ name: given.name, way, greeted: verdict === 'allowed', reason });
          if (reason === 'EACCES') refused[verdict === 'denied' ? 'policy_denied' : 'policy_not_allowed']++;
        }
      }
      const outcomes = await told(attempts);
      const atConnect = await refusedAtConnect();
      const count = (way: Way) => expected.filter((each) => each.way === way).length;
      console.log(
        `policy cases on real connections: ${ways.map((way) => `${count(way)} ${way}`).join(', ')}, seed ${seed}`,
      );
      expect(outcomes).toEqual(expected);
      expect(atConnect.policy_denied).toBeGreaterThanOrEqual(refused.policy_denied);
      expect(atConnect.policy_not_allowed).toBeGreaterThanOrEqual(refused.policy_not_allowed);
      expect(atConnect.policy_denied + atConnect.policy_not_allowed).toBe(refusals);
    }, 300_000);
  },
);
