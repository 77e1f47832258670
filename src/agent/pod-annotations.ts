/** Tells the cluster which pods this agent holds; whether and when that succeeds, nothing else waits for it. */

import type { StoredPod } from '../enrolment/pod-store.ts';
import type { RemoveReason } from '../enrolment/request.ts';
import type { Changes } from '../model/diff.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { AgentScope } from './parts.ts';

type Workloads = Pick<MeshSnapshot, 'workloads'>;

export interface PodAnnotations {
  carried(pod: StoredPod): void;
  /** Captured, and not carried: its connections are refused, and it is tried again. */
  pending(pod: StoredPod): void;
  gone(pod: StoredPod, reason: RemoveReason): void;
  /** What the control plane says of workloads has changed. */
  onSnapshot(old: Workloads, next: Workloads, changes: Changes): void;
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
  /** Pods by the uid of their workload. */
  const carried = new Map<string, StoredPod>();
  const workloadOf = ({ namespace, name }: StoredPod) => `${config.clusterId}//Pod/${namespace}/${name}`;
  const notCarried = (pod: StoredPod) => {
    if (carried.get(workloadOf(pod))?.uid === pod.uid) carried.delete(workloadOf(pod));
  };
  return {
    carried: (pod) => {
      carried.set(workloadOf(pod), pod);
      annotations.set(pod, 'enabled');
    },
    pending: (pod) => {
      notCarried(pod);
      annotations.set(pod, 'pending');
    },
    gone: (pod, reason) => {
      notCarried(pod);
      if (reason === 'left') annotations.set(pod, undefined);
      else annotations.forget(pod.uid);
    },
    // An agent may not read pods. But who took the annotation away made the control plane take back that it tunnels to the pod.
    onSnapshot: (old, next, { changed }) => {
      for (const workload of changed) {
        const pod = carried.get(workload);
        if (pod === undefined) continue;
        const protocols = [old, next].map(({ workloads }) => workloads.get(workload)?.tunnelProtocol);
        if (protocols[0] === 'HBONE' && protocols[1] !== 'HBONE') annotations.again(pod.uid);
      }
    },
  };
}
