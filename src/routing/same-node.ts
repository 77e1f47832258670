/**
 * Whether a connection between two pods of one node may go without a tunnel: from socket to socket, by the kernel, which knows
 * both pods by their network namespaces. The destination is asked as for any other way in.
 */
import { parseAddress } from '../model/address.ts';
import { formatAuthority } from '../model/authority.ts';
import { dependency } from '../model/diff.ts';
import { meshSettingsKey, meshSettingsOf } from '../model/mesh-settings.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import { type SameNodeMode, sameNodeWish } from '../model/same-node.ts';
import type { Service } from '../model/service.ts';
import { type Workload, workloadIdentity } from '../model/workload.ts';
import { mutualTlsDemand } from '../policy/mutual-tls.ts';
import { judgeInbound } from './inbound.ts';
import type { EnrolledPod, InboundJudgement, JudgedSameNode, LocalNode } from './judgement.ts';
import { createLabels, partyOfWorkload } from './labels.ts';
import type { OutboundContext } from './outbound-context.ts';
import { sourceAddressesTowards } from './source-addresses.ts';

/** A port of a workload, and the service that led there. */
export interface SameNodeTarget {
  readonly workload: Workload;
  readonly service: Service | undefined;
  readonly address: string;
  readonly port: number;
}

/** Undefined when it needs the tunnel; the trace says why, of pods on this node. */
export function judgeSameNode(context: OutboundContext, target: SameNodeTarget): JudgedSameNode | undefined {
  const { settings, trace, local } = context;
  const { workload } = target;
  if (local === undefined || settings.node === '' || workload.node !== settings.node) return undefined;
  trace.depend(dependency.localPod(workload.uid), dependency.sameNodePath);
  const pod = local.pod(workload.uid);
  const obstacle = obstacleBetween(context, local, pod, target) ?? modeObstacle(context, pod, target);
  if (obstacle !== undefined || pod === undefined) {
    trace.step(`${workload.uid} is on this node; it is reached by the tunnel all the same: ${obstacle}`);
    return undefined;
  }
  return ofDestination(context, pod, target);
}

/** What the two pods and the node themselves have against it. */
function obstacleBetween(
  { address: asked, source }: OutboundContext,
  local: LocalNode,
  pod: EnrolledPod | undefined,
  { workload, address }: SameNodeTarget,
): string | undefined {
  if (workload.nativeTunnel) return 'it ends tunnels itself';
  if (workload.applicationTunnel !== undefined) return 'it wants to be handed connections by its agent';
  if (pod === undefined) return 'the agent does not carry it';
  if (local.pod(source.uid) === undefined) return 'the agent does not carry the source';
  if (!pod.addresses.includes(address)) return `its network namespace does not have ${address}`;
  if (parseAddress(address)?.family !== asked.family)
    return 'its address is of another family than the one asked for';
  if (local.path === 'leaves') return 'traffic between pods of this node leaves the node (path_leaves_node)';
  return local.path === 'stays'
    ? undefined
    : 'whether traffic between pods stays on this node is not known yet';
}

/** The first that says something counts: the workload, its namespace, the mesh, the agent; `tunnel` of the source always. */
export function modeObstacle(
  context: OutboundContext,
  pod: EnrolledPod | undefined,
  target: SameNodeTarget,
): string | undefined {
  const { source } = context;
  const ofSource = sameNodeWish(source);
  if ((ofSource?.mode ?? context.sourceSameNode) === 'tunnel') {
    return `hadal.io/same-node of the source${ofSource?.from === 'namespace' ? "'s namespace" : ''} is tunnel`;
  }
  const said = saidOf(context, pod, target.workload);
  if (said !== undefined)
    return said.mode === 'tunnel' ? `hadal.io/same-node of ${said.who} is tunnel` : undefined;
  const strict = demandOf(context, target);
  return strict === undefined
    ? undefined
    : `it requires mutual TLS (${strict}), and nobody says hadal.io/same-node: direct`;
}

function saidOf(
  { snapshot, settings, trace }: OutboundContext,
  pod: EnrolledPod | undefined,
  workload: Workload,
): { readonly mode: SameNodeMode; readonly who: string } | undefined {
  const wish = sameNodeWish(workload);
  if (wish?.from === 'workload') return { mode: wish.mode, who: 'the workload' };
  if (pod?.sameNode !== undefined) return { mode: pod.sameNode, who: 'the pod' };
  if (wish !== undefined) return { mode: wish.mode, who: 'its namespace' };
  trace.depend(dependency.service(meshSettingsKey));
  const ofMesh = meshSettingsOf(snapshot.services.get(meshSettingsKey)).sameNode;
  if (ofMesh !== undefined) return { mode: ofMesh, who: 'the mesh' };
  return settings.sameNode === undefined
    ? undefined
    : { mode: settings.sameNode, who: 'the agent (HADAL_SAME_NODE)' };
}

/** The policy by which the port requires mutual TLS. */
function demandOf(context: OutboundContext, { workload, address, port }: SameNodeTarget): string | undefined {
  const destinationAddress = parseAddress(address);
  const { trace, snapshot } = context;
  for (const sourceAddress of sourceAddressesTowards(context, address)) {
    if (destinationAddress === undefined) continue;
    const facts = { sourceAddress, destinationAddress, destinationPort: port };
    const { policy, dependencies } = mutualTlsDemand(snapshot, workload, facts);
    trace.depend(...dependencies);
    if (policy !== undefined) return policy;
  }
  return undefined;
}

/** The destination's own judgement, for each address that the source may come from: only if it is always the same. */
function ofDestination(
  context: OutboundContext,
  pod: EnrolledPod,
  target: SameNodeTarget,
): JudgedSameNode | undefined {
  const { trace } = context;
  const { workload, service, address, port } = target;
  const peers = sourceAddressesTowards(context, address);
  const judgements = peers.map((from) => inboundFrom(context, pod, target, from.text));
  for (const { dependencies } of judgements) trace.depend(...dependencies);
  const [first] = judgements;
  const refusal = judgements.find(({ reason }) => reason !== reasons.NONE);
  if (first === undefined || refusal !== undefined) {
    const why =
      refusal === undefined
        ? 'the source has no address of that family'
        : `not from all addresses of the source would it be let in (${reasonDetails.get(refusal.reason)?.text})`;
    trace.step(`${workload.uid} is on this node; it is not connected directly: ${why}`);
    return undefined;
  }
  trace.step(
    `${workload.uid} is on this node and lets the source in: the kernel connects it with ${formatAuthority(address, port)} directly`,
  );
  const labels = createLabels({
    reporter: 'source',
    source: context.sourceParty,
    destination: partyOfWorkload(workload),
    service,
    mutualTls: undefined,
    nodeLocal: { source: workloadIdentity(context.source), destination: workloadIdentity(workload) },
  });
  const peer = { peerIdentity: workloadIdentity(context.source), peerAddress: peers[0]?.text ?? '' };
  return Object.freeze({ address, port, labels, inbound: first, peer });
}

function inboundFrom(
  { snapshot, settings, source }: OutboundContext,
  destination: EnrolledPod,
  { service, address, port }: SameNodeTarget,
  peerAddress: string,
): InboundJudgement {
  const question = {
    destination,
    channel: 'direct' as const,
    peerIdentity: workloadIdentity(source),
    peerAddress,
    authority: formatAuthority(address, port),
    forwardedHost: service?.hostname ?? '',
    baggage: '',
    forwardedNetwork: '',
  };
  return judgeInbound(snapshot, question, settings);
}
