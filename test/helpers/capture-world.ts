/** Pods with the capture in force, one agent's worth: BPF attached to the world's own cgroup, listeners that say who answers. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BpfCapture, type CaptureRanges } from '../../src/kernel/capture.ts';
import { MARK, ROUTE_TABLE } from '../../src/kernel/constants.gen.ts';
import type { PodCapture } from '../../src/kernel/pod-capture.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { PodWorld, type WorldPod } from './pod-world.ts';

export const clusterRanges: CaptureRanges = {
  pods: ['10.60.0.0/16', 'fd60::/16'],
  services: ['10.96.0.0/16', 'fd96::/16'],
  mesh: [],
};

export interface EnrolledPod extends WorldPod {
  readonly podIndex: number;
  readonly capture: PodCapture;
}

export interface EnrolOptions {
  readonly listeners?: boolean;
  readonly reusePort?: boolean;
  /** Whether the capture is told the pod's cgroup. Default true. */
  readonly toldCgroup?: boolean;
}

export interface CaptureWorldOptions {
  readonly workers?: number;
  readonly ranges?: CaptureRanges;
  /** Whether pods may ask for turbo. */
  readonly turbo?: boolean;
}

const noListeners = { outbound: [], hbone: [], plaintext: [] };

export class CaptureWorld extends PodWorld {
  readonly bpffs = join(tmpdir(), this.name);
  workers: number;
  turbo: boolean;
  readonly #ranges: CaptureRanges;
  #capture: BpfCapture | undefined;
  #podIndex = 0;

  static override create(options: CaptureWorldOptions = {}): Promise<CaptureWorld> {
    return PodWorld.build(() => new CaptureWorld(options));
  }

  private constructor({ workers = 2, ranges = clusterRanges, turbo = false }: CaptureWorldOptions) {
    super();
    this.workers = workers;
    this.turbo = turbo;
    this.#ranges = ranges;
  }

  protected override async start(): Promise<void> {
    await super.start();
    mkdirSync(this.bpffs);
    this.onDispose(() => rmdirSync(this.bpffs));
    execFileSync('mount', ['-t', 'bpf', 'bpf', this.bpffs]);
    this.onDispose(() => void execFileSync('umount', [this.bpffs]));
    this.capture = this.startCapture();
    this.onDispose(() => this.capture.uninstall());
    this.capture.setRanges(this.#ranges);
  }

  get capture(): BpfCapture {
    if (this.#capture === undefined) throw new Error('the world has not started');
    return this.#capture;
  }

  set capture(capture: BpfCapture) {
    this.#capture = capture;
  }

  /** Another agent over the same pins. */
  startCapture(cgroupPath = this.cgroup, instance = 'test'): BpfCapture {
    return BpfCapture.start({
      native: nativeAddon(),
      instance,
      cgroupPath,
      workers: this.workers,
      turbo: this.turbo,
      bpffs: this.bpffs,
      // Another build of the programs, to see tests fail.
      ...(process.env.HADAL_TEST_BPF_OBJECTS === undefined
        ? {}
        : { objectDirectory: process.env.HADAL_TEST_BPF_OBJECTS }),
    });
  }

  get exemptPin(): string {
    return join(this.capture.pinDirectory, 'maps', 'exempt');
  }

  /** Attaches a pod, without rule, routes or listeners. */
  attach(pod: WorldPod, podIndex = ++this.#podIndex, toldCgroup = true): EnrolledPod {
    const { netnsFd, netnsCookie, ipv4, ipv6, cgroup } = pod;
    const addresses = [ipv4, ipv6];
    const capture = this.capture.attachPod({
      podIndex,
      netnsFd,
      netnsCookie,
      addresses,
      listeners: noListeners,
      ...(toldCgroup ? { cgroup } : {}),
    });
    return { ...pod, podIndex, capture };
  }

  /** A pod with everything that enrolment does. */
  addEnrolledPod(name: string, options: EnrolOptions = {}): Promise<EnrolledPod> {
    return this.enrol(this.addPod(name), options);
  }

  /** The same for a pod that runs already. */
  async enrol(running: WorldPod, options: EnrolOptions = {}): Promise<EnrolledPod> {
    const pod = this.attach(running, undefined, options.toldCgroup);
    if (options.listeners !== false) await this.startListeners(pod, options);
    this.addCaptureRouting(pod, MARK, ROUTE_TABLE);
    pod.capture.captureOutbound();
    return pod;
  }

  startListeners(pod: EnrolledPod, options: { reusePort?: boolean; workers?: number[] } = {}) {
    const workers = options.workers ?? Array.from({ length: this.workers }, (_, worker) => worker);
    return this.serveAgent(
      pod,
      {
        listeners: join(this.capture.pinDirectory, 'maps', 'listeners'),
        podIndex: pod.podIndex,
        exempt: this.exemptPin,
        workers,
        ...(options.reusePort === undefined ? {} : { reusePort: options.reusePort }),
      },
      { cgroup: this.cgroup },
    );
  }

  /** How often the pod met the reason. */
  countOf(pod: EnrolledPod, reason: number): number {
    const found = this.capture
      .readCounters()
      .pods.find((count) => count.podIndex === pod.podIndex && count.reason === reason);
    return found?.count ?? 0;
  }
}
