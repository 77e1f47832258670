/**
 * By which ways a case of the policy table can come in, and what is to become of it there: told from the case's own data. Nothing
 * here asks an evaluator.
 */
import type { CaseVerdict, PolicyCase } from '../fixtures/policy-cases/policy-case.ts';
import { worldPods } from '../fixtures/policy-cases/world.ts';

/**
 * `hbone` and `plaintext` come in at the called pod. `connect`: as a process of the calling pod dials, who is refused where it can be
 * known already. `direct`: so dialled and let in, from socket to socket.
 */
export type Way = 'hbone' | 'plaintext' | 'connect' | 'direct';
export const ways: readonly Way[] = ['hbone', 'plaintext', 'connect', 'direct'];

/** In the words of metrics and `hadal connections`. */
export const reasonOf: Readonly<Record<CaseVerdict, string>> = {
  allowed: 'none',
  denied: 'policy_denied',
  'not allowed': 'policy_not_allowed',
  unknown: 'unknown_policy',
};

/** What is in force at once: the cases of one situation, which are one behind the other. */
export function situationsOf(cases: readonly PolicyCase[]): PolicyCase[][] {
  const groups: { key: string; cases: PolicyCase[] }[] = [];
  for (const each of cases) {
    const key = JSON.stringify([each.objects, each.policies, each.names]);
    const last = groups.at(-1);
    if (last?.key === key) last.cases.push(each);
    else groups.push({ key, cases: [each] });
  }
  return groups.map(({ cases: one }) => one);
}

/** The state file has no words for a policy that is not understood; only discovery brings one. */
export function canBeWritten({ policies }: PolicyCase): boolean {
  return policies.every(({ notUnderstood }) => notUnderstood === undefined);
}

const hasIdentity = ({ connection }: PolicyCase) => worldPods[connection.from].inMesh;

/** What becomes of the case by that way; undefined where the way has nothing of what the case is about. */
export function verdictBy(
  way: Way,
  given: PolicyCase,
  situation: readonly PolicyCase[],
): CaseVerdict | undefined {
  switch (way) {
    case 'hbone':
      return hasIdentity(given) ? given.verdict : undefined;
    case 'plaintext':
      return verdictInClear(given, situation);
    case 'connect':
      return isOfThisMesh(given) && given.verdict !== 'unknown' ? given.verdict : undefined;
    case 'direct':
      return canBeDirect(given) ? given.verdict : undefined;
  }
}

const isOfThisMesh = ({ connection: { from, to } }: PolicyCase) =>
  worldPods[from].inMesh && worldPods[from].trustDomain === worldPods[to].trustDomain;

/**
 * Who is refused is so before; who is to come by mutual TLS alone comes by a tunnel. So does, over IPv6, who is let in by the address: a
 * pod has a link-local one besides, which it could come from as well.
 */
function canBeDirect(given: PolicyCase): boolean {
  const { from, to, family } = given.connection;
  if (family === 6 && asksForSource(given)) return false;
  return (
    isOfThisMesh(given) &&
    given.verdict === 'allowed' &&
    worldPods[from].node === worldPods[to].node &&
    !mentions(given, /STRICT/)
  );
}

/**
 * In clear nobody has an identity: where the policies ask for none, the case stands as it is; where they do, whoever has an identity
 * elsewhere is here like one who has none, which another case of the situation may tell.
 */
function verdictInClear(given: PolicyCase, situation: readonly PolicyCase[]): CaseVerdict | undefined {
  if (!hasIdentity(given) || !asksForIdentity(given)) return given.verdict;
  if (asksForSource(given)) return undefined;
  const { to, port, family } = given.connection;
  return situation.find(
    (other) =>
      !hasIdentity(other) &&
      other.connection.to === to &&
      other.connection.port === port &&
      (other.connection.family === family || !asksForAddress(given)),
  )?.verdict;
}

const mentions = (given: PolicyCase, words: RegExp) =>
  words.test(JSON.stringify([given.objects, given.policies]));
const asksForIdentity = (given: PolicyCase) =>
  mentions(given, /principals|namespaces|serviceAccounts|source\.(principal|namespace)|PeerAuthentication/i);
const asksForSource = (given: PolicyCase) => mentions(given, /ipBlocks|sourceIps|source\.ip|remote/i);
const asksForAddress = (given: PolicyCase) => mentions(given, /destination\.ip|destinationIps/i);
