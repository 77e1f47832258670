import { parseAddress } from '../model/address.ts';
import { formatAuthority } from '../model/authority.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { judgeInbound } from './inbound.ts';
import type { EnrolledPod, JudgementSettings, LocalNode } from './judgement.ts';
import { partyOfWorkload } from './labels.ts';
import { endsOpenConnections } from './open-connections.ts';
import { modeObstacle } from './same-node.ts';
import { Trace } from './trace.ts';

/** A connection that goes from pod to pod of one node by the kernel alone. */
export interface OpenDirectQuestion {
  /** Missing: it is none of this node's pods any more, so nobody attests who it is. */
  readonly source?: {
    readonly pod: EnrolledPod;
    /** SPIFFE id, as the kernel attests it. */
    readonly identity: string;
  };
  readonly destination: EnrolledPod;
  readonly peerAddress: string;
  /** Of the destination pod. */
  readonly address: string;
  readonly port: number;
}

/**
 * Why an open direct connection must end, or NONE: its destination would not let it in any more, or not without a tunnel.
 * That a new one could not be made, since the destination is not ready, say, is no reason.
 */
export function judgeOpenDirect(
  snapshot: MeshSnapshot,
  question: OpenDirectQuestion,
  settings: JudgementSettings,
  local: LocalNode,
): number {
  const { source, destination, peerAddress, address, port } = question;
  const { reason } = judgeInbound(
    snapshot,
    {
      destination,
      channel: source === undefined ? 'plaintext' : 'direct',
      peerIdentity: source?.identity ?? '',
      peerAddress,
      authority: formatAuthority(address, port),
      forwardedHost: '',
      baggage: '',
      forwardedNetwork: '',
    },
    settings,
  );
  if (endsOpenConnections(reason)) return reason;
  // Who left the mesh has no tunnel to take.
  if (source === undefined) return reasons.NONE;
  return needsTunnel(snapshot, source.pod, question, settings, local)
    ? reasons.TUNNEL_REQUIRED
    : reasons.NONE;
}

function needsTunnel(
  snapshot: MeshSnapshot,
  pod: EnrolledPod,
  { destination, peerAddress, address: text, port }: OpenDirectQuestion,
  settings: JudgementSettings,
  local: LocalNode,
): boolean {
  if (local.path === 'leaves') return true;
  const source = snapshot.workloads.get(pod.uid);
  const workload = snapshot.workloads.get(destination.uid);
  const address = parseAddress(text);
  if (source === undefined || workload === undefined || address === undefined) return false;
  const context = {
    snapshot,
    settings,
    trace: new Trace(),
    source,
    sourceParty: partyOfWorkload(source),
    baggage: '',
    ownAddresses: new Set([peerAddress]),
    local,
    sourceSameNode: pod.sameNode,
    address,
    port,
  };
  const target = { workload, service: undefined, address: text, port };
  return modeObstacle(context, local.pod(destination.uid), target) !== undefined;
}
