/** Destinations that let nothing of the source in: known before anything is sent, so connect() itself can fail. */
import { parseAuthority } from '../model/authority.ts';
import { reasons } from '../model/reasons.gen.ts';
import { parseSpiffeId } from '../model/spiffe-id.ts';
import { workloadIdentity } from '../model/workload.ts';
import { evaluate, type PolicyVerdict } from '../policy/evaluate.ts';
import { explain } from '../policy/explain.ts';
import type { ConnectionFacts } from '../policy/match.ts';
import type { JudgedEndpoint, RefusingEndpoint } from './judgement.ts';
import type { OutboundContext } from './outbound-context.ts';
import { sourceAddressesTowards } from './source-addresses.ts';

/** What is not known here is left to the destination, which may know it. */
const certain: ReadonlySet<number> = new Set([reasons.POLICY_DENIED, reasons.POLICY_NOT_ALLOWED]);

interface Heard {
  readonly facts: ConnectionFacts;
  readonly verdict: PolicyVerdict;
}

/**
 * The endpoints with the verdicts of their policies, if every one refuses, from whichever address of the source; else none:
 * where they differ each answers for itself. The first that would let the source in ends it, so this costs what one endpoint does.
 */
export function refusingEndpoints(
  context: OutboundContext,
  endpoints: readonly JudgedEndpoint[],
): readonly RefusingEndpoint[] {
  const refusing: RefusingEndpoint[] = [];
  let first: Heard | undefined;
  for (const endpoint of endpoints) {
    const heard = refusalOf(context, endpoint);
    if (heard === undefined) return [];
    first ??= heard;
    const { reason, policy, told, withDryRuns } = heard.verdict;
    const peer = {
      peerIdentity: workloadIdentity(context.source),
      peerAddress: heard.facts.sourceAddress.text,
    };
    const outcome = Object.freeze({ reason, policy, told, withDryRuns });
    refusing.push(Object.freeze({ endpoint, outcome, peer }));
  }
  const heard = first;
  if (heard !== undefined) context.trace.later(() => explain(heard.verdict, heard.facts));
  return Object.freeze(refusing);
}

/** Undefined: it is let in, or somebody else decides, or knows better. */
function refusalOf(context: OutboundContext, endpoint: JudgedEndpoint): Heard | undefined {
  const { snapshot, trace, source } = context;
  const workload = snapshot.workloads.get(endpoint.workloadUid);
  const to = parseAuthority(endpoint.authority);
  const identity = parseSpiffeId(workloadIdentity(source));
  if (endpoint.via !== 'endpoint' || endpoint.path !== 'tunnel' || workload === undefined) return undefined;
  // Its own end of the tunnel judges, or judgement is of a port that follows from it.
  if (workload.nativeTunnel || workload.applicationTunnel !== undefined) return undefined;
  if (to?.kind !== 'address' || identity === undefined) return undefined;
  const heard = sourceAddressesTowards(context, to.address.text).map((sourceAddress) => {
    const facts = { identity, sourceAddress, destinationAddress: to.address, destinationPort: to.port };
    return { facts, verdict: evaluate(snapshot, workload, facts) };
  });
  for (const { verdict } of heard) trace.depend(...verdict.dependencies);
  return heard.every(({ verdict }) => certain.has(verdict.reason)) ? heard[0] : undefined;
}
