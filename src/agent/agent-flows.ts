import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { CarriedPod } from '../enrolment/carried-pod.ts';
import type { FlowReader } from '../kernel/flows.ts';
import type { UntouchedFlow } from '../model/flow.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { PartyNames } from '../telemetry/connection-entry.ts';
import type { EdgeRegistry } from '../telemetry/edge-registry.ts';
import { type FlowChannel, FlowLog, tunnelFlowFormat } from '../telemetry/flow-log.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import type { KernelCapture } from './kernel-capture.ts';
import type { PodHolder } from './pod-holder.ts';
import { concatenated, untouchedFlowFormat } from './untouched-flows.ts';

export interface AgentFlowsOptions {
  readonly kernel: KernelCapture;
  readonly edges: EdgeRegistry;
  readonly pods: PodHolder;
  readonly network: string;
  readonly logger: Logger;
}

/** Names of pods that may be gone, for the records of their last connections. */
const mostNames = 4096;

/** What the tunnel and the kernel report of connections, in one log; ends those that slipped through the capture. */
export class AgentFlows implements Closeable {
  readonly log: FlowLog;
  readonly #options: AgentFlowsOptions;
  readonly #reader: FlowReader;
  readonly #fromTunnel: FlowChannel;
  readonly #fromKernel: FlowChannel;
  readonly #names = new Map<number, string>();
  readonly #destroyed = new Map<number, number>();
  #tunnel: Tunnel | undefined;

  constructor(options: AgentFlowsOptions) {
    this.#options = options;
    const { kernel, edges } = options;
    this.log = new FlowLog({
      labels: (edge) => (edge === 0 ? undefined : edges.labels(edge)),
      podName: (podIndex) => this.#podName(podIndex),
      resolve: (address) => this.#resolve(address),
      ofPod: (podIndex) => this.#ofPod(podIndex),
    });
    this.#reader = kernel.capture.openFlows({
      onClosed: (records) => this.#fromKernel.append(records),
      onSlipped: (flow) => this.#onSlipped(flow),
    });
    this.#fromTunnel = this.log.channel('tunnel', tunnelFlowFormat, {
      readLive: async () => (await this.#tunnel?.readLiveFlows()) ?? new Uint8Array(),
    });
    this.#fromKernel = this.log.channel('kernel', untouchedFlowFormat(this.#reader), {
      readLive: async () => this.#readKernelLive(),
    });
  }

  get reader(): FlowReader {
    return this.#reader;
  }

  countDestroyed(reason: number, count: number): void {
    this.#destroyed.set(reason, (this.#destroyed.get(reason) ?? 0) + count);
  }

  /** Reason to count. */
  get destroyed(): ReadonlyMap<number, number> {
    return this.#destroyed;
  }

  connect(tunnel: Tunnel): void {
    this.#tunnel = tunnel;
  }

  onTunnelFlows(records: Uint8Array, lost: number): void {
    this.#fromTunnel.append(records);
    if (lost > 0) this.#fromTunnel.addLost(lost);
  }

  /** Remembers its name: its last connections are told when it may be gone. */
  onCarried(pod: CarriedPod): void {
    this.#names.delete(pod.podIndex);
    this.#names.set(pod.podIndex, `${pod.stored.namespace}/${pod.stored.name}`);
    const [oldest] = this.#names.keys();
    if (this.#names.size > mostNames && oldest !== undefined) this.#names.delete(oldest);
  }

  /** Hears now what the kernel has to report; a rule was missing, and connections may have slipped through. */
  flush(): void {
    this.#reader.flush();
  }

  /** Brings the kernel's counters of untouched connections up to date with those that live. */
  readKernelLive(): void {
    this.#readKernelLive();
  }

  close(): void {
    this.#reader.close();
  }

  #readKernelLive(): Uint8Array {
    this.#reader.flush();
    const pods = this.#options.pods.all().filter(({ state }) => state !== 'gone');
    return concatenated(pods.map(({ netnsFd }) => this.#reader.readLive(netnsFd)));
  }

  #onSlipped(flow: UntouchedFlow): void {
    const { kernel, pods, logger } = this.#options;
    const pod = pods.at(flow.podIndex);
    const { destinationAddress: address, destinationPort: port } = flow;
    if (pod === undefined) return;
    let destroyed: number;
    try {
      destroyed = kernel.capture.sockets.destroy(pod.netnsFd, [flow.cookie]);
    } catch (err) {
      logger.error(
        { err, pod: pod.enrolled.uid, address, port },
        'a connection left the pod uncaptured and could not be ended',
      );
      return;
    }
    this.countDestroyed(reasons.SLIPPED_THROUGH, destroyed);
    logger.warn(
      { pod: pod.enrolled.uid, address, port, destroyed },
      'a connection was on its way out of the pod uncaptured; its packets were stopped, and it was ended',
    );
  }

  #podName(podIndex: number): string | undefined {
    const pod = this.#options.pods.at(podIndex);
    return pod === undefined ? this.#names.get(podIndex) : `${pod.stored.namespace}/${pod.stored.name}`;
  }

  #ofPod(podIndex: number): PartyNames | undefined {
    const pod = this.#options.pods.at(podIndex);
    if (pod === undefined) return undefined;
    const { enrolled, identity, stored } = pod;
    const workload = this.#tunnel?.snapshot.workloads.get(enrolled.uid)?.workloadName ?? stored.name;
    return { workload, namespace: stored.namespace, identity };
  }

  #resolve(address: string): PartyNames | undefined {
    const snapshot = this.#tunnel?.snapshot;
    const { network } = this.#options;
    const [workload] = snapshot?.workloadsAt(network, address) ?? [];
    if (workload !== undefined) return { workload: workload.name, namespace: workload.namespace };
    const [service] = snapshot?.servicesAt(network, address) ?? [];
    return service === undefined ? undefined : { workload: service.name, namespace: service.namespace };
  }
}
