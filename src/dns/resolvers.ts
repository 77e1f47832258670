/** The resolvers of all pods of an agent, and its heartbeat, without which the kernel sends them no query. */
import type { DnsCapture, DnsProtocol } from '../kernel/dns-capture.ts';
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { NameService, NativeNames } from '../native/types.ts';
import { DnsCounters, type DnsReport } from './dns-counters.ts';
import {
  type DnsPod,
  type EarlierPorts,
  PodResolver,
  type PodResolverParts,
  resolverFailure,
} from './pod-resolver.ts';
import { QueryDesk } from './query-desk.ts';

export interface ResolversOptions extends Omit<PodResolverParts, 'counters' | 'names' | 'native'> {
  readonly native: PodResolverParts['native'] & NativeNames;
  readonly upstreamTimeoutMs: number;
  /** For pods that do not say themselves. */
  readonly captureByDefault: boolean;
  /** `namespace/name` of the cluster's DNS service: its own pods are never captured. */
  readonly clusterDnsService: string;
}

const beatMs = 1_000;

export class Resolvers {
  readonly #counters = new DnsCounters();
  readonly #options: ResolversOptions;
  readonly #names: NameService;
  readonly #desk: QueryDesk;
  readonly #pods = new Map<number, PodResolver>();
  readonly #earlier: ReadonlyMap<number, EarlierPorts>;
  readonly #timer: NodeJS.Timeout;
  /** Of which the native side has what was decided. */
  #decidedOn: MeshSnapshot;
  #isClosed = false;
  #areRowsJudged = false;
  #logsQueries = false;

  constructor(options: ResolversOptions) {
    this.#options = options;
    const { native, capture, upstreamTimeoutMs } = options;
    this.#decidedOn = options.snapshot();
    this.#names = native.createNameService({ exemptMapFd: capture.exemptMapFd, upstreamTimeoutMs }, () =>
      this.#desk.wake(),
    );
    this.#desk = new QueryDesk(
      (spent) => this.#names.take(spent),
      (asked) => {
        this.#followSnapshot();
        this.#pods.get(asked.podIndex)?.onAsked(asked);
      },
    );
    this.#earlier = earlierPorts(options.capture);
    this.#beat();
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
    const parts = { ...this.#options, counters: this.#counters, names: this.#names };
    let resolver: PodResolver | undefined;
    try {
      resolver = new PodResolver(parts, pod, this.#earlier.get(pod.podIndex) ?? new Map());
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

  /** From now on the heartbeat vouches for rows too: none is left that an earlier agent wrote and nobody judged since. */
  vouchForRows(): void {
    this.#areRowsJudged = true;
    if (!this.#isClosed) this.#beat();
  }

  /** A mesh state is in force: queries that waited for it are answered. */
  onSnapshot(): void {
    if (!this.#isClosed) this.#followSnapshot();
  }

  get size(): number {
    return this.#pods.size;
  }

  /** Why the pod's own configuration does not count. */
  problemOf(podIndex: number): string | undefined {
    return this.#pods.get(podIndex)?.problem;
  }

  report(): DnsReport {
    const read = this.#isClosed ? { counts: [], drops: [] } : this.#counters.read(this.#names);
    const unreadable = [...this.#pods.values()].filter(({ problem }) => problem !== undefined).length;
    return { ...read, decisionSeconds: this.#desk.totalMs / 1000, unreadable };
  }

  /** From now on queries go to their nameservers. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#options.capture.stop();
    for (const resolver of this.#pods.values()) resolver.close();
    this.#pods.clear();
    this.#desk.close();
    this.#names.close();
  }

  /** What was decided on another mesh is forgotten. */
  #followSnapshot(): void {
    const snapshot = this.#options.snapshot();
    if (snapshot === this.#decidedOn) return;
    this.#decidedOn = snapshot;
    this.#names.forgetAnswers(0);
    for (const resolver of this.#pods.values()) resolver.onSnapshot();
  }

  /** After a long silence a beat would put the rows of an agent of hours ago in force. */
  #beat(): void {
    const { capture } = this.#options;
    if (this.#areRowsJudged) capture.beat();
    else capture.beatForNames();
  }

  #tick(): void {
    const { capture, logger } = this.#options;
    this.#beat();
    this.#followSnapshot();
    // What is written down is answered without a word in the log.
    if (this.#logsQueries !== logger.isLevelEnabled('debug')) {
      this.#logsQueries = !this.#logsQueries;
      this.#names.forgetAnswers(0);
    }
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
