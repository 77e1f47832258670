import { deadline } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { CertificateUse, WorkloadCertificates } from '../identity/workload-certificates.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import type { PodCapture } from '../kernel/pod-capture.ts';
import { podSysctls } from '../kernel/pod-sysctls.ts';
import { spiffeText } from '../model/spiffe-id.ts';
import type { CaptureRouting, NativeNet, NetnsChange, NetnsWatch } from '../native/types.ts';
import type { EnrolledPod } from '../routing/judgement.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { ownAddresses } from './own-addresses.ts';
import type { StoredPod } from './pod-store.ts';
import { UndoStack } from './undo-stack.ts';

/** Everything a pod is carried with. */
export interface CarryingParts {
  readonly native: NativeNet;
  readonly capture: Pick<BpfCapture, 'attachPod' | 'replaceRows'>;
  readonly tunnel: Pick<Tunnel, 'addPod' | 'setPodAddresses' | 'removePod'>;
  readonly certificates: Pick<WorkloadCertificates, 'use'>;
  readonly routing: CaptureRouting;
  readonly clusterId: string;
  readonly trustDomain: string;
  /** How long the answer waits for the pod's certificate. */
  readonly certificateWaitMs: number;
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
  readonly stored: StoredPod;
  readonly netnsFd: number;
  readonly netns: NetnsIdentity;
  readonly identity: string;
  /** Milliseconds of each step of its enrolment. */
  readonly timings: Readonly<Record<string, number>>;
  readonly #parts: CarryingParts;
  readonly #certificate: CertificateUse;
  readonly #capture: PodCapture;
  readonly #watch: NetnsWatch;
  #addresses: readonly string[];
  #state: PodState = 'carried';

  /**
   * Does the steps in order, the one after which nothing escapes last; undoes them when one fails. Takes over `netnsFd`.
   * `keep` writes the pod down: capture must not begin for a pod that a restarted agent would not know. What an earlier
   * agent left in force (`adopted`) stays in force when a step fails: the pod's connections are then refused, not leaked.
   */
  static async carry(
    parts: CarryingParts,
    netnsFd: number,
    stored: StoredPod,
    options: { readonly adopted: boolean; readonly keep: () => Promise<void> },
  ): Promise<CarriedPod> {
    const steps = new UndoStack();
    try {
      return await carryInSteps(parts, steps, netnsFd, stored, options);
    } catch (caught) {
      steps.rollBack(parts.logger);
      throw HadalError.from(caught, 'ERR_ENROLMENT', `enrolling ${stored.namespace}/${stored.name}`);
    }
  }

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
    this.stored = fields.stored;
    this.netnsFd = fields.netnsFd;
    this.netns = fields.netns;
    this.identity = fields.identity;
    this.timings = fields.timings;
    this.#addresses = fields.addresses;
    this.#certificate = fields.certificate;
    this.#capture = fields.capture;
    this.#watch = fields.watch;
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

  /** New connections are as if there were no mesh; open ones go on, over listeners that are closed and routes that stay. */
  leave(): void {
    if (this.#state !== 'carried') return;
    this.#state = 'leaving';
    this.#capture.detach();
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
      ['capture', () => wasCarried && this.#capture.detach()],
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
    if (this.#state === 'carried') this.#capture.close();
    this.#state = 'gone';
    this.#watch.close();
    this.#certificate.close();
    this.#parts.native.closeFd(this.netnsFd);
  }
}

async function carryInSteps(
  parts: CarryingParts,
  steps: UndoStack,
  netnsFd: number,
  stored: StoredPod,
  { adopted, keep }: { readonly adopted: boolean; readonly keep: () => Promise<void> },
): Promise<CarriedPod> {
  const { native, tunnel, routing } = parts;
  const { podIndex } = stored;
  let pod: CarriedPod | undefined;
  steps.do(
    'netns',
    () => netnsFd,
    (fd) => native.closeFd(fd),
  );
  const netns = steps.do('identity', () => native.netnsIdentity(netnsFd));
  const identity = spiffeText(parts.trustDomain, stored.namespace, stored.serviceAccount);
  const certificate = steps.do(
    'certificate',
    () => parts.certificates.use(identity),
    (use) => use.close(),
  );
  steps.do('sysctl', () => {
    for (const { name, value } of podSysctls) native.writeSysctl(netnsFd, name, value);
  });
  steps.do(
    'routing',
    () => native.addCaptureRouting(netnsFd, routing),
    () => !adopted && native.removeCaptureRouting(netnsFd, routing),
  );
  const watch = steps.do(
    'watch',
    () => native.watchNetns(netnsFd, routing, (change) => onChange(parts, stored, () => pod, change)),
    (started) => started.close(),
  );
  const addresses = steps.do('addresses', () => ownAddresses(stored.addresses, native.addresses(netnsFd)));
  const enrolled = enrolledPod(parts, stored, addresses);
  const listeners = steps.do(
    'listeners',
    () => tunnel.addPod({ ...enrolled, podIndex, netnsFd, identity }),
    () => tunnel.removePod(podIndex, { keepConnections: false }),
  );
  // Without its certificate a captured pod reaches nobody: it is given a moment, before it could notice.
  await steps.wait('certificateReady', () => certificateOrDeadline(parts, certificate));
  const capture = steps.do(
    'sk_lookup',
    () => parts.capture.attachPod({ podIndex, netnsCookie: netns.cookie, netnsFd, addresses, listeners }),
    (attached) => (adopted ? attached.close() : attached.detach()),
  );
  // Refusals that an earlier agent wrote down belong to its mesh state, not to ours.
  steps.do('rows', () => parts.capture.replaceRows(podIndex, []));
  await steps.wait('store', keep);
  steps.do('capture', () => capture.captureOutbound());
  pod = new CarriedPod({
    parts,
    stored,
    netnsFd,
    netns,
    identity,
    addresses,
    certificate,
    capture,
    watch,
    timings: steps.timings,
  });
  // What changed while the steps were done.
  pod.followAddresses();
  return pod;
}

function onChange(
  parts: CarryingParts,
  stored: StoredPod,
  pod: () => CarriedPod | undefined,
  change: NetnsChange,
): void {
  const carried = pod();
  if (carried === undefined) return;
  if (change.kind === 'addresses') {
    carried.followAddresses();
  } else if (change.kind === 'restored') {
    const { what, detail, afterMs } = change;
    parts.logger.warn(
      { pod: carried.enrolled.uid, what, detail, afterMs },
      'somebody removed a part of the capture; it was put back',
    );
    parts.onRestored(carried, change);
  } else if (carried.state === 'carried') {
    parts.logger.error(
      { pod: `${stored.namespace}/${stored.name}` },
      `the network namespace cannot be watched: ${change.message}`,
    );
  }
}

function enrolledPod(parts: CarryingParts, stored: StoredPod, addresses: readonly string[]): EnrolledPod {
  const { namespace, name, serviceAccount } = stored;
  return { uid: `${parts.clusterId}//Pod/${namespace}/${name}`, namespace, serviceAccount, addresses };
}

/** A failed or late certificate is no reason not to capture: connections are refused until it comes, never sent in the clear. */
async function certificateOrDeadline(parts: CarryingParts, certificate: CertificateUse): Promise<void> {
  const time = deadline(parts.certificateWaitMs, 'waiting for the certificate');
  try {
    await certificate.ready(time.signal);
  } catch (err) {
    parts.logger.warn(
      { err, identity: certificate.identity },
      'the pod is captured before its certificate is there; its connections are refused until it comes',
    );
  } finally {
    time.clear();
  }
}
