/** What the outbound traffic policy means for each pod, in the kernel: refused there, so also while no agent runs. */
import type { Logger } from '../base/logger.ts';
import type { CarriedPod } from '../enrolment/carried-pod.ts';
import type { UnknownDestinations } from '../kernel/pod-capture.ts';
import type { OutboundTrafficPolicy } from '../model/outbound-policy.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { outboundPolicyOf } from '../routing/outbound-policy.ts';

type Pod = { readonly uid: string; readonly namespace: string };

export interface OutboundPoliciesParts {
  readonly snapshot: () => MeshSnapshot;
  readonly pods: () => readonly CarriedPod[];
  /** As the agent itself was told. */
  readonly own: OutboundTrafficPolicy | undefined;
  /** Addresses of the registry may be unknown here until somebody asks for them. */
  readonly onDemand: boolean;
  readonly logger: Logger;
}

export class OutboundPolicies {
  readonly #parts: OutboundPoliciesParts;
  #hasState = false;

  constructor(parts: OutboundPoliciesParts) {
    this.#parts = parts;
  }

  /**
   * Undefined: nobody has said anything yet, and what an earlier agent left of a pod that is `captured` stays. Nothing was left of a
   * new one: its connections meet the tunnel until somebody says something.
   */
  of(pod: Pod, captured: boolean): UnknownDestinations | undefined {
    const { snapshot, own, onDemand } = this.#parts;
    if (!this.#hasState) {
      if (own === 'REGISTRY_ONLY') return 'refuse';
      return captured ? undefined : 'ask';
    }
    const said = outboundPolicyOf(snapshot(), pod, own);
    // The pod's own workload may have a word: its connections wait for it in the tunnel.
    if (said === undefined) return 'ask';
    if (said.policy === 'ALLOW_ANY') return 'allow';
    return onDemand ? 'ask' : 'refuse';
  }

  /** Who refuses the pod's connections out of the mesh; undefined when nobody does. */
  refusedBy(pod: Pod): string | undefined {
    const said = outboundPolicyOf(this.#parts.snapshot(), pod, this.#parts.own);
    return said?.policy === 'REGISTRY_ONLY' ? said.saidBy : undefined;
  }

  /** A mesh state is in force, with its ranges. */
  onSnapshot(): void {
    this.#hasState = true;
    for (const pod of this.#parts.pods()) {
      try {
        pod.followOutboundPolicy();
      } catch (err) {
        this.#parts.logger.error(
          { err, pod: pod.enrolled.uid },
          'the outbound traffic policy of a pod could not be written into the kernel',
        );
      }
    }
  }
}
