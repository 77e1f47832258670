/** A pod of the lab: a network namespace, a mount namespace, a cgroup, and the programs of its manifest. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import type { DualAddress } from './address-plan.ts';
import { createCgroup, emptyCgroup, removeCgroup } from './cgroup.ts';
import { type CommandOptions, type CommandResult, capture } from './command.ts';
import { ContainerRun } from './container-run.ts';
import type { PodLayout } from './layout.ts';
import { type PodMount, podPath, podRootScript } from './pod-root.ts';
import { type Place, type ProcessIdentity, placed, processIdentity, spawnPlaced } from './process.ts';

export interface PodPlan {
  readonly object: PodObject;
  readonly node: string;
  readonly nodeAddress: DualAddress;
  readonly layout: PodLayout;
  readonly address: DualAddress;
  readonly createNetwork: () => Promise<void>;
  readonly removeNetwork: () => Promise<void>;
  readonly uid: number;
  readonly mounts: readonly PodMount[];
}

export interface PodExecOptions extends CommandOptions {
  /** Root with all capabilities inside the pod's namespaces, to do what a pod's program must not be able to do. */
  readonly asRoot?: boolean;
}

export class LabPod {
  readonly plan: PodPlan;
  readonly #containers: ContainerRun[] = [];
  #pause: { readonly child: ChildProcess; readonly identity: ProcessIdentity } | undefined;
  /** The agent of its node answered for it. */
  held = false;
  /** It is published as reachable by HBONE. */
  enrolled = false;
  ready = false;

  constructor(plan: PodPlan) {
    this.plan = plan;
  }

  get name(): string {
    return this.plan.object.metadata.name;
  }
  get namespace(): string {
    return this.plan.object.metadata.namespace;
  }
  /** `namespace/name`. */
  get key(): string {
    return `${this.namespace}/${this.name}`;
  }
  /** Kubernetes' uid: another one for a pod that is made again under the same name. */
  readonly podUid: string = randomUUID();
  get node(): string {
    return this.plan.node;
  }
  get uid(): number {
    return this.plan.uid;
  }
  /** Name of the network namespace in /run/netns. */
  get netns(): string {
    return this.plan.layout.netns;
  }
  get cgroup(): string {
    return this.plan.layout.cgroup;
  }
  get v4(): string {
    return this.plan.address.v4;
  }
  get v6(): string {
    return this.plan.address.v6;
  }
  get addresses(): readonly string[] {
    return [this.v4, this.v6];
  }
  get pause(): ProcessIdentity | undefined {
    return this.#pause?.identity;
  }
  get restarts(): number {
    return this.#containers.reduce((sum, container) => sum + container.restarts, 0);
  }
  get isRunning(): boolean {
    return this.#containers.every((container) => container.isRunning);
  }

  /** Network, file system and the sleeping process; no program yet. */
  async create(): Promise<void> {
    createCgroup(this.cgroup);
    await this.plan.createNetwork();
    await this.#startPause();
  }

  startPrograms(): void {
    const { object, layout } = this.plan;
    for (const container of object.spec.containers) {
      const argv = [...container.command, ...container.args];
      // Without a command the pod only sleeps, and tests enter it.
      if (argv.length === 0) continue;
      this.#containers.push(
        new ContainerRun({
          argv,
          place: this.place(),
          env: this.environment(container.env),
          log: join(layout.directory, `${container.name}.log`),
          restartPolicy: object.spec.restartPolicy,
        }),
      );
    }
  }

  /** Runs a program in the pod to its end. */
  exec(argv: readonly string[], options: PodExecOptions = {}): Promise<CommandResult> {
    return capture(placed(this.place(options.asRoot), argv), {
      ...options,
      env: { ...this.environment(), ...options.env },
    });
  }

  /** Starts a program in the pod that goes on; it ends with the pod at the latest. */
  spawn(argv: readonly string[], options: { asRoot?: boolean; env?: NodeJS.ProcessEnv } = {}): ChildProcess {
    return spawnPlaced(this.place(options.asRoot), argv, { env: { ...this.environment(), ...options.env } });
  }

  place(asRoot = false): Place {
    if (this.#pause === undefined) throw new HadalError('ERR_LAB_POD', `pod ${this.key} is not running`);
    const place = { cgroup: this.cgroup, netns: this.netns, mountsOf: this.#pause.identity.pid };
    return asRoot ? place : { ...place, uid: this.uid };
  }

  environment(wanted: PodObject['spec']['containers'][number]['env'] = []): NodeJS.ProcessEnv {
    const own = wanted.map(({ name, value, valueFrom }) => {
      const path = valueFrom?.fieldRef?.fieldPath;
      return [name, path === undefined ? (value ?? '') : this.#field(path)] as const;
    });
    return {
      PATH: podPath,
      HOME: '/home/app',
      HOSTNAME: this.name,
      LANG: 'C.UTF-8',
      ...Object.fromEntries(own),
    };
  }

  /** No program is started again; what runs ends with the cgroup. */
  stopRestarts(): void {
    for (const container of this.#containers) container.stop();
  }

  /** Ends the programs, then takes the namespaces away. */
  async remove(): Promise<void> {
    this.stopRestarts();
    await emptyCgroup(this.cgroup);
    this.#pause = undefined;
    await this.plan.removeNetwork();
    removeCgroup(this.cgroup);
  }

  #field(path: string): string {
    const { metadata, spec } = this.plan.object;
    const fields: Record<string, string> = {
      'metadata.name': metadata.name,
      'metadata.namespace': metadata.namespace,
      'spec.nodeName': spec.nodeName,
      'spec.serviceAccountName': spec.serviceAccountName,
      'status.podIP': this.v4,
      'status.podIPs': this.addresses.join(','),
      'status.hostIP': this.plan.nodeAddress.v4,
    };
    return fields[path] ?? '';
  }

  async #startPause(): Promise<void> {
    const { layout, object, uid, mounts } = this.plan;
    mkdirSync(layout.directory, { recursive: true });
    const script = podRootScript({
      directory: layout.directory,
      hostname: object.metadata.name,
      uid,
      mounts,
    });
    const place = { cgroup: this.cgroup, netns: this.netns };
    const unshare = ['unshare', '--mount', '--propagation', 'private', 'sh', '-eu', '-c', script];
    const [program = 'sh', ...args] = placed(place, unshare);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: podPath } });
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('error', reject);
      child.once('close', (code) =>
        reject(
          new HadalError(
            'ERR_LAB_POD',
            `pod ${this.key}: its root was not made (${code}): ${complaint.trim()}`,
          ),
        ),
      );
    });
    const identity = child.pid === undefined ? undefined : processIdentity(child.pid);
    if (identity === undefined)
      throw new HadalError('ERR_LAB_POD', `pod ${this.key} ended at once: ${complaint.trim()}`);
    // It says no more, and must not keep the lab's process waiting.
    child.stdout.destroy();
    child.stderr.destroy();
    child.unref();
    this.#pause = { child, identity };
  }
}
