/** The table of cases against the translation, the wire, the evaluator, and the naive evaluator of the tests. */
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/model/address.ts';
import type { Authorization } from '../../../src/model/authorization.ts';
import { reasonDetails } from '../../../src/model/reasons.gen.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { parseSpiffeId } from '../../../src/model/spiffe-id.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { evaluate } from '../../../src/policy/evaluate.ts';
import { authorizationPolicyObject } from '../../../src/source/kubernetes/authorization-policy.ts';
import type { KnownObject } from '../../../src/source/kubernetes/objects.ts';
import { peerAuthenticationObject } from '../../../src/source/kubernetes/peer-authentication.ts';
import { translateObjects } from '../../../src/source/translate/mesh.ts';
import { viewOf } from '../../../src/source/translate/object-view.ts';
import { policiesOf } from '../../../src/source/translate/workload-policies.ts';
import { decodeResource, encodeAuthorization } from '../../../src/xds/codec.ts';
import { authorizationType } from '../../../src/xds/type-urls.ts';
import { policyCases } from '../../fixtures/policy-cases/all.ts';
import type { CaseVerdict, Manifest, PolicyCase } from '../../fixtures/policy-cases/policy-case.ts';
import { plannedAddresses, principalOf, worldPods } from '../../fixtures/policy-cases/world.ts';
import { naiveVerdict } from './naive-evaluator.ts';

const addresses = plannedAddresses();
const cases = policyCases(addresses);

const verdicts: Readonly<Record<string, CaseVerdict>> = {
  NONE: 'allowed',
  POLICY_DENIED: 'denied',
  POLICY_NOT_ALLOWED: 'not allowed',
  UNKNOWN_POLICY: 'unknown',
};

function parse(manifest: Manifest): KnownObject {
  const { kind } = manifest;
  return kind === 'PeerAuthentication'
    ? peerAuthenticationObject.parse(manifest)
    : authorizationPolicyObject.parse(manifest);
}

/** What the agent of the called pod has, and what it is asked. */
function worldOf({ objects, policies, names, connection }: PolicyCase) {
  const { from, to, family, port } = connection;
  const parsed = objects.map(parse);
  const { namespace, labels } = worldPods[to];
  // A policy that the case itself brings is named only by pods of its own namespace.
  const own = names.filter((name) => name.startsWith(`${namespace}/`));
  const workload = createWorkload({
    uid: to,
    namespace,
    authorizationPolicies: [...policiesOf(viewOf(parsed), { namespace, labels }), ...own],
  });
  const all = [...translateObjects(parsed).policies, ...policies].map(sent);
  const text = (pod: typeof from | typeof to) => addresses.pods[pod][family === 4 ? 'v4' : 'v6'];
  const facts = { principal: principalOf(from), source: text(from), destination: text(to), port };
  return { workload, policies: all, facts };
}

/** As it comes from the wire, for one that was understood when it came. */
function sent(policy: Authorization): Authorization {
  if (policy.notUnderstood !== undefined) return policy;
  const decoded = decodeResource(authorizationType, encodeAuthorization(policy));
  if ('kind' in decoded && decoded.kind === 'policies') return decoded.value;
  throw new Error(`${policy.name} came back as ${JSON.stringify(decoded)}`);
}

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  return parsed;
}

describe('the table of policy cases', () => {
  it('is large, says every thing once, and has every verdict often', () => {
    expect(cases.length).toBeGreaterThan(200);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
    for (const verdict of Object.values(verdicts)) {
      expect(cases.filter((each) => each.verdict === verdict).length).toBeGreaterThan(8);
    }
  });

  it.each(cases)('$name', (given) => {
    const { workload, policies, facts } = worldOf(given);
    const verdict = evaluate(createSnapshot({ workloads: [], services: [], policies }), workload, {
      identity: facts.principal === undefined ? undefined : parseSpiffeId(`spiffe://${facts.principal}`),
      sourceAddress: address(facts.source),
      destinationAddress: address(facts.destination),
      destinationPort: facts.port,
    });
    const { name = '', rule } = verdict.policy ?? {};
    expect({
      verdict: verdicts[reasonDetails.get(verdict.reason)?.name ?? ''],
      decidedBy: rule === undefined ? name : `${name}#${rule + 1}`,
    }).toEqual({ verdict: given.verdict, decidedBy: given.decidedBy });
    expect(verdicts[naiveVerdict(policies, workload, facts).reason]).toBe(given.verdict);
  });
});
