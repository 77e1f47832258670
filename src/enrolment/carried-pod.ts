import type { Logger } from '../base/logger.ts';
import type { CertificateUse, WorkloadCertificates } from '../identity/workload-certificates.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import type { PodCapture, UnknownDestinations } from '../kernel/pod-capture.ts';
import { createTrafficExclusions, type TrafficExclusions } from '../model/traffic-exclusions.ts';
import type {
  CaptureRouting,
  NativeNet,
  NetnsChange,
  NetnsWatch,
  VirtualInterfaceState,
} from '../native/types.ts';
import type { EnrolledPod } from '../routing/judgement.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { ownAddresses } from './own-addresses.ts';
import type { StoredPod } from './pod-store.ts';
import { VirtualInterfaces } from './virtual-interfaces.ts';

/** Everything a pod is carried with. */
export interface CarryingParts {
  readonly native: NativeNet;
  readonly capture: Pick<BpfCapture, 'attachPod' | 'forgetRows' | 'sockets'>;
  readonly tunnel: Pick<Tunnel, 'addPod' | 'setPodAddresses' | 'setPodHoldsMachine' | 'removePod'>;
  readonly certificates: Pick<WorkloadCertificates, 'use'>;
  readonly routing: CaptureRouting;
  readonly clusterId: string;
  readonly trustDomain: string;
  /** How long the answer waits for the pod's certificate. */
  readonly certificateWaitMs: number;
  /** What becomes of a pod's connections out of the mesh; undefined: as it is for a pod that is `captured` already. */
  readonly unknownDestinations: (pod: EnrolledPod, captured: boolean) => UnknownDestinations | undefined;
  readonly logger: Logger;
  /** A rule or route of the capture was missing and was put back. */
  readonly onRestored: (pod: CarriedPod, change: Extract<NetnsChange, { kind: 'restored' }>) => void;
}

export interface NetnsIdentity {
  readonly cookie: bigint;
  readonly inode: bigint;
}

/** `carried`: captured both ways. `leaving`: out of the mesh, open connections run to their end. `gone`: nothing is left. */
export type PodState = 'carried' | 'leaving' | 'gone';

/** One enrolled pod with all that belongs to it: descriptors, certificate, listeners, capture, routes. */
export class CarriedPod {
  readonly netnsFd: number;
  readonly netns: NetnsIdentity;
  readonly identity: string;
  /** Milliseconds of each step of its enrolment. */
  readonly timings: Readonly<Record<string, number>>;
  readonly #parts: CarryingParts;
  readonly #certificate: CertificateUse;
  readonly #capture: PodCapture;
  readonly #watch: NetnsWatch;
  readonly #interfaces: VirtualInterfaces;
  #stored: StoredPod;
  #addresses: readonly string[];
  #state: PodState = 'carried';

