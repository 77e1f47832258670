import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { SnapshotDiff } from '../model/diff.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type {
  EdgeCounters,
  NativeTunnel,
  PodListeners,
  TlsIdentity,
  TunnelDescription,
  TunnelEvents,
  TunnelHandle,
  TunnelSettings,
  TunnelTotals,
} from '../native/types.ts';
import type { LocalNode } from '../routing/judgement.ts';
import type { PathState } from '../routing/same-node-path.ts';
import type { DecisionCounts, DecisionTablesOptions, MeshAsked } from './decision-options.ts';
import { DecisionTables } from './decision-tables.ts';
import { EdgeUse } from './edge-use.ts';
import { flowRecordBytes } from './flow-record.ts';
import type { EarlierRow } from './kernel-rows.ts';
import type { LocalPod } from './local-pods.ts';
import { absentMs } from './missing-names.ts';
import { unknownWaitMs } from './tunnel-settings.ts';

export interface TunnelParts
  extends Pick<DecisionTablesOptions, 'judge' | 'edges' | 'kernelRows' | 'rowsPerPod' | 'onFollowed'> {
  readonly native: NativeTunnel;
  readonly settings: TunnelSettings;
  readonly logger: Logger;
  /** Packed flow records, and how many were lost before them. */
  readonly onFlows: (records: Uint8Array, lost: number) => void;
  /** Not all of the mesh is sent: what is missing is asked for, see `lookUpWith`. */
  readonly onDemand?: boolean;
  /** Connections that the kernel carries count by edge too. */
  readonly kernelCounters?: () => readonly EdgeCounters[];
  /** The last connection of a pod that left has ended. */
  readonly onDrained: (podIndex: number) => void;
}

export interface CarriedPod extends LocalPod {
  readonly podIndex: number;
  readonly netnsFd: number;
  /** SPIFFE id that its connections speak with. */
  readonly identity: string;
}

export interface DrainOutcome {
  /** Connections that ended by themselves. */
  readonly ended: number;
  /** Connections that the deadline ended. */
  readonly forced: number;
}

/** Unknown destinations of one pod that may wait for the mesh state at a time. */
const waitingPerPod = 256;
const unknownRefusalMs = 30_000;
/** What needs more new destinations a second than this waits a moment; a scan, whose connections fail, gets a tenth. */
const questionsPerSecond = 1_000;
const failureCost = 9;

/** The native tunnel with its decision tables: pods, certificates and the mesh go in, flows and counters come out. */
export class Tunnel {
  readonly #parts: TunnelParts;
  readonly #handle: TunnelHandle;
  readonly #decisions: DecisionTables;
  readonly #pods = new Map<number, CarriedPod>();
  readonly #use = new EdgeUse();
  #meshAsked: MeshAsked | undefined;

  constructor(parts: TunnelParts) {
    const { native, settings } = parts;
    if (native.flowRecordBytes !== flowRecordBytes) {
      throw new HadalError(
        'ERR_TUNNEL_LAYOUT',
        `native flow records have ${native.flowRecordBytes} bytes, ${flowRecordBytes} are known here; run npm run build`,
      );
    }
    this.#parts = parts;
    this.#handle = native.createTunnel(settings, (events) => this.#onEvents(events));
    this.#decisions = new DecisionTables({
      ...parts,
      tables: this.#handle,
      unknownWaitMs: unknownWaitMs(settings.questionTimeoutMs),
      waitingPerPod,
      unknownRefusalMs: parts.onDemand === true ? absentMs : unknownRefusalMs,
      ...(parts.onDemand === true && { askMesh: this.#askMesh() }),
      onNotice: (notice, about) =>
        parts.logger.info(
          { ...notice, ...about },
          notice.kind === 'audit'
            ? 'connections match an audited policy'
            : 'connections would be decided otherwise if dry runs were enforced',
        ),
      onFailure: (err) => parts.logger.error({ err }, 'a connection could not be decided and is refused'),
      questionRate: {
        perSecond: questionsPerSecond,
        burst: settings.limits.parkedPerPod,
        failureCost,
        mostWaiting: settings.limits.parkedPerPod,
      },
    });
  }

  get snapshot(): MeshSnapshot {
    return this.#decisions.snapshot;
  }

  /** The pods that are carried here, and whether traffic between them stays on the node. */
  get local(): LocalNode {
    return this.#decisions.local;
  }

  /** Connections between pods of this node go directly only while it is `stays`; rows follow at once. */
  setSameNodePath(path: PathState): void {
    this.#decisions.setSameNodePath(path);
  }

  /** Rows that an earlier agent left in the kernel are judged again, and go on where they still hold. */
  adoptRows(earlier: readonly EarlierRow[]): void {
    this.#decisions.adopt(earlier);
  }

