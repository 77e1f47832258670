/** The resolver of one pod: sockets for each nameserver that it asks, and its own view of names. */
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { DNS_SLOTS } from '../kernel/constants.gen.ts';
import { type DnsCapture, type DnsProtocol, familyOf, type NameserverSlot } from '../kernel/dns-capture.ts';
import { isLocalOnly, parseAddress } from '../model/address.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { AskedName, NameService, NativeNet } from '../native/types.ts';
import type { DnsCounters } from './dns-counters.ts';
import { PodAnswers } from './pod-answers.ts';
import { PodConfiguration } from './pod-configuration.ts';
import type { DnsClient, ResolveSettings } from './resolve.ts';
import { openResolverSockets } from './resolver-sockets.ts';
import { WaitingQueries } from './waiting-queries.ts';

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
  readonly native: Pick<NativeNet, 'openPodSocket' | 'openNetns' | 'closeFd' | 'readPodFile'>;
  readonly names: NameService;
  readonly capture: DnsCapture;
  readonly snapshot: () => MeshSnapshot;
  readonly settings: ResolveSettings;
  readonly counters: DnsCounters;
  readonly logger: Logger;
}

export type EarlierPorts = ReadonlyMap<number, Readonly<Partial<Record<DnsProtocol, number>>>>;

export class PodResolver {
  readonly pod: DnsPod;
  readonly #parts: PodResolverParts;
  readonly #netnsFd: number;
  readonly #configuration: PodConfiguration;
  readonly #answers: PodAnswers;
  readonly #waiting = new WaitingQueries((asked) => this.#answers.answer(asked, this.#client()));
  readonly #open = new Set<number>();
  /** Slots whose nameserver the native side knows. */
  readonly #told = new Set<number>();
  #earlier: EarlierPorts;
  #clusterDns: readonly string[] = [];
  #asker: DnsClient | undefined;
  #problemTold: string | undefined;
  #isClosed = false;

  /** `earlier`: ports of an earlier agent by slot. */
  constructor(parts: PodResolverParts, pod: DnsPod, earlier: EarlierPorts) {
    this.#parts = parts;
    this.pod = pod;
    this.#earlier = earlier;
    this.#answers = new PodAnswers(parts);
    // The pod's own descriptor is closed when it ends, and its number may be another namespace's by then.
    this.#netnsFd = parts.native.openNetns(`/proc/self/fd/${pod.netnsFd}`);
    parts.names.addPod(pod.podIndex, this.#netnsFd);
    this.#configuration = new PodConfiguration({
      native: parts.native,
      cgroup: pod.cgroup,
      namespace: pod.enrolled.namespace,
      clusterDomain: parts.settings.clusterDomain,
      onRead: () => this.#onConfiguration(),
    });
  }

  /** Why the pod's resolv.conf is not what counts. */
  get problem(): string | undefined {
    return this.#configuration.problem;
  }

  /**
   * Sockets for the nameservers that the pod is configured with or has asked meanwhile. `clusterDns`: addresses of the
   * cluster's; `before`: what the kernel knows.
   */
  follow(clusterDns: readonly string[], before?: readonly NameserverSlot[]): void {
    this.#clusterDns = clusterDns;
    this.#configuration.refresh();
    const { capture } = this.#parts;
    const { podIndex, addresses } = this.pod;
    const configured = [...this.#configuration.known.nameservers, ...clusterDns].filter(isElsewhere);
    const known = capture.configure(podIndex, configured, before);
    const wanted = new Set(known.map(({ slot }) => slot));
    // Ready for the first nameserver of each family, whoever it is.
    if (addresses.some((address) => !address.includes(':'))) wanted.add(0);
    if (addresses.some((address) => address.includes(':'))) wanted.add(DNS_SLOTS);
    for (const slot of wanted) if (!this.#open.has(slot)) this.#openSlot(slot);
  }

  /** Something of the pod waits for a decision. Never throws. */
  onAsked(asked: AskedName): void {
    const { names, logger } = this.#parts;
    try {
      if (asked.kind !== 'query') this.#answers.followed(asked);
      else if (!this.#tellNameserver(asked.slot)) names.drop(asked.id);
      else this.#onQuery(asked);
    } catch (err) {
      logger.debug({ err, pod: this.pod.enrolled.uid }, 'a query was not answered');
      names.drop(asked.id);
    }
  }

  /** The mesh has changed: the native side has forgotten what it knew. */
  onSnapshot(): void {
    this.#asker = undefined;
    if (this.#waiting.size > 0 && this.#client() !== undefined) this.#waiting.release();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting.close();
    this.#parts.names.removePod(this.pod.podIndex);
    this.#parts.native.closeFd(this.#netnsFd);
  }

  #onConfiguration(): void {
    if (this.#isClosed) return;
    const { logger, names } = this.#parts;
    const { podIndex, enrolled } = this.pod;
    this.#tellProblem();
    if (this.#asker?.configuration !== this.#configuration.known) {
      this.#asker = undefined;
      names.forgetAnswers(podIndex);
    }
    try {
      this.follow(this.#clusterDns);
    } catch (err) {
      logger.warn({ err, pod: enrolled.uid }, 'the resolver of a pod does not follow its nameservers');
    }
  }

  #tellProblem(): void {
    const { problem } = this;
    if (problem === this.#problemTold) return;
    this.#problemTold = problem;
    const { logger } = this.#parts;
    const pod = this.pod.enrolled.uid;
    if (problem === undefined) logger.info({ pod }, 'the resolv.conf of the pod is read again');
    else logger.warn({ pod, problem }, 'the resolv.conf of a pod is not read');
  }

  #openSlot(slot: number): void {
    const { native, capture, names } = this.#parts;
    const { podIndex } = this.pod;
    const before = this.#earlier.get(slot) ?? {};
    const { udp, tcp } = openResolverSockets({
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
    });
    names.serve(podIndex, slot, udp, tcp);
    this.#open.add(slot);
  }

  /** A slot keeps its nameserver as long as the pod lives. False: nobody is known there. */
  #tellNameserver(slot: number): boolean {
    if (this.#told.has(slot)) return true;
    const { capture, names } = this.#parts;
    const address = capture.nameserverAt(this.pod.podIndex, slot);
    if (address === undefined) return false;
    names.setNameserver(this.pod.podIndex, slot, address);
    this.#told.add(slot);
    return true;
  }

  #onQuery(asked: AskedName): void {
    const client = this.#client();
    // A pod may ask before the mesh state has heard of it.
    if (client === undefined) this.#waiting.add(asked);
    else this.#answers.answer(asked, client);
  }

  #client(): DnsClient | undefined {
    if (this.#asker !== undefined) return this.#asker;
    const workload = this.#workload();
    if (workload === undefined) return undefined;
    const { names, counters } = this.#parts;
    this.#asker = { workload, configuration: this.#configuration.known };
    names.setLabels(this.pod.podIndex, counters.numberOfAsker(workload));
    return this.#asker;
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
