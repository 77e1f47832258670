import type { CarriedPod } from './carried-pod.ts';

/** For the answer to /cmdadd, `GET /pods` and `/config_dump`. */
export function describePod(pod: CarriedPod): Readonly<Record<string, unknown>> {
  const { uid, name, namespace, serviceAccount, netns, enrolledAt } = pod.stored;
  return {
    uid,
    name,
    namespace,
    serviceAccount,
    netns,
    enrolledAt,
    workload: pod.enrolled.uid,
    podIndex: pod.podIndex,
    identity: pod.identity,
    addresses: pod.addresses,
    state: pod.state,
    certificate: pod.hasCertificate ? 'ready' : 'pending',
    ...(pod.certificateProblem === undefined ? {} : { certificateProblem: pod.certificateProblem }),
    routesRestored: pod.restoredRoutes,
    bypassInboundCapture: pod.bypassesInbound,
    virtualInterfaces: pod.virtualInterfaces,
    exclusions: pod.exclusions,
  };
}
