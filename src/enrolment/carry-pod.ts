/** Steps of taking a pod into the mesh, in their order. */
import { deadline } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { CertificateUse } from '../identity/workload-certificates.ts';
import { podSysctls } from '../kernel/pod-sysctls.ts';
import { spiffeText } from '../model/spiffe-id.ts';
import { createTrafficExclusions } from '../model/traffic-exclusions.ts';
import type { NetnsChange, VirtualInterfaceState } from '../native/types.ts';
import { CarriedPod, type CarryingParts, enrolledPod } from './carried-pod.ts';
import { ownAddresses } from './own-addresses.ts';
import type { StoredPod } from './pod-store.ts';
import { UndoStack } from './undo-stack.ts';

/**
 * Does the steps in order, the one after which nothing escapes last; undoes them when one fails. Takes over `netnsFd`.
 * `keep` writes the pod down: capture must not begin for a pod that a restarted agent would not know. What an earlier
 * agent left in force (`adopted`) stays in force when a step fails: the pod's connections are then refused, not leaked.
 */
export async function carryPod(
  parts: CarryingParts,
  netnsFd: number,
  stored: StoredPod,
  options: { readonly adopted: boolean; readonly keep: () => Promise<void> },
): Promise<CarriedPod> {
  const steps = new UndoStack();
  try {
    return await inSteps(parts, steps, netnsFd, stored, options);
  } catch (caught) {
    steps.rollBack(parts.logger);
    throw HadalError.from(caught, 'ERR_ENROLMENT', `enrolling ${stored.namespace}/${stored.name}`);
  }
}

async function inSteps(
  parts: CarryingParts,
  steps: UndoStack,
  netnsFd: number,
  stored: StoredPod,
  { adopted, keep }: { readonly adopted: boolean; readonly keep: () => Promise<void> },
): Promise<CarriedPod> {
  const { native, tunnel, routing } = parts;
  const { podIndex } = stored;
  let pod: CarriedPod | undefined;
  steps.do(
    'netns',
    () => netnsFd,
    (fd) => native.closeFd(fd),
  );
  const netns = steps.do('identity', () => native.netnsIdentity(netnsFd));
  const identity = spiffeText(parts.trustDomain, stored.namespace, stored.serviceAccount);
  const certificate = steps.do(
    'certificate',
    () => parts.certificates.use(identity),
    (use) => use.close(),
  );
  steps.do('sysctl', () => {
    for (const { name, value } of podSysctls) native.writeSysctl(netnsFd, name, value);
  });
  steps.do(
    'routing',
    () => native.addCaptureRouting(netnsFd, routing),
    () => !adopted && native.removeCaptureRouting(netnsFd, routing),
  );
  const watch = steps.do(
    'watch',
    () => native.watchNetns(netnsFd, routing, (change) => onChange(parts, stored, () => pod, change)),
    (started) => started.close(),
  );
  const addresses = steps.do('addresses', () => ownAddresses(stored.addresses, native.addresses(netnsFd)));
  const enrolled = enrolledPod(parts, stored, addresses);
  const listeners = steps.do(
    'listeners',
    () => tunnel.addPod({ ...enrolled, podIndex, netnsFd, netnsCookie: netns.cookie, identity }),
    () => tunnel.removePod(podIndex, { keepConnections: false }),
  );
  // Without its certificate a captured pod reaches nobody: it is given a moment, before it could notice.
  await steps.wait('certificateReady', () => certificateOrDeadline(parts, certificate));
  const capture = steps.do(
    'sk_lookup',
    () =>
      parts.capture.attachPod({
        podIndex,
        netnsCookie: netns.cookie,
        netnsFd,
        addresses,
        listeners,
        cgroup: stored.cgroup,
      }),
    (attached) => (adopted ? attached.close() : attached.detach()),
  );
  steps.do('rows', () => parts.capture.forgetRows(podIndex, { keepDirect: adopted }));
  await steps.wait('store', keep);
  steps.do('capture', () =>
    capture.captureOutbound({
      bypassInbound: stored.bypassInbound ?? false,
      exclusions: createTrafficExclusions(stored.exclusions ?? {}),
      unknown: parts.unknownDestinations(enrolled, capture.isCapturingOutbound),
    }),
  );
  pod = new CarriedPod({
    parts,
    stored,
    netnsFd,
    netns,
    identity,
    addresses,
    certificate,
    capture,
    watch,
    timings: steps.timings,
  });
  // What an earlier agent captured of them has stayed so until now.
  steps.do('interfaces', () => pod?.captureInterfaces());
  // What changed while the steps were done.
  pod.followAddresses();
  return pod;
}

function onChange(
  parts: CarryingParts,
  stored: StoredPod,
  pod: () => CarriedPod | undefined,
  change: NetnsChange,
): void {
  const carried = pod();
  if (carried === undefined) return;
  if (change.kind === 'addresses') {
    try {
      carried.followAddresses();
    } catch (err) {
      // A full map, or the namespace is on its way out. Nobody above the callback could do more about it.
      parts.logger.error({ err, pod: carried.enrolled.uid }, 'the new addresses of the pod are not captured');
    }
  } else if (change.kind === 'interfaces') {
    followInterfaces(parts, carried, change.interfaces);
  } else if (change.kind === 'restored') {
    const { what, detail, afterMs } = change;
    parts.logger.warn(
      { pod: carried.enrolled.uid, what, detail, afterMs },
      'somebody removed a part of the capture; it was put back',
    );
    parts.onRestored(carried, change);
  } else if (carried.state === 'carried') {
    parts.logger.error(
      { pod: `${stored.namespace}/${stored.name}` },
      `the network namespace cannot be watched: ${change.message}`,
    );
  }
}

/** A failed or late certificate is no reason not to capture: connections are refused until it comes, never sent in the clear. */
async function certificateOrDeadline(parts: CarryingParts, certificate: CertificateUse): Promise<void> {
  const time = deadline(parts.certificateWaitMs, 'waiting for the certificate');
  try {
    await certificate.ready(time.signal);
  } catch (err) {
    parts.logger.warn(
      { err, identity: certificate.identity },
      'the pod is captured before its certificate is there; its connections are refused until it comes',
    );
  } finally {
    time.clear();
  }
}

function followInterfaces(
  parts: CarryingParts,
  pod: CarriedPod,
  states: readonly VirtualInterfaceState[],
): void {
  const { logger } = parts;
  try {
    pod.followInterfaces(states);
  } catch (err) {
    logger.error({ err, pod: pod.enrolled.uid }, 'what a machine in the pod sends is refused');
  }
  logger.info({ pod: pod.enrolled.uid, interfaces: states }, 'virtual interfaces of the pod');
}