  /** Who is asked for what nobody knows here. */
  lookUpWith(asked: MeshAsked): void {
    this.#meshAsked = asked;
  }

  tellAbsent(names: readonly string[]): void {
    this.#decisions.tellAbsent(names);
  }

  /**
   * Names that something here goes by, after rows that nobody has used for so long are forgotten. Called from time to time: that
   * is as exact as the times are.
   */
  usedNames(idleMs: number): Set<string> {
    const counters = [this.#handle.readCounters(), ...(this.#parts.kernelCounters?.() ?? [])];
    this.#use.update(counters, performance.now());
    this.#decisions.forgetIdle((edge) => this.#use.isIdle(edge, idleMs));
    return this.#decisions.usedNames();
  }

  /** Nobody can be asked before the agent has found out who. */
  #askMesh(): MeshAsked {
    return {
      lookUp: (names) => this.#meshAsked?.lookUp(names) ?? false,
      isAbsent: (name) => this.#meshAsked?.isAbsent(name) ?? false,
    };
  }

  /** `diff` is the difference to the snapshot before. */
  setSnapshot(next: MeshSnapshot, diff?: SnapshotDiff): void {
    this.#decisions.setSnapshot(next, diff);
  }

  setIdentity(identity: TlsIdentity): void {
    this.#handle.setIdentity(identity);
  }

  removeIdentity(identity: string): void {
    this.#handle.removeIdentity(identity);
  }

  /** Revocation lists, PEM. Throws ERR_TUNNEL_REVOCATION for what is none. */
  setRevocations(pem: string): void {
    this.#handle.setRevocations(pem);
  }

  /** Creates the pod's listeners. The tables know it first: nothing that arrives may meet a pod that nobody knows. */
  addPod(pod: CarriedPod): PodListeners {
    const { podIndex, netnsFd, addresses, identity } = pod;
    this.#decisions.setPod(podIndex, pod);
    try {
      const listeners = this.#handle.addPod({ podIndex, netnsFd, addresses, identity });
      this.#pods.set(podIndex, pod);
      return listeners;
    } catch (caught) {
      this.#decisions.removePod(podIndex);
      throw HadalError.from(caught, 'ERR_TUNNEL_POD', `listening in the network namespace of ${pod.uid}`);
    }
  }

  setPodAddresses(podIndex: number, addresses: readonly string[]): void {
    const pod = this.#pods.get(podIndex);
    if (pod === undefined) return;
    const next = { ...pod, addresses };
    this.#pods.set(podIndex, next);
    this.#handle.setPodAddresses(podIndex, addresses);
    this.#decisions.setPod(podIndex, next);
  }

  /** Whether a machine inside the pod makes connections, from addresses that are not the pod's. */
  setPodHoldsMachine(podIndex: number, holds: boolean): void {
    if (this.#pods.has(podIndex)) this.#handle.setPodHoldsMachine(podIndex, holds);
  }

  /** With `keepConnections` the open ones run to their end, then `onDrained` tells. */
  removePod(podIndex: number, options: { readonly keepConnections: boolean }): void {
    if (!this.#pods.delete(podIndex)) return;
    this.#handle.removePod(podIndex, options);
    this.#decisions.removePod(podIndex);
  }

  removeEdges(edges: readonly number[]): void {
    this.#handle.removeEdges(edges);
  }

  readCounters(): EdgeCounters {
    return this.#handle.readCounters();
  }

  readTotals(): TunnelTotals {
    return this.#handle.readTotals();
  }

  decisionCounts(): DecisionCounts {
    return this.#decisions.counts();
  }

  readLiveFlows(): Promise<Uint8Array> {
    return this.#handle.readLiveFlows();
  }

  describeTunnels(): Promise<TunnelDescription[]> {
    return this.#handle.describeTunnels();
  }

  /** Takes no new connections, waits for the open ones until the deadline, then closes the rest. */
  async drain(deadlineMs: number): Promise<DrainOutcome> {
    return this.#handle.drain(deadlineMs);
  }

  close(): void {
    this.#decisions.close();
    this.#handle.close();
  }

  #onEvents(events: TunnelEvents): void {
    const { logger, onFlows, onDrained } = this.#parts;
    if (events.questions.length > 0) this.#decisions.ask(events.questions);
    for (const { level, message, podIndex } of events.log) {
      logger[level](
        podIndex === undefined ? {} : { pod: this.#pods.get(podIndex)?.uid ?? podIndex },
        message,
      );
    }
    if (events.flows.byteLength > 0 || events.flowsLost > 0) onFlows(events.flows, events.flowsLost);
    for (const podIndex of events.drainedPods) onDrained(podIndex);
  }
}
