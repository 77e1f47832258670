/**
 * A mesh on one machine: nodes and pods as namespaces, programs from manifests, an agent per node. `startLab` (start.ts)
 * makes one; this is what its user holds.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { KnownObject, Rejection } from '../source/kubernetes/objects.ts';
import type { AddressPlan } from './address-plan.ts';
import type { LabAgents } from './agents.ts';
import { type FabricCapture, startCapture } from './capture.ts';
import { freezeCgroup } from './cgroup.ts';
import type { Cluster, LabelledKind } from './cluster.ts';
import type { LabControlPlane } from './control-plane.ts';
import type { Fabric } from './fabric.ts';
import { type Impairment, impair } from './impairment.ts';
import type { KubeProxy } from './kube-proxy.ts';
import type { Kubelet } from './kubelet.ts';
import type { LabLayout } from './layout.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';
import { masquerade, turnHairpin } from './pod-network.ts';
import type { Publisher } from './publisher.ts';
import { meshInForce, stateInForce } from './state-in-force.ts';

export interface LabParts {
  readonly layout: LabLayout;
  readonly plan: AddressPlan;
  readonly cluster: Cluster;
  readonly fabric: Fabric;
  readonly nodes: ReadonlyMap<string, LabNode>;
  readonly outside: ReadonlyMap<string, LabPod>;
  readonly kubelet: Kubelet;
  readonly publisher: Publisher;
  readonly kubeProxy: KubeProxy;
  readonly agents: LabAgents | undefined;
  readonly stateFile: string;
  readonly controlPlane: LabControlPlane | undefined;
  /** Objects of the manifests that were refused. */
  readonly rejections: () => readonly Rejection[];
  readonly warn: (message: string) => void;
  /** Brings the record for other processes up to date. */
  readonly save: () => void;
  readonly close: () => Promise<void>;
}

const retryMs = 500;

