/**
 * Makes what runs equal to what is written: creates pods, joins them to the mesh, starts their programs, removes them.
 */

import { objectKey } from '../source/kubernetes/metadata.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import type { Cluster } from './cluster.ts';
import type { LabLog } from './lab-log.ts';
import { Membership } from './membership.ts';
import type { LabNode } from './node.ts';
import { inParallel } from './parallel.ts';
import { LabPod, type PodPlan } from './pod.ts';
import type { Publisher } from './publisher.ts';
import { ReadinessProbe } from './readiness-probe.ts';

export interface KubeletOptions {
  readonly cluster: Cluster;
  readonly nodes: ReadonlyMap<string, LabNode>;
  readonly plan: (object: PodObject, node: LabNode) => PodPlan;
  readonly publisher: Publisher;
  /** Beside the pods of the cluster, those that read names too. */
  readonly others: () => Iterable<LabPod>;
  /** Nothing that is pinned may lead to the pod's addresses any more, whether an agent runs or not. */
  readonly forgetAddresses: (pod: LabPod) => void;
  /** Something that the lab's record tells has changed. */
  readonly changed: () => void;
  /** Not everything could be done; asks for another pass in a moment. */
  readonly retry: () => void;
  readonly log: LabLog;
}

/** Namespaces are made by several programs each; more at a time would only queue for the kernel's lock. */
const parallelCreations = 4;

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly pods = new Map<string, LabPod>();
  readonly #probes = new Map<string, ReadinessProbe>();
  /** What kept an object from running, by key; cleared when it runs. */
  readonly problems = new Map<string, string>();

  readonly #membership: Membership;

  constructor(options: KubeletOptions) {
    this.#options = options;
    const { nodes, log } = options;
    this.#membership = new Membership({ nodes, log, publish: (pod, when) => this.#tell(pod, when) });
  }

  /** Why pods are not where their labels want them. */
  get membershipFailures(): ReadonlyMap<string, string> {
    return this.#membership.failures;
  }

  /** One pass; the caller sees to it that passes do not overlap. */
  async reconcile(): Promise<void> {
    const { cluster } = this.#options;
    const objects = cluster.objects();
    const wanted = new Map(
      objects.pods.filter((pod) => this.#canRun(pod)).map((pod) => [objectKey(pod), pod]),
    );
    const gone = [...this.pods.values()].filter((pod) => !isSame(pod, wanted.get(pod.key)));
    for (const pod of gone) await this.#remove(pod);
    const missing = [...wanted.values()].filter((pod) => !this.pods.has(objectKey(pod)));
    const created = await inParallel(missing, parallelCreations, (pod) => this.#create(pod));
    if (gone.length > 0 || created.length > 0) this.#publish();
    await this.#membership.follow(cluster.objects(), this.pods);
    this.#publish();
    for (const pod of this.pods.values()) {
      if (!this.#probes.has(pod.key) && !this.#membership.isPending(pod)) this.#start(pod);
    }
    if (this.#membership.failures.size > 0) this.#options.retry();
  }

  close(): void {
    for (const probe of this.#probes.values()) probe.close();
    for (const pod of this.pods.values()) pod.stopRestarts();
    for (const host of this.#options.others()) host.stopRestarts();
  }

  #canRun(pod: PodObject): boolean {
    const key = objectKey(pod);
    const reason = this.#obstacle(pod);
    if (reason === undefined) this.problems.delete(key);
    else if (this.problems.get(key) !== reason) {
      this.problems.set(key, reason);
      this.#options.log.warn(`Pod ${key} does not run: ${reason}`);
    }
    return reason === undefined;
  }

  #obstacle(pod: PodObject): string | undefined {
    const known = [...this.#options.nodes.keys()];
    if (pod.spec.hostNetwork) return 'hostNetwork is not something that the lab offers';
    if (pod.spec.securityContext.runAsUser === 0)
      return 'securityContext.runAsUser is 0; pods of the lab run unprivileged';
    if (pod.spec.nodeName === '')
      return `spec.nodeName is missing; the lab has no scheduler (nodes: ${known.join(', ')})`;
    if (!known.includes(pod.spec.nodeName))
      return `there is no node ${pod.spec.nodeName} (nodes: ${known.join(', ')})`;
    return undefined;
  }

  async #create(object: PodObject): Promise<LabPod> {
    const key = objectKey(object);
    const node = this.#nodeOf(object.spec.nodeName);
    const pod = new LabPod(this.#options.plan(object, node));
    this.pods.set(key, pod);
    this.#report(pod);
    this.#options.publisher.prepare(pod);
    // As a CNI plugin does at ADD and DEL, also of pods that are in no mesh: somebody else had them perhaps.
    this.#options.forgetAddresses(pod);
    try {
      await pod.create();
    } catch (error) {
      // Half a pod would be taken for a whole one by the next pass.
      this.pods.delete(key);
      this.#options.cluster.setStatus(key, undefined);
      await pod.remove().catch(() => {});
      node.podIndexes.delete(key);
      throw error;
    }
    this.#options.log.info(`pod ${key} on ${node.name}: ${pod.v4}, ${pod.v6}`);
    return pod;
  }

  #start(pod: LabPod): void {
    pod.startPrograms();
    const probe = new ReadinessProbe(pod, this.#nodeOf(pod.node), (ready) => {
      pod.ready = ready;
      this.#tell(pod, 'soon');
      this.#options.changed();
    });
    this.#probes.set(pod.key, probe);
  }

  async #remove(pod: LabPod): Promise<void> {
    this.#probes.get(pod.key)?.close();
    this.#probes.delete(pod.key);
    this.pods.delete(pod.key);
    this.#options.cluster.setStatus(pod.key, undefined);
    this.#publish();
    await this.#membership.forget(pod);
    await pod.remove();
    this.#options.forgetAddresses(pod);
    this.#nodeOf(pod.node).podIndexes.delete(pod.key);
    this.#options.log.info(`pod ${pod.key} is gone`);
  }

  #tell(pod: LabPod, when: 'now' | 'soon'): void {
    this.#report(pod);
    if (when === 'now') this.#publish();
    else this.#options.publisher.publishSoon(() => this.#readers());
  }

  #publish(): void {
    this.#options.publisher.publish(this.#readers());
  }

  #readers(): LabPod[] {
    return [...this.pods.values(), ...this.#options.others()];
  }

  #report(pod: LabPod): void {
    const { addresses, ready, enrolled } = pod;
    this.#options.cluster.setStatus(pod.key, { addresses, ready, enrolled });
  }

  #nodeOf(name: string): LabNode {
    const node = this.#options.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }
}

/** A pod's labels may change while it runs; another spec is another pod. */
function isSame(pod: LabPod, object: PodObject | undefined): boolean {
  return object !== undefined && JSON.stringify(object.spec) === JSON.stringify(pod.plan.object.spec);
}
