/** The resolver of one pod: sockets for each nameserver that it asks, and its own view of names. */
import { sleep } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { DNS_SLOTS } from '../kernel/constants.gen.ts';
import { type DnsCapture, type DnsProtocol, familyOf, type NameserverSlot } from '../kernel/dns-capture.ts';
import { isLocalOnly, parseAddress } from '../model/address.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { NativeNet } from '../native/types.ts';
import { answer } from './answer.ts';
import type { DnsCounters } from './dns-counters.ts';
import { PodConfiguration } from './pod-configuration.ts';
import { QueryBudget } from './query-budget.ts';
import type { DnsClient, ResolveSettings } from './resolve.ts';
import { ResolverSockets } from './resolver-sockets.ts';
import { Upstream } from './upstream.ts';

/** A pod that is carried, as far as its resolver needs it. */
export interface DnsPod {
  readonly podIndex: number;
  readonly netnsFd: number;
  readonly cgroup: string;
  /** As judgements see it. */
  readonly enrolled: { readonly uid: string; readonly namespace: string; readonly serviceAccount: string };
  readonly addresses: readonly string[];
  /** What the pod says itself; undefined: the agent's option counts. */
  readonly dnsCapture: boolean | undefined;
  captureDns(wanted: boolean): void;
}

export interface PodResolverParts {
  readonly native: Pick<NativeNet, 'openPodSocket' | 'openNetns' | 'closeFd' | 'readFileBelow'>;
  readonly capture: DnsCapture;
  readonly snapshot: () => MeshSnapshot;
  readonly settings: ResolveSettings;
  readonly upstreamTimeoutMs: number;
  readonly counters: DnsCounters;
  readonly logger: Logger;
}

export type EarlierPorts = ReadonlyMap<number, Readonly<Partial<Record<DnsProtocol, number>>>>;

const workloadWaitMs = 2_000;
const workloadPollMs = 50;
const mostUpstream = 256;

export class PodResolver {
  readonly pod: DnsPod;
  readonly #parts: PodResolverParts;
  readonly #netnsFd: number;
  readonly #sockets = new Map<number, ResolverSockets>();
  readonly #upstream: Upstream;
  readonly #configuration: PodConfiguration;
  readonly #budget = new QueryBudget();
  #earlier: EarlierPorts;
  #isClosed = false;

  /** `earlier`: ports of an earlier agent by slot. */
  constructor(parts: PodResolverParts, pod: DnsPod, earlier: EarlierPorts) {
    this.#parts = parts;
    this.pod = pod;
    this.#earlier = earlier;
    // The pod's own descriptor is closed when it ends, and its number may be another namespace's by then.
    this.#netnsFd = parts.native.openNetns(`/proc/self/fd/${pod.netnsFd}`);
    this.#configuration = new PodConfiguration({
      native: parts.native,
      cgroup: pod.cgroup,
      namespace: pod.enrolled.namespace,
      clusterDomain: parts.settings.clusterDomain,
    });
    this.#upstream = new Upstream({
      native: parts.native,
      netnsFd: this.#netnsFd,
      exemptMapFd: parts.capture.exemptMapFd,
      timeoutMs: parts.upstreamTimeoutMs,
      limit: mostUpstream,
    });
  }

  /**
   * Sockets for the nameservers that the pod is configured with or has asked meanwhile. `clusterDns`: addresses of the
   * cluster's; `before`: what the kernel knows.
   */
  follow(clusterDns: readonly string[], before?: readonly NameserverSlot[]): void {
    const { capture } = this.#parts;
    const { podIndex, addresses } = this.pod;
    const configured = [...this.#configuration.read().nameservers, ...clusterDns].filter(isElsewhere);
    const known = capture.configure(podIndex, configured, before);
    const wanted = new Set(known.map(({ slot }) => slot));
    // Ready for the first nameserver of each family, whoever it is.
    if (addresses.some((address) => !address.includes(':'))) wanted.add(0);
    if (addresses.some((address) => address.includes(':'))) wanted.add(DNS_SLOTS);
    for (const slot of wanted) if (!this.#sockets.has(slot)) this.#open(slot);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const sockets of this.#sockets.values()) sockets.close();
    this.#sockets.clear();
    this.#upstream.close();
    this.#parts.native.closeFd(this.#netnsFd);
  }

  #open(slot: number): void {
    const { native, capture } = this.#parts;
    const { podIndex } = this.pod;
    const before = this.#earlier.get(slot) ?? {};
    const sockets = new ResolverSockets({
      native,
      netnsFd: this.#netnsFd,
      family: familyOf(slot),
      exemptMapFd: capture.exemptMapFd,
      wantedPorts: before,
      onOpen: (protocol, fd, port) => {
        const earlier = before[protocol];
        if (earlier !== undefined && earlier !== port)
          capture.removePort({ podIndex, slot, protocol, port: earlier });
        capture.setResolver({ podIndex, slot, protocol, fd, port });
      },
      answer: (message, protocol) => this.#answer(message, protocol, slot),
    });
    this.#sockets.set(slot, sockets);
  }

  async #answer(message: Buffer, protocol: DnsProtocol, slot: number): Promise<Buffer | undefined> {
    if (this.#isClosed || !this.#budget.take()) return undefined;
    const { capture, snapshot, settings, counters, logger } = this.#parts;
    const nameserver = capture.nameserverAt(this.pod.podIndex, slot);
    if (nameserver === undefined) return undefined;
    const client = () => this.#client();
    const parts = { snapshot, client, upstream: this.#upstream, settings, counters, logger };
    return answer(parts, message, protocol, nameserver);
  }

  /** A pod may ask before the mesh state has heard of it. */
  async #client(): Promise<DnsClient | undefined> {
    const deadline = performance.now() + workloadWaitMs;
    for (;;) {
      const workload = this.#workload();
      if (workload !== undefined) return { workload, configuration: this.#configuration.read() };
      if (performance.now() >= deadline || this.#isClosed) return undefined;
      await sleep(workloadPollMs);
    }
  }

  #workload(): Workload | undefined {
    const { uid, namespace, serviceAccount } = this.pod.enrolled;
    const workload = this.#parts.snapshot().workloads.get(uid);
    return workload?.namespace === namespace && workload.serviceAccount === serviceAccount
      ? workload
      : undefined;
  }
}

/** A nameserver in the pod itself is nobody's business. */
function isElsewhere(text: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && !isLocalOnly(address);
}

export function resolverFailure(caught: unknown, pod: DnsPod): HadalError {
  return HadalError.from(caught, 'ERR_DNS_RESOLVER', `opening the resolver of ${pod.enrolled.uid}`);
}
