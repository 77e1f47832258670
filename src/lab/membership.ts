/**
 * Joins pods to the mesh and takes them out, as their labels say. A pod is published as reachable by HBONE only after
 * the agent of its node answered, and no longer before the agent lets it go. What an agent did not do is tried again.
 */
import { objectKey } from '../source/kubernetes/metadata.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { enrolmentWish } from '../source/translate/enrolment.ts';
import type { ClusterObjects } from '../source/translate/mesh.ts';
import { captureWishes } from './agent-process.ts';
import type { LabLog } from './lab-log.ts';
import type { LabNode } from './node.ts';
import { inParallel } from './parallel.ts';
import type { LabPod } from './pod.ts';

export interface MembershipOptions {
  readonly nodes: ReadonlyMap<string, LabNode>;
  /** Tells the mesh about the pod: at once, or together with what else changes. */
  readonly publish: (pod: LabPod, when: 'now' | 'soon') => void;
  readonly log: LabLog;
}

/** Kubelets start pods side by side as well; the agent must bear it. */
const parallelEnrolments = 8;

export class Membership {
  readonly #options: MembershipOptions;
  /** What the agent said when a pod could not join or leave, by `namespace/name`. */
  readonly failures = new Map<string, string>();
  /** Wishes of its annotations that the agent was told last. */
  readonly #told = new WeakMap<LabPod, string>();

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  async follow(objects: ClusterObjects, pods: ReadonlyMap<string, LabPod>): Promise<void> {
    await inParallel(objects.pods, parallelEnrolments, async (object) => {
      const pod = pods.get(objectKey(object));
      if (pod === undefined) return;
      const { wanted } = enrolmentWish(object, objects.namespaces.get(object.metadata.namespace));
      await this.#try(pod, () => (wanted ? this.#join(pod, object) : this.#leave(pod)));
    });
  }

  /** A pod that should be in the mesh and is not yet: as with a CNI plugin that failed, its programs do not start. */
  isPending(pod: LabPod): boolean {
    return this.failures.has(pod.key) && !pod.enrolled;
  }

  /** The pod ends. */
  async forget(pod: LabPod): Promise<void> {
    this.failures.delete(pod.key);
    if (!pod.held) return;
    const agent = this.#options.nodes.get(pod.node)?.agent;
    // An agent that is away finds the pod's namespace gone when it comes back.
    await agent?.removePod(pod, 'deleted').catch((error: unknown) => this.#options.log.warn(String(error)));
  }

  async #try(pod: LabPod, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.failures.delete(pod.key);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (this.failures.get(pod.key) !== why) this.#options.log.warn(`pod ${pod.key}: ${why}`);
      this.failures.set(pod.key, why);
    }
  }

  async #join(pod: LabPod, object: PodObject): Promise<void> {
    const agent = this.#options.nodes.get(pod.node)?.agent;
    const wishes = JSON.stringify(captureWishes(object));
    if (agent === undefined || (pod.enrolled && this.#told.get(pod) === wishes)) return;
    await agent.addPod(pod, object);
    this.#told.set(pod, wishes);
    if (pod.enrolled) return;
    pod.held = true;
    pod.enrolled = true;
    this.#options.publish(pod, 'soon');
    this.#options.log.info(`pod ${pod.key} joined the mesh`);
  }

  async #leave(pod: LabPod): Promise<void> {
    if (!pod.held) return;
    if (pod.enrolled) {
      pod.enrolled = false;
      this.#options.publish(pod, 'now');
    }
    await this.#options.nodes.get(pod.node)?.agent?.removePod(pod, 'left');
    pod.held = false;
    this.#options.log.info(`pod ${pod.key} left the mesh`);
  }
}