  constructor(fields: {
    parts: CarryingParts;
    stored: StoredPod;
    netnsFd: number;
    netns: NetnsIdentity;
    identity: string;
    addresses: readonly string[];
    certificate: CertificateUse;
    capture: PodCapture;
    watch: NetnsWatch;
    timings: Readonly<Record<string, number>>;
  }) {
    this.#parts = fields.parts;
    this.#stored = fields.stored;
    this.netnsFd = fields.netnsFd;
    this.netns = fields.netns;
    this.identity = fields.identity;
    this.timings = fields.timings;
    this.#addresses = fields.addresses;
    this.#certificate = fields.certificate;
    this.#capture = fields.capture;
    this.#watch = fields.watch;
    const { native, capture, tunnel, routing } = fields.parts;
    this.#interfaces = new VirtualInterfaces({
      native,
      sockets: capture.sockets,
      capture: fields.capture,
      watch: fields.watch,
      tunnel,
      routing,
      podIndex: fields.stored.podIndex,
      netnsFd: fields.netnsFd,
      addresses: () => this.#addresses,
    });
  }

  get stored(): StoredPod {
    return this.#stored;
  }

  get podIndex(): number {
    return this.stored.podIndex;
  }

  get state(): PodState {
    return this.#state;
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  get hasCertificate(): boolean {
    return ['valid', 'renewing', 'overdue'].includes(this.#certificate.state.kind);
  }

  /** Why there is no certificate, as far as known; undefined when there is one. */
  get certificateProblem(): string | undefined {
    if (this.hasCertificate) return undefined;
    const state = this.#certificate.state;
    const why = 'error' in state ? state.error?.message : undefined;
    return why ?? 'it has not been asked for yet, or the authority has not answered yet';
  }

  get restoredRoutes(): number {
    return this.#watch.restoredCount;
  }

  /** As judgements see it. */
  get enrolled(): EnrolledPod {
    return enrolledPod(this.#parts, this.stored, this.#addresses);
  }

  /** Interfaces came or went. */
  followAddresses(): void {
    if (this.#state !== 'carried') return;
    const next = ownAddresses(this.stored.addresses, this.#parts.native.addresses(this.netnsFd));
    if (
      next.length === this.#addresses.length &&
      next.every((address, index) => address === this.#addresses[index])
    ) {
      return;
    }
    this.#addresses = next;
    this.#capture.setAddresses(next);
    this.#parts.tunnel.setPodAddresses(this.podIndex, next);
    this.#parts.logger.info({ pod: this.enrolled.uid, addresses: next }, 'the addresses of the pod changed');
  }

  get cgroup(): string {
    return this.stored.cgroup;
  }

  get dnsCapture(): boolean | undefined {
    return this.stored.dnsCapture;
  }

  /** Whether plain connections reach the application past every policy. */
  get bypassesInbound(): boolean {
    return this.stored.bypassInbound ?? false;
  }

  /** Whether it asks to send past TCP where it can. */
  get wantsTurbo(): boolean {
    return this.stored.turbo ?? false;
  }

  /** What its annotations take out of the capture. */
  get exclusions(): TrafficExclusions {
    return createTrafficExclusions(this.stored.exclusions ?? {});
  }

  /** Follows what the mesh says of connections out of it. */
  followOutboundPolicy(): void {
    if (this.#state !== 'carried') return;
    const unknown = this.#parts.unknownDestinations(this.enrolled, true);
    if (unknown !== undefined) this.#capture.setUnknown(unknown);
  }

  /** Interfaces in it behind which a machine runs whose connections are the pod's. */
  get virtualInterfaces(): readonly VirtualInterfaceState[] {
    return this.#interfaces.states;
  }

  /** It was asked for again with other annotations, and is written down so: new connections heed them from now on. */
  change(stored: StoredPod): void {
    this.#stored = stored;
    if (this.#state !== 'carried') return;
    this.#capture.bypassInbound(this.bypassesInbound);
    this.#capture.setExclusions(this.exclusions);
    this.captureInterfaces();
  }

  captureInterfaces(): void {
    if (this.#state === 'carried') this.#interfaces.become(this.stored.virtualInterfaces ?? []);
  }

  followInterfaces(states: readonly VirtualInterfaceState[]): void {
    if (this.#state === 'carried') this.#interfaces.follow(states);
  }

  /** Whether its queries go to the agent's resolver. */
  captureDns(wanted: boolean): void {
    if (this.#state === 'carried') this.#capture.captureDns(wanted);
  }

  /** New connections are as if there were no mesh; open ones go on, over listeners that are closed and routes that stay. */
  leave(): void {
    if (this.#state !== 'carried') return;
    try {
      this.#interfaces.end();
    } catch (err) {
      this.#parts.logger.warn(
        { err, pod: this.enrolled.uid },
        'what a machine in the pod sends is still brought to the agent',
      );
    }
    this.#state = 'leaving';
    this.#capture.leave();
    this.#parts.tunnel.removePod(this.podIndex, { keepConnections: true });
  }

  /**
   * Ends all that is left. The routes of the capture stay when `keepRoutes`: the pod was enrolled again meanwhile, or its
   * namespace is gone.
   */
  end(options: { readonly keepRoutes: boolean }): void {
    if (this.#state === 'gone') return;
    const { native, routing, tunnel, logger } = this.#parts;
    const wasCarried = this.#state === 'carried';
    this.#state = 'gone';
    const steps: readonly (readonly [string, () => void])[] = [
      ['watch', () => this.#watch.close()],
      ['capture', () => this.#capture.detach()],
      ['tunnel', () => wasCarried && tunnel.removePod(this.podIndex, { keepConnections: false })],
      ['routing', () => !options.keepRoutes && native.removeCaptureRouting(this.netnsFd, routing)],
      ['certificate', () => this.#certificate.close()],
      ['netns', () => native.closeFd(this.netnsFd)],
    ];
    for (const [step, act] of steps) {
      try {
        act();
      } catch (err) {
        logger.debug(
          { err, step, pod: this.enrolled.uid },
          'a step of taking a pod out failed; its namespace may be gone',
        );
      }
    }
  }

  /** The agent ends: descriptors are let go, capture stays in force. */
  release(): void {
    if (this.#state === 'gone') return;
    this.#capture.close();
    this.#state = 'gone';
    this.#watch.close();
    this.#certificate.close();
    this.#parts.native.closeFd(this.netnsFd);
  }
}

/** The pod as judgements see it; its workload's name follows from its own. */
export function enrolledPod(
  parts: CarryingParts,
  stored: StoredPod,
  addresses: readonly string[],
): EnrolledPod {
  const { namespace, name, serviceAccount } = stored;
  return { uid: `${parts.clusterId}//Pod/${namespace}/${name}`, namespace, serviceAccount, addresses };
}
