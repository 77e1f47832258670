import type { Logger } from '../base/logger.ts';
import type { PodSocket, PodSockets } from '../kernel/sockets.ts';
import { isLocalOnly, parseAddress } from '../model/address.ts';
import { formatAuthority } from '../model/authority.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { NativeNet } from '../native/types.ts';
import type { EnrolledPod } from '../routing/judgement.ts';
import type { Judge } from '../tunnel/decision-tables.ts';

export interface OlderConnectionsParts {
  readonly native: Pick<NativeNet, 'tcpSockets'>;
  readonly sockets: Pick<PodSockets, 'list' | 'destroy'>;
  readonly judge: Pick<Judge, 'inbound'>;
  readonly snapshot: () => MeshSnapshot;
  readonly network: string;
  readonly logger: Logger;
}

export interface ReviewedPod extends EnrolledPod {
  readonly netnsFd: number;
  /** No policy holds for plain connections into it. */
  readonly bypassesInbound: boolean;
}

const listening = 10;

/** Refusals that say only that the state has not arrived: no reason to end what works. */
const undecided: ReadonlySet<number> = new Set([reasons.UNKNOWN_WORKLOAD, reasons.UNKNOWN_POLICY]);

/**
 * Connections that were open before the pod was enrolled came in the clear and nobody judged them. They are judged now, as
 * plaintext without identity, by the policies of whichever end is in the mesh; those refused are destroyed.
 */
export class OlderConnections {
  readonly #parts: OlderConnectionsParts;
  #destroyed = 0;

  constructor(parts: OlderConnectionsParts) {
    this.#parts = parts;
  }

  get destroyed(): number {
    return this.#destroyed;
  }

  /** Whether the mesh state knows the pod already, so that its connections can be judged. */
  canReview(pod: EnrolledPod): boolean {
    return this.#parts.snapshot().workloads.has(pod.uid);
  }

  /**
   * Judges them all and destroys those refused; returns how many. `untouched`: also those that the capture let in and nobody
   * judged. A probe of the kubelet may be among them; it comes again.
   */
  review(pod: ReviewedPod, { untouched }: { readonly untouched: boolean } = { untouched: false }): number {
    const { native, sockets, logger } = this.#parts;
    const open = sockets
      .list(pod.netnsFd)
      .filter(({ seenAs }) => seenAs === 'older' || (untouched && seenAs === 'untouched'))
      .filter(leavesPod);
    if (open.length === 0) return 0;
    const served = new Set(
      native
        .tcpSockets(pod.netnsFd)
        .flatMap(({ state, localPort }) => (state === listening ? [localPort] : [])),
    );
    const refused = open.flatMap((socket) => {
      const reason = served.has(socket.localPort)
        ? this.#judgeInbound(pod, socket)
        : socket.seenAs === 'older'
          ? this.#judgeOutbound(socket)
          : reasons.NONE;
      return reason === reasons.NONE || undecided.has(reason) ? [] : [{ socket, reason }];
    });
    const destroyed = sockets.destroy(
      pod.netnsFd,
      refused.map(({ socket }) => socket.cookie),
    );
    this.#destroyed += destroyed;
    for (const { socket, reason } of refused) {
      const { localAddress, localPort, remoteAddress, remotePort } = socket;
      const why = reasonDetails.get(reason)?.text;
      logger.info(
        {
          pod: pod.uid,
          local: formatAuthority(localAddress, localPort),
          remote: formatAuthority(remoteAddress, remotePort),
          why,
        },
        'connection older than the enrolment destroyed',
      );
    }
    return destroyed;
  }

  #judgeInbound(destination: ReviewedPod, socket: PodSocket): number {
    if (destination.bypassesInbound) return reasons.NONE;
    return this.#judge(destination, socket.remoteAddress, socket.localAddress, socket.localPort);
  }

  /** The other end decides; what it is not known to refuse goes on. */
  #judgeOutbound(socket: PodSocket): number {
    const [workload] = this.#parts.snapshot().workloadsAt(this.#parts.network, socket.remoteAddress);
    if (workload === undefined) return reasons.NONE;
    const { uid, namespace, serviceAccount, addresses } = workload;
    const destination = { uid, namespace, serviceAccount, addresses };
    return this.#judge(destination, socket.localAddress, socket.remoteAddress, socket.remotePort);
  }

  #judge(destination: EnrolledPod, peerAddress: string, address: string, port: number): number {
    const { judge, snapshot } = this.#parts;
    return judge.inbound(snapshot(), {
      destination,
      channel: 'plaintext',
      peerIdentity: '',
      peerAddress,
      authority: formatAuthority(address, port),
      forwardedHost: '',
      baggage: '',
      forwardedNetwork: '',
    }).reason;
  }
}

function leavesPod({ localAddress, remoteAddress }: PodSocket): boolean {
  const remote = parseAddress(remoteAddress);
  return remote !== undefined && !isLocalOnly(remote) && remoteAddress !== localAddress;
}
