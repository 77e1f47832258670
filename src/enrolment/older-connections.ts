import type { Logger } from '../base/logger.ts';
import { Slices } from '../base/slices.ts';
import type { PodSocket, PodSockets } from '../kernel/sockets.ts';
import { isLocalOnly, parseAddress } from '../model/address.ts';
import { formatAuthority } from '../model/authority.ts';
import { dependency, isAffected, type SnapshotDiff } from '../model/diff.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { NativeNet } from '../native/types.ts';
import type { EnrolledPod } from '../routing/judgement.ts';
import { endsOpenConnections } from '../routing/open-connections.ts';
import type { Judge } from '../tunnel/decision-options.ts';
import { DoomedSockets } from './doomed-sockets.ts';

export interface OlderConnectionsParts {
  readonly native: Pick<NativeNet, 'tcpSockets'>;
  readonly sockets: Pick<PodSockets, 'read' | 'destroy'>;
  readonly judge: Pick<Judge, 'inbound'>;
  readonly snapshot: () => MeshSnapshot;
  readonly network: string;
  readonly logger: Logger;
}

export interface ReviewedPod extends EnrolledPod {
  readonly podIndex: number;
  readonly netnsFd: number;
  /** Whether no policy holds for plain connections to this port of it. */
  isPastPolicy(port: number): boolean;
}

/** What is known of a pod that still has older connections. */
interface Known {
  /** Ports that its programs served when anybody looked: who called whom is not written on a connection. */
  readonly served: Set<number>;
  /** Of all judgements on them. */
  readonly dependencies: Set<string>;
  /** Also those are judged that the capture once let in past every policy. */
  readonly untouched: boolean;
}

type Verdict = Pick<ReturnType<Judge['inbound']>, 'reason' | 'dependencies'>;

/**
 * Connections that were open before the pod was enrolled came in the clear and nobody judged them. They are judged then, and
 * whenever what their judgement rests on changes, as plaintext without identity, by the policies of whichever end is in the mesh;
 * those refused are destroyed. What cannot be judged yet, since a policy or the pod itself is not known, goes on until it can.
 */
export class OlderConnections {
  readonly #parts: OlderConnectionsParts;
  readonly #known = new Map<number, Known>();
  #destroyed = 0;

  constructor(parts: OlderConnectionsParts) {
    this.#parts = parts;
  }

  get destroyed(): number {
    return this.#destroyed;
  }

  /** Whether the pod has older connections that the change may have made wrong. */
  isConcernedBy({ podIndex }: Pick<ReviewedPod, 'podIndex'>, diff: SnapshotDiff): boolean {
    const known = this.#known.get(podIndex);
    return known !== undefined && isAffected([...known.dependencies], diff);
  }

  forget({ podIndex }: Pick<ReviewedPod, 'podIndex'>): void {
    this.#known.delete(podIndex);
  }

  /**
   * Judges them all and destroys those refused; resolves with how many. `untouched`: from now on also those that the capture let in
   * and nobody judged. A probe of the kubelet may be among them; it comes again. Other work has its turn in between.
   */
  async review(pod: ReviewedPod, options: { readonly untouched: boolean }): Promise<number> {
    const { sockets, native, logger } = this.#parts;
    const before = this.#known.get(pod.podIndex);
    const known: Known = {
      served: before?.served ?? new Set(),
      dependencies: new Set(),
      untouched: options.untouched || before?.untouched === true,
    };
    for (const { localPort } of native.tcpSockets(pod.netnsFd, true)) known.served.add(localPort);
    const all = sockets.read(pod.netnsFd);
    const slices = new Slices();
    const doomed = new DoomedSockets(sockets, pod.netnsFd);
    let left = 0;
    for (let index = 0; index < all.length; index++) {
      await slices.pause();
      const socket = all.at(index);
      if (!isToBeJudged(socket, known)) continue;
      const { reason, dependencies } = this.#judge(pod, socket, known);
      for (const name of dependencies) known.dependencies.add(name);
      if (endsOpenConnections(reason)) doomed.add(socket, reason);
      else left++;
    }
    if (left > 0) this.#known.set(pod.podIndex, known);
    else this.#known.delete(pod.podIndex);
    const destroyed = await doomed.destroy(slices);
    this.#destroyed += destroyed;
    for (const { socket, reason, count } of doomed.kinds()) {
      logger.info(
        {
          pod: pod.uid,
          local: formatAuthority(socket.localAddress, socket.localPort),
          remote: formatAuthority(socket.remoteAddress, socket.remotePort),
          count,
          why: reasonDetails.get(reason)?.text,
        },
        'connections older than the enrolment destroyed',
      );
    }
    return destroyed;
  }

  #judge(pod: ReviewedPod, socket: PodSocket, { served }: Known): Verdict {
    if (served.has(socket.localPort)) return this.#judgeInbound(pod, socket);
    return socket.seenAs === 'older' ? this.#judgeOutbound(socket) : nobodyRefuses;
  }

  #judgeInbound(destination: ReviewedPod, socket: PodSocket): Verdict {
    if (destination.isPastPolicy(socket.localPort)) return nobodyRefuses;
    return this.#judgePlain(destination, socket.remoteAddress, socket.localAddress, socket.localPort);
  }

  /** The other end decides; what it is not known to refuse goes on. */
  #judgeOutbound(socket: PodSocket): Verdict {
    const { network, snapshot } = this.#parts;
    const [workload] = snapshot().workloadsAt(network, socket.remoteAddress);
    const found = dependency.address(network, socket.remoteAddress);
    if (workload === undefined) return { reason: reasons.NONE, dependencies: [found] };
    const { uid, namespace, serviceAccount, addresses } = workload;
    const destination = { uid, namespace, serviceAccount, addresses };
    const { localAddress, remoteAddress, remotePort } = socket;
    const { reason, dependencies } = this.#judgePlain(destination, localAddress, remoteAddress, remotePort);
    return { reason, dependencies: [found, ...dependencies] };
  }

  #judgePlain(destination: EnrolledPod, peerAddress: string, address: string, port: number): Verdict {
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
    });
  }
}

const nobodyRefuses: Verdict = { reason: reasons.NONE, dependencies: [] };

function isToBeJudged(socket: PodSocket, { untouched }: Known): boolean {
  const isMeant = socket.seenAs === 'older' || (untouched && socket.seenAs === 'untouched');
  if (!isMeant) return false;
  const remote = parseAddress(socket.remoteAddress);
  return remote !== undefined && !isLocalOnly(remote) && socket.remoteAddress !== socket.localAddress;
}
