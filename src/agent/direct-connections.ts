import { setTimeout as sleep } from 'node:timers/promises';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { Slices } from '../base/slices.ts';
import type { CarriedPod } from '../enrolment/carried-pod.ts';
import type { FlowReader } from '../kernel/flows.ts';
import type { PodSockets } from '../kernel/sockets.ts';
import { dependency } from '../model/diff.ts';
import type { UntouchedFlow } from '../model/flow.ts';
import { meshSettingsKey } from '../model/mesh-settings.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { endsOpenConnections } from '../routing/open-connections.ts';
import type { OpenDirectQuestion } from '../routing/open-direct.ts';
import { DoomedFlows } from './doomed-flows.ts';

type Pod = Pick<CarriedPod, 'podIndex' | 'netnsFd' | 'state' | 'enrolled' | 'identity'>;

export interface DirectConnectionsParts {
  readonly reader: Pick<FlowReader, 'recordBytes' | 'readLive' | 'decode'>;
  readonly sockets: Pick<PodSockets, 'destroy'>;
  readonly pods: { all(): readonly Pod[]; at(podIndex: number): Pod | undefined };
  readonly snapshot: () => MeshSnapshot;
  /** A reason to end it, or NONE. */
  readonly judge: (question: OpenDirectQuestion) => number;
  readonly onDestroyed: (reason: number, count: number) => void;
  readonly logger: Logger;
}

/** A connect() that had read its row just before the change stands by then, or is on its way. */
const secondLookMs = 300;

/**
 * Connections that the kernel carries between two pods of this node pass no agent: when something changes that they rest on, they
 * are looked through here, and those that would not be let in any more, or not without a tunnel, are ended. At their destination
 * first, so that the client sees a reset.
 */
export class DirectConnections implements Closeable {
  readonly #parts: DirectConnectionsParts;
  readonly #changed = new Set<string>();
  #working: Promise<void> | undefined;
  #closed = false;

  constructor(parts: DirectConnectionsParts) {
    this.#parts = parts;
  }

  /** Something of these names changed, and new connections go by it. What changes meanwhile has another review follow. */
  review(changed: Iterable<string>): void {
    for (const name of changed) this.#changed.add(name);
    if (this.#changed.size === 0 || this.#closed) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      this.review([]);
    });
  }

  /** Resolves when all that changed so far has been looked at. */
  async settled(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
  }

  async #work(): Promise<void> {
    const changed = new Set(this.#changed);
    this.#changed.clear();
    const concerned = this.#parts.pods
      .all()
      .filter((pod) => pod.state !== 'gone' && this.#isConcerned(pod, changed));
    if (concerned.length === 0) return;
    const found = await this.#endRefused(concerned);
    // Where there is none at all, none was on its way either but for the chance of microseconds.
    if (!found || this.#closed) return;
    await sleep(secondLookMs, undefined, { ref: false });
    await this.#endRefused(concerned);
  }

  /** Whether any of the pods has direct connections. */
  async #endRefused(concerned: readonly Pod[]): Promise<boolean> {
    const slices = new Slices();
    const seen = new Set<number>();
    const elsewhere = new Set<number>();
    let found = false;
    for (const pod of concerned) {
      const { any, peers } = await this.#endAt(pod, 'inbound', slices);
      found ||= any;
      seen.add(pod.podIndex);
      for (const peer of peers) elsewhere.add(peer);
    }
    if (!found) return false;
    for (const podIndex of elsewhere) {
      const peer = this.#parts.pods.at(podIndex);
      if (peer !== undefined && !seen.has(podIndex)) await this.#endAt(peer, 'inbound', slices);
    }
    // What has no socket at its destination yet, or a destination that is not ours any more.
    for (const pod of concerned) await this.#endAt(pod, 'outbound', slices);
    return true;
  }

  /** Ends those that the pod has in one direction; tells the pods at the other end of refused ones in the other. */
  async #endAt(
    pod: Pod,
    direction: UntouchedFlow['direction'],
    slices: Slices,
  ): Promise<{ readonly any: boolean; readonly peers: ReadonlySet<number> }> {
    const { reader, sockets, onDestroyed, logger } = this.#parts;
    const peers = new Set<number>();
    const doomed = new DoomedFlows();
    let any = false;
    try {
      const records = pod.state === 'gone' ? new Uint8Array() : reader.readLive(pod.netnsFd);
      await slices.pause();
      const verdicts = new Map<string, number>();
      for (let at = 0; at < Math.floor(records.byteLength / reader.recordBytes); at++) {
        await slices.pause();
        const flow = reader.decode(records, at);
        if (flow.path !== 'node_local') continue;
        any = true;
        const reason = this.#judge(pod, flow, verdicts);
        if (reason === reasons.NONE) continue;
        if (flow.direction === direction) doomed.add(flow, reason);
        else peers.add(flow.peerPodIndex);
      }
      for (const { flow, reason, cookies } of doomed.portions()) {
        const count = pod.state === 'gone' ? 0 : sockets.destroy(pod.netnsFd, cookies, reason);
        onDestroyed(reason, count);
        logger.info(
          {
            pod: pod.enrolled.uid,
            peer: this.#parts.pods.at(flow.peerPodIndex)?.enrolled.uid,
            direction: flow.direction,
            port: flow.endpointPort,
            count,
            why: reasonDetails.get(reason)?.text,
          },
          'direct connections are refused now and were ended',
        );
        await slices.yield();
      }
    } catch (err) {
      if (pod.state !== 'gone')
        logger.error(
          { err, pod: pod.enrolled.uid },
          'direct connections of the pod could not be judged again',
        );
    }
    return { any, peers };
  }

  #judge(pod: Pod, flow: UntouchedFlow, verdicts: Map<string, number>): number {
    const { sourceAddress: peerAddress, endpointAddress: address, endpointPort: port } = flow;
    const peer = this.#parts.pods.at(flow.peerPodIndex);
    const [source, destination] = flow.direction === 'outbound' ? [pod, peer] : [peer, pod];
    // Who left the mesh has no policies any more; those of the other end go on, for whoever the pod is now.
    if (destination?.state !== 'carried') return reasons.NONE;
    const known = source?.state === 'carried' ? source : undefined;
    const key = `${known?.podIndex ?? ''} ${destination.podIndex} ${peerAddress} ${address} ${port}`;
    const before = verdicts.get(key);
    if (before !== undefined) return before;
    const reason = this.#parts.judge({
      ...(known === undefined ? {} : { source: { pod: known.enrolled, identity: known.identity } }),
      destination: destination.enrolled,
      peerAddress,
      address,
      port,
    });
    const ends = endsOpenConnections(reason) || reason === reasons.TUNNEL_REQUIRED;
    verdicts.set(key, ends ? reason : reasons.NONE);
    return ends ? reason : reasons.NONE;
  }

  /** By what judgements of its connections rest on, on whichever end it is. */
  #isConcerned({ enrolled: { uid, namespace } }: Pod, changed: ReadonlySet<string>): boolean {
    const workload = this.#parts.snapshot().workloads.get(uid);
    const keys = [
      ...DirectConnections.everywhere,
      dependency.workload(uid),
      dependency.localPod(uid),
      dependency.namespace(namespace),
      ...(workload?.authorizationPolicies ?? []).map(dependency.policy),
    ];
    return keys.some((key) => changed.has(key));
  }

  static readonly everywhere: readonly string[] = [
    dependency.global,
    dependency.sameNodePath,
    dependency.service(meshSettingsKey),
  ];
}
