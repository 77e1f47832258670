import { type IpAddress, parseAddress } from '../model/address.ts';
import { parseAuthority } from '../model/authority.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { parseSpiffeId, type SpiffeId } from '../model/spiffe-id.ts';
import type { Workload } from '../model/workload.ts';
import { evaluate, type PolicyVerdict } from '../policy/evaluate.ts';
import { explain } from '../policy/explain.ts';
import { formatBaggage } from './baggage.ts';
import { enrolledWorkload } from './enrolled-workload.ts';
import type { InboundContext } from './inbound-context.ts';
import { inboundLabels, meantService } from './inbound-labels.ts';
import { type InboundTarget, resolveInboundTarget } from './inbound-target.ts';
import type { InboundJudgement, InboundQuestion, JudgementSettings } from './judgement.ts';
import { createLabels, partyOfWorkload } from './labels.ts';
import { Trace } from './trace.ts';

/** May this connection enter the pod, and where is it delivered? Pure. */
export function judgeInbound(
  snapshot: MeshSnapshot,
  question: InboundQuestion,
  settings: JudgementSettings,
): InboundJudgement {
  const trace = new Trace();
  const found = enrolledWorkload(snapshot, trace, question.destination);
  if (found.workload === undefined) {
    return refuse(trace, undefined, { reason: found.reason, status: 503 });
  }
  const peer = checkPeer(trace, question, found.workload, settings);
  if ('status' in peer) {
    return refuse(trace, found.workload, peer);
  }
  const context = createContext(snapshot, question, settings, trace, {
    destination: found.workload,
    ...peer,
  });
  const target = resolve(context);
  if ('status' in target) {
    return refuse(trace, found.workload, target);
  }
  const facts = {
    identity: peer.identity,
    sourceAddress: peer.peerAddress,
    destinationAddress: target.address,
    destinationPort: target.port,
  };
  const verdict = evaluate(snapshot, found.workload, facts);
  trace.depend(...verdict.dependencies);
  trace.later(() => explain(verdict, facts));
  return conclude(context, target, verdict);
}

interface Refusal {
  readonly reason: number;
  readonly status: 400 | 401 | 503;
}

interface Peer {
  readonly identity: SpiffeId | undefined;
  readonly peerAddress: IpAddress;
}

/** Native has checked the certificate already; a peer that it should not have let through is refused here again. */
function checkPeer(
  trace: Trace,
  question: InboundQuestion,
  destination: Workload,
  settings: JudgementSettings,
): Peer | Refusal {
  const peerAddress = parseAddress(question.peerAddress);
  if (peerAddress === undefined) {
    trace.step(`the peer's address ${JSON.stringify(question.peerAddress)} is none`);
    return { reason: reasons.INTERNAL, status: 503 };
  }
  if (question.channel === 'plaintext') {
    trace.step(`${peerAddress.text} comes in the clear, so without identity`);
    return { identity: undefined, peerAddress };
  }
  const identity = parseSpiffeId(question.peerIdentity);
  if (identity === undefined) {
    trace.step(`the peer ${JSON.stringify(question.peerIdentity)} is not a SPIFFE id of a workload`);
    return { reason: reasons.PEER_IDENTITY, status: 401 };
  }
  const trusted = [destination.trustDomain, ...settings.trustDomains];
  if (!trusted.includes(identity.trustDomain)) {
    trace.step(`trust domain ${identity.trustDomain} of the peer is none of ${trusted.join(', ')}`);
    return { reason: reasons.TRUST_DOMAIN, status: 401 };
  }
  const way = question.channel === 'direct' ? 'from a pod of this node' : 'by a tunnel';
  trace.step(`${question.peerIdentity} comes from ${peerAddress.text} ${way}`);
  return { identity, peerAddress };
}

function createContext(
  snapshot: MeshSnapshot,
  question: InboundQuestion,
  settings: JudgementSettings,
  trace: Trace,
  known: Peer & { readonly destination: Workload },
): InboundContext {
  const own = [...question.destination.addresses, ...known.destination.addresses].flatMap(
    (text) => parseAddress(text) ?? [],
  );
  return { snapshot, question, settings, trace, ...known, ownAddresses: own };
}

function resolve(context: InboundContext): InboundTarget | Refusal {
  const { question, trace } = context;
  const authority = parseAuthority(question.authority);
  const isUsable = authority?.kind === 'address' || (authority !== undefined && question.channel === 'hbone');
  if (authority === undefined || !isUsable) {
    trace.step(`the authority ${JSON.stringify(question.authority)} is not host:port`);
    return { reason: reasons.BAD_AUTHORITY, status: 400 };
  }
  return resolveInboundTarget(context, authority);
}

function conclude(context: InboundContext, target: InboundTarget, verdict: PolicyVerdict): InboundJudgement {
  const { trace, question, destination } = context;
  const service = meantService(context, target);
  const isAllowed = verdict.reason === reasons.NONE;
  trace.step(
    isAllowed
      ? `delivered to ${target.loopback ? 'loopback' : target.address.text} port ${target.port}`
      : refusalText(verdict.reason),
  );
  return Object.freeze({
    kind: 'inbound',
    reason: verdict.reason,
    status: isAllowed ? 200 : 401,
    policy: verdict.policy,
    told: verdict.told,
    withDryRuns: verdict.withDryRuns,
    service: service === undefined ? '' : serviceKey(service),
    upstreamAddress: target.address.text,
    upstreamPort: target.port,
    proxyProtocol: target.proxyProtocol,
    loopback: target.loopback,
    baggage: question.channel === 'hbone' ? formatBaggage(destination) : '',
    labels: inboundLabels(context, target, service),
    dependencies: trace.dependencies,
    // Most judgements become rows and are never read.
    get explanation() {
      return trace.explanation;
    },
  });
}

function refuse(
  trace: Trace,
  destination: Workload | undefined,
  { reason, status }: Refusal,
): InboundJudgement {
  trace.step(refusalText(reason));
  return Object.freeze({
    kind: 'inbound',
    reason,
    status,
    policy: undefined,
    told: [],
    withDryRuns: undefined,
    service: '',
    upstreamAddress: '',
    upstreamPort: 0,
    proxyProtocol: undefined,
    loopback: false,
    baggage: '',
    labels: createLabels({
      reporter: 'destination',
      source: undefined,
      destination: destination === undefined ? undefined : partyOfWorkload(destination),
      service: undefined,
      mutualTls: undefined,
    }),
    dependencies: trace.dependencies,
    explanation: trace.explanation,
  });
}

function refusalText(reason: number): string {
  return `refused: ${reasonDetails.get(reason)?.text}`;
}
