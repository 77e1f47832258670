/**
 * The annotation `ambient.istio.io/redirection` on pods of an agent's own node: what control planes go by before they send
 * tunnels to a pod. Where no CNI agent writes it, the agent itself must.
 */
import type { Logger } from '../../base/logger.ts';
import { redirectionAnnotation } from '../translate/enrolment.ts';
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';
import { apiResources, resourcePath } from './resources.ts';
import { WriteQueue } from './write-queue.ts';

/** `pending`: wanted in the mesh, not held yet. Undefined: the annotation is to go. */
export type Redirection = 'enabled' | 'pending' | undefined;

export interface AnnotatedPod {
  readonly namespace: string;
  readonly name: string;
  /** A pod of the same name that came later is another. */
  readonly uid: string;
}

export interface RedirectionAnnotationsOptions {
  readonly logger: Logger;
  readonly perSecond?: number;
}

interface Wish {
  readonly pod: AnnotatedPod;
  readonly redirection: Redirection;
}

export class RedirectionAnnotations {
  readonly #api: ApiClient;
  /** By uid. */
  readonly #wishes = new Map<string, Wish>();
  readonly #queue: WriteQueue;
  #writes = 0;

  constructor(api: ApiClient, { logger, perSecond = 10 }: RedirectionAnnotationsOptions) {
    this.#api = api;
    this.#queue = new WriteQueue({ write: (uid, signal) => this.#write(uid, signal), perSecond, logger });
  }

  /** Patches sent so far. */
  get writes(): number {
    return this.#writes;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  set(pod: AnnotatedPod, redirection: Redirection): void {
    const known = this.#wishes.get(pod.uid);
    if (known !== undefined && known.redirection === redirection) return;
    this.#wishes.set(pod.uid, { pod, redirection });
    this.#queue.add(pod.uid);
  }

  /** Somebody else took it away, or wrote something else there: what is wished for is written once more. */
  again(uid: string): void {
    if (this.#wishes.has(uid)) this.#queue.add(uid);
  }

  /** The pod is gone; nothing is left to write. */
  forget(uid: string): void {
    this.#wishes.delete(uid);
    this.#queue.remove(uid);
  }

  /** Writes until `signal` fires. */
  run(signal: AbortSignal): Promise<void> {
    return this.#queue.run(signal);
  }

  async #write(uid: string, signal: AbortSignal): Promise<void> {
    const wish = this.#wishes.get(uid);
    if (wish === undefined) return;
    const { namespace, name } = wish.pod;
    this.#writes += 1;
    try {
      await this.#api.request({
        method: 'PATCH',
        path: resourcePath(apiResources.Pod, { namespace, name, subresource: 'status' }),
        // Null takes it away. The uid makes it a conflict where the pod is another by now.
        body: { metadata: { uid, annotations: { [redirectionAnnotation]: wish.redirection ?? null } } },
        signal,
      });
    } catch (error) {
      if (!isApiError(error, 404) && !isAnother(error)) throw error;
    }
    // Without the annotation a pod is as it was before anybody cared.
    if (wish.redirection === undefined && this.#wishes.get(uid) === wish) this.#wishes.delete(uid);
  }
}

/** Another pod has its name: a uid cannot be changed. */
function isAnother(error: unknown): boolean {
  return isApiError(error, 409) || (isApiError(error, 422) && error.said.includes('metadata.uid'));
}
