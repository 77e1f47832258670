import { dependency } from '../model/diff.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { EnrolledPod } from './judgement.ts';
import type { Trace } from './trace.ts';

export type Enrolled =
  | { readonly workload: Workload; readonly reason: 0 }
  | { readonly workload: undefined; readonly reason: number };

/**
 * The mesh's view of a pod that is enrolled here, by uid and never by address alone. Its service account must be the
 * one it was enrolled with: otherwise it would speak with an identity that is not its own.
 */
export function enrolledWorkload(snapshot: MeshSnapshot, trace: Trace, pod: EnrolledPod): Enrolled {
  trace.depend(dependency.workload(pod.uid));
  const workload = snapshot.workloads.get(pod.uid);
  if (workload === undefined) {
    trace.step(`the pod's own workload ${pod.uid} is not in the mesh state`);
    return { workload: undefined, reason: reasons.UNKNOWN_WORKLOAD };
  }
  if (workload.namespace !== pod.namespace || workload.serviceAccount !== pod.serviceAccount) {
    const enrolled = `${pod.namespace}/${pod.serviceAccount}`;
    const stated = `${workload.namespace}/${workload.serviceAccount}`;
    trace.step(`${pod.uid} was enrolled with service account ${enrolled}, the mesh state says ${stated}`);
    return { workload: undefined, reason: reasons.IDENTITY_MISMATCH };
  }
  return { workload, reason: reasons.NONE };
}
