import { statSync } from 'node:fs';
import { HadalError } from '../base/errors.ts';
import type { NativeNet } from '../native/types.ts';
import type { StoredPod } from './pod-store.ts';

type Namespaces = Pick<NativeNet, 'openNetns' | 'netnsIdentity' | 'closeFd'>;

export interface PodNamespace {
  readonly fd: number;
  readonly inode: string;
  readonly cookie: bigint;
}

/** The namespace that a request names; one that cannot be the pod's is the request's mistake. */
export function openRequestedNamespace(native: Namespaces, path: string): PodNamespace {
  let opened: PodNamespace;
  try {
    opened = open(native, path);
  } catch (caught) {
    throw unusable(HadalError.from(caught, 'ERR_NETNS').message, caught);
  }
  if (opened.inode !== String(statSync('/proc/self/ns/net', { bigint: true }).ino)) return opened;
  native.closeFd(opened.fd);
  throw unusable(
    `${path} is the namespace of the agent itself; pods in the host's network are not carried`,
    undefined,
  );
}

/**
 * The namespace in which an earlier agent enrolled the pod; undefined when it is gone. Anything else that goes wrong is
 * thrown: an agent that is out of descriptors must not take its pods for ended, and let them out of the capture.
 */
export function openStoredNamespace(
  native: Namespaces,
  { netns, netnsInode }: StoredPod,
): PodNamespace | undefined {
  let opened: PodNamespace;
  try {
    opened = open(native, netns);
  } catch (caught) {
    const error = HadalError.from(caught, 'ERR_NETNS');
    if (error.systemCode === 'ENOENT' || error.systemCode === 'ESRCH') return undefined;
    throw error;
  }
  if (opened.inode === netnsInode) return opened;
  native.closeFd(opened.fd);
  return undefined;
}

/** Whether nothing, or something else, is where the namespace was. What cannot be looked at is not known to be gone. */
export function hasVanished({ netns, netnsInode }: StoredPod): boolean {
  try {
    return String(statSync(netns, { bigint: true, throwIfNoEntry: false })?.ino) !== netnsInode;
  } catch (caught) {
    return HadalError.from(caught).systemCode === 'ESRCH';
  }
}

function open(native: Namespaces, path: string): PodNamespace {
  const fd = native.openNetns(path);
  try {
    const { inode, cookie } = native.netnsIdentity(fd);
    return { fd, inode: String(inode), cookie };
  } catch (caught) {
    native.closeFd(fd);
    throw caught;
  }
}

function unusable(why: string, cause: unknown): HadalError {
  return new HadalError('ERR_ENROLMENT_REQUEST', `field Netns: ${why}`, {
    cause,
    details: { field: 'Netns' },
  });
}
