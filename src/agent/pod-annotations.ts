/** Tells the cluster which pods this agent holds; whether and when that succeeds, nothing else waits for it. */

import type { StoredPod } from '../enrolment/pod-store.ts';
import type { RemoveReason } from '../enrolment/request.ts';
import type { AgentScope } from './parts.ts';

export interface PodAnnotations {
  carried(pod: StoredPod): void;
  gone(pod: StoredPod, reason: RemoveReason): void;
}

/** Undefined when nobody wants them. `stored` are the pods that an earlier agent knew. */
export async function startPodAnnotations(
  { config, logs, lifecycle }: AgentScope,
  stored: Iterable<StoredPod>,
): Promise<PodAnnotations | undefined> {
  if (!config.annotatePods) return undefined;
  // The client of the Kubernetes API takes tens of megabytes, which only those agents shall have that use it.
  const [{ ApiClient }, { loadApiConfig }, { RedirectionAnnotations }] = await Promise.all([
    import('../source/api-server/api-client.ts'),
    import('../source/api-server/api-config.ts'),
    import('../source/api-server/redirection-annotation.ts'),
  ]);
  const api = new ApiClient(loadApiConfig({ file: config.kubeconfig || undefined }));
  lifecycle.own('connections to the Kubernetes API', api);
  const annotations = new RedirectionAnnotations(api, { logger: logs.scope('annotations') });
  const ending = new AbortController();
  const running = annotations.run(ending.signal);
  lifecycle.onClose('annotations of pods', () => {
    ending.abort(new Error('the agent is ending'));
    return running;
  });
  // One that left while nobody could write still says that it is held.
  for (const pod of stored) if (pod.leftAt !== undefined) annotations.set(pod, undefined);
  return {
    carried: (pod) => annotations.set(pod, 'enabled'),
    gone: (pod, reason) => {
      if (reason === 'left') annotations.set(pod, undefined);
      else annotations.forget(pod.uid);
    },
  };
}
