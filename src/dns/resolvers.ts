/** The resolvers of all pods of an agent, and its heartbeat, without which the kernel sends them no query. */
import type { DnsCapture, DnsProtocol } from '../kernel/dns-capture.ts';
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { DnsCounters } from './dns-counters.ts';
import {
  type DnsPod,
  type EarlierPorts,
  PodResolver,
  type PodResolverParts,
  resolverFailure,
} from './pod-resolver.ts';

export interface ResolversOptions extends Omit<PodResolverParts, 'counters'> {
  /** For pods that do not say themselves. */
  readonly captureByDefault: boolean;
  /** `namespace/name` of the cluster's DNS service: its own pods are never captured. */
  readonly clusterDnsService: string;
}

const beatMs = 1_000;

export class Resolvers {
  readonly counters = new DnsCounters();
  readonly #options: ResolversOptions;
  readonly #pods = new Map<number, PodResolver>();
  readonly #earlier: ReadonlyMap<number, EarlierPorts>;
  readonly #timer: NodeJS.Timeout;

  constructor(options: ResolversOptions) {
    this.#options = options;
    this.#earlier = earlierPorts(options.capture);
    options.capture.beat();
    this.#timer = setInterval(() => this.#tick(), beatMs);
    this.#timer.unref();
  }

  /** A pod is carried from now on. */
  add(pod: DnsPod): void {
    this.remove(pod.podIndex);
    if (!this.#isWanted(pod)) {
      pod.captureDns(false);
      return;
    }
    const { counters } = this;
    let resolver: PodResolver | undefined;
    try {
      resolver = new PodResolver(
        { ...this.#options, counters },
        pod,
        this.#earlier.get(pod.podIndex) ?? new Map(),
      );
      resolver.follow(this.#clusterDnsAddresses());
      pod.captureDns(!this.#isClusterDns(pod));
      this.#pods.set(pod.podIndex, resolver);
    } catch (caught) {
      resolver?.close();
      const err = resolverFailure(caught, pod);
      this.#options.logger.error(
        { err, pod: pod.enrolled.uid },
        'the pod’s queries go to its own nameservers',
      );
    }
  }

  /** It leaves the mesh, or ends. */
  remove(podIndex: number): void {
    this.#pods.get(podIndex)?.close();
    this.#pods.delete(podIndex);
  }

  get size(): number {
    return this.#pods.size;
  }

  /** From now on queries go to their nameservers. */
  close(): void {
    clearInterval(this.#timer);
    this.#options.capture.stop();
    for (const resolver of this.#pods.values()) resolver.close();
    this.#pods.clear();
  }

  #tick(): void {
    const { capture, logger } = this.#options;
    capture.beat();
    const clusterDns = this.#clusterDnsAddresses();
    const nameservers = capture.nameserversByPod();
    for (const resolver of this.#pods.values()) {
      const { pod } = resolver;
      try {
        resolver.follow(clusterDns, nameservers.get(pod.podIndex) ?? []);
        pod.captureDns(!this.#isClusterDns(pod));
      } catch (err) {
        logger.warn({ err, pod: pod.enrolled.uid }, 'the resolver of a pod does not follow its nameservers');
      }
    }
  }

  #isWanted({ dnsCapture }: DnsPod): boolean {
    return dnsCapture ?? this.#options.captureByDefault;
  }

  /** Its pods ask the world for what they do not know; through us they might ask themselves. */
  #isClusterDns({ enrolled }: DnsPod): boolean {
    const keys = new Set(this.#clusterDns().map(serviceKey));
    const workload = this.#options.snapshot().workloads.get(enrolled.uid);
    return workload?.services.some(({ service }) => keys.has(service)) === true;
  }

  #clusterDnsAddresses(): string[] {
    return this.#clusterDns().flatMap((service) =>
      service.addresses.filter(({ length }) => length === undefined).map(({ address }) => address),
    );
  }

  #clusterDns(): readonly Service[] {
    const { clusterDnsService, settings } = this.#options;
    const [namespace = '', name = ''] = clusterDnsService.split('/');
    const snapshot: MeshSnapshot = this.#options.snapshot();
    return snapshot
      .servicesNamed(`${name}.${namespace}.svc.${settings.clusterDomain}`)
      .filter((service) => service.namespace === namespace);
  }
}

function earlierPorts(capture: DnsCapture): ReadonlyMap<number, EarlierPorts> {
  const pods = new Map<number, Map<number, Partial<Record<DnsProtocol, number>>>>();
  for (const { podIndex, slot, protocol, port } of capture.ports()) {
    const slots = pods.get(podIndex) ?? new Map();
    pods.set(podIndex, slots);
    slots.set(slot, { ...slots.get(slot), [protocol]: port });
  }
  return pods;
}
