/** Tells the cluster which pods this agent holds; whether and when that succeeds, nothing else waits for it. */

import type { StoredPod } from '../enrolment/pod-store.ts';
import type { RemoveReason } from '../enrolment/request.ts';
import { ApiClient } from '../source/api-server/api-client.ts';
import { loadApiConfig } from '../source/api-server/api-config.ts';
import { RedirectionAnnotations } from '../source/api-server/redirection-annotation.ts';
import type { AgentScope } from './parts.ts';

export interface PodAnnotations {
  carried(pod: StoredPod): void;
  gone(pod: StoredPod, reason: RemoveReason): void;
}

/** Undefined when nobody wants them. `stored` are the pods that an earlier agent knew. */
export function startPodAnnotations(
  { config, logs, lifecycle }: AgentScope,
  stored: Iterable<StoredPod>,
): PodAnnotations | undefined {
  if (!config.annotatePods) return undefined;
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