export class Lab {
  readonly #parts: LabParts;
  #passes: Promise<void> = Promise.resolve();
  #waiting = false;
  #stopped: Promise<void> | undefined;
  #captures = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(parts: LabParts) {
    this.#parts = parts;
  }

  get name(): string {
    return this.#parts.layout.name;
  }
  /** tmpfs of the lab. */
  get directory(): string {
    return this.#parts.layout.directory;
  }
  get plan(): AddressPlan {
    return this.#parts.plan;
  }
  /** The program that agents get the mesh from; absent in a lab with a state file. */
  get controlPlane(): LabControlPlane | undefined {
    return this.#parts.controlPlane;
  }
  /** The file that all agents of the lab watch; there is none in a lab with a control plane. */
  get stateFile(): string {
    return this.#parts.stateFile;
  }
  /** Authority and agents; absent in a lab without. */
  get agents(): LabAgents | undefined {
    return this.#parts.agents;
  }
  get nodes(): readonly LabNode[] {
    return [...this.#parts.nodes.values()];
  }
  get pods(): readonly LabPod[] {
    return [...this.#parts.kubelet.pods.values()];
  }
  get rejections(): readonly Rejection[] {
    return this.#parts.rejections();
  }
  /** Why a pod does not run, or is not where its labels want it, by `namespace/name`. */
  get problems(): ReadonlyMap<string, string> {
    return new Map([...this.#parts.kubelet.problems, ...this.#parts.kubelet.membershipFailures]);
  }

  node(name: string): LabNode {
    return this.#parts.nodes.get(name) ?? missing('node', name, this.#parts.nodes.keys());
  }

  /** By `name` when only one namespace has it, or by `namespace/name`. */
  pod(name: string): LabPod {
    const found = this.pods.filter((pod) => pod.key === name || pod.name === name);
    const [one, ...others] = found;
    if (one === undefined) return missing('pod', name, this.#parts.kubelet.pods.keys());
    if (others.length > 0) {
      throw new HadalError(
        'ERR_LAB_POD',
        `several pods are called ${name}: ${found.map((pod) => pod.key).join(', ')}`,
      );
    }
    return one;
  }

  get outsideHosts(): readonly LabPod[] {
    return [...this.#parts.outside.values()];
  }

  /** A host beyond the cluster. */
  outsideHost(name: string): LabPod {
    return this.#parts.outside.get(name) ?? missing('outside host', name, this.#parts.outside.keys());
  }

  /** `name.namespace.svc` of each. */
  get serviceNames(): readonly string[] {
    return this.#parts.cluster
      .objects()
      .services.map(({ metadata }) => `${metadata.name}.${metadata.namespace}.svc`);
  }

  /** Virtual addresses of a service, `name` or `namespace/name`: first IPv4, then IPv6. */
  serviceAddresses(name: string): readonly string[] {
    const services = this.#parts.cluster.objects().services;
    const found = services.find(
      ({ metadata }) => metadata.name === name || `${metadata.namespace}/${metadata.name}` === name,
    );
    if (found === undefined)
      return missing(
        'service',
        name,
        services.map(({ metadata }) => metadata.name),
      );
    return found.spec.clusterIPs;
  }

  /** Objects from text, as `kubectl apply` takes them; resolves when they run. */
  async apply(text: string): Promise<void> {
    this.#parts.cluster.apply(text);
    await this.reconcile();
  }

  async deletePod(name: string): Promise<void> {
    this.#parts.cluster.delete('Pod', this.pod(name).key);
    await this.reconcile();
  }

  async delete(kind: KnownObject['kind'], key: string): Promise<void> {
    this.#parts.cluster.delete(kind, key);
    await this.reconcile();
  }

  /** Sets labels as `kubectl label` would; undefined takes one away. Keys: `namespace/name`, for a Namespace its name. */
  async label(kind: LabelledKind, key: string, labels: Record<string, string | undefined>): Promise<void> {
    this.#parts.cluster.label(kind, key, labels);
    await this.reconcile();
  }

  /** Policies of the mesh, as `istio.security.Authorization` in JSON form. */
  setPolicies(policies: readonly unknown[]): void {
    if (this.#parts.controlPlane !== undefined) {
      throw new HadalError(
        'ERR_LAB_POLICIES',
        'a lab with a control plane takes its policies as objects: apply an AuthorizationPolicy',
      );
    }
    this.#parts.publisher.policies = policies;
    this.#parts.publisher.publish([...this.pods, ...this.#parts.outside.values()]);
  }

  /** Makes what runs equal to what is written. Calls that come while a pass runs share the next one. */
  async reconcile(): Promise<void> {
    if (!this.#waiting) {
      this.#waiting = true;
      this.#passes = this.#passes.then(async () => {
        this.#waiting = false;
        if (this.#stopped !== undefined) return;
        await this.#parts.kubelet.reconcile();
        await this.#parts.kubeProxy.settled();
        this.#parts.save();
      });
      // A failed pass is told to those who wait for it; the next one starts afresh.
      const pass = this.#passes;
      this.#passes = pass.catch(() => {});
      await pass;
      return;
    }
    await this.#passes;
  }

  /** Another pass in a moment, for what an agent could not do now. */
  reconcileSoon(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.reconcile().catch(() => {}); // told by the pass that somebody waits for
    }, retryMs);
    this.#retry.unref();
  }

  cancelRetry(): void {
    clearTimeout(this.#retry);
  }

  /** Resolves when every pod is ready. */
  async waitReady(timeoutMs = 30_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const pending = this.pods.filter((pod) => !pod.ready);
      // Readiness is published a moment after it is known, and endpoints follow.
      if (pending.length === 0) return await this.#settle();
      if (Date.now() > deadline) {
        const names = pending.map((pod) => pod.key).join(', ');
        const logs = join(this.directory, 'pods');
        throw new HadalError(
          'ERR_LAB_NOT_READY',
          `not ready after ${timeoutMs} ms: ${names}; their logs are under ${logs}`,
        );
      }
      await sleep(20);
    }
  }

  async #settle(): Promise<void> {
    this.#parts.publisher.publish([...this.pods, ...this.#parts.outside.values()]);
    await this.#parts.kubeProxy.settled();
    await this.meshInForce();
  }

  /** Resolves when every agent that runs goes by the mesh as it is written now; after some seconds with the nodes whose do not. */
  async meshInForce(): Promise<readonly string[]> {
    const { controlPlane, nodes, stateFile, publisher, warn } = this.#parts;
    const lagging =
      controlPlane === undefined
        ? await stateInForce(nodes.values(), stateFile)
        : await meshInForce(nodes.values(), () => publisher.mesh);
    for (const name of lagging)
      warn(`the agent of ${name} does not go by the mesh as it is written; 'hadal status' there says why`);
    return lagging;
  }

  /** In a lab whose pods reach one another by the fabric's router: by the node itself from now on, or by the router again. */
  async hairpin(node: string, on: boolean): Promise<void> {
    await turnHairpin(this.node(node).link, on);
  }

  /** Connections between pods of the node that begin from now on come from the node's address. */
  async masquerade(node: string): Promise<void> {
    await masquerade(this.node(node).link);
  }

  /** Sleeps all processes of the lab, or wakes them. */
  async freeze(frozen = true): Promise<void> {
    await freezeCgroup(this.#parts.layout.cgroup, frozen);
  }

  /** Captures what crosses between the nodes; `filter` in tcpdump's words. */
  async capture(filter: readonly string[] = []): Promise<FabricCapture> {
    const cgroup = join(this.#parts.layout.cgroup, 'tools');
    const file = join(this.directory, `capture-${++this.#captures}.pcap`);
    return await startCapture({ ...this.#parts.fabric.tap, cgroup }, file, filter);
  }

  /** Delays what leaves each node and loses some of it; the function returned ends that. */
  async impair(impairment: Impairment): Promise<() => Promise<void>> {
    const cgroup = join(this.#parts.layout.cgroup, 'tools');
    return await impair({ fabric: this.#parts.fabric, cgroup }, impairment);
  }

  /** Ends everything and leaves nothing behind. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    // A pass that runs would make new things while the old ones go.
    await this.#passes;
    await this.#parts.close();
  }
}

function missing(kind: string, name: string, known: Iterable<string>): never {
  throw new HadalError(
    'ERR_LAB_UNKNOWN',
    `there is no ${kind} ${name}; there are: ${[...known].join(', ') || 'none'}`,
  );
}
