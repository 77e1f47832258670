/**
 * What the capture needs of the machine, each need tried for real where that harms nobody: programs are loaded, hooks attached
 * to a cgroup and a network namespace made for the purpose, a connection of our own destroyed. Nothing stays behind.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { NativeBpf, NativeNet } from '../native/types.ts';
import { packagedObjects } from './capture.ts';
import { findCgroupRoot } from './file-systems.ts';
import { usualKubeletCgroups } from './kubelet.ts';
import { foundOr, machineProbes, type Probe, supportProbes } from './machine-probes.ts';
import { probeCgroupAttach, probeLoad } from './probe-programs.ts';
import { probeSockDestroy } from './probe-sock-destroy.ts';
import { ScratchNetns } from './scratch-netns.ts';
import { turboKernelProblem, turboKernels, turboObject } from './turbo.ts';

export interface Requirement {
  /** Stable, for scripts: `helper-set_retval`. */
  readonly id: string;
  /** What is needed, in words. */
  readonly need: string;
  /** The kernel that brought it; '' when no kernel is at fault. */
  readonly since: string;
  /** Without what is `essential` the agent cannot capture; the rest costs what `lost` says. */
  readonly essential: boolean;
  readonly ok: boolean;
  /** What was found, or why it failed. */
  readonly found: string;
  /** What one goes without when it is missing. */
  readonly lost: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface RequirementOptions {
  readonly native: NativeBpf & NativeNet;
  /** Default: the root of cgroup v2. */
  readonly cgroupPath?: string;
  readonly kubeletCgroup?: string;
  readonly objectDirectory?: string;
}

/** All needs with what was found, in the order of dependence. Never throws. */
export async function checkRequirements(options: RequirementOptions): Promise<Requirement[]> {
  const scratch = ScratchNetns.open(options.native);
  try {
    const probes = [
      ...machineProbes(),
      ...supportProbes(options.native),
      ...programProbes(options),
      ...namespaceProbes(options, scratch),
      kubeletProbe(options),
    ];
    const found: Requirement[] = [];
    for (const probe of probes) found.push(await runProbe(probe));
    return found;
  } finally {
    await scratch.close();
  }
}

/** Whether the agent can capture at all. */
export function canCapture(requirements: readonly Requirement[]): boolean {
  return requirements.every(({ essential, ok }) => ok || !essential);
}

async function runProbe({ probe, remedy = '', ...need }: Probe): Promise<Requirement> {
  try {
    return { ...need, ok: true, found: await probe(), remedy: '' };
  } catch (caught) {
    return { ...need, ok: false, found: HadalError.from(caught, 'ERR_KERNEL_REQUIREMENT').message, remedy };
  }
}

const dnsHooks = [
  { name: 'sendmsg4', since: '4.18' },
  { name: 'sendmsg6', since: '4.18' },
  { name: 'recvmsg4', since: '5.2' },
  { name: 'recvmsg6', since: '5.2' },
  { name: 'getpeername4', since: '5.8' },
  { name: 'getpeername6', since: '5.8' },
] as const;

function programProbes({
  native,
  cgroupPath = findCgroupRoot(),
  objectDirectory = packagedObjects,
}: RequirementOptions): Probe[] {
  const object = (name: string) => join(objectDirectory, `${name}.bpf.o`);
  return [
    ...(['connect4', 'connect6', 'sockops', 'egress'] as const).map((name) => ({
      id: `attach-${name}`,
      need: `${name} loads and attaches to a cgroup`,
      since: '5.7',
      essential: true,
      lost:
        name === 'sockops'
          ? 'no probe reaches an application, no flow is told'
          : name === 'egress'
            ? 'captured connections could leave a pod in clear while somebody has flushed its rules'
            : 'outbound connections cannot be captured',
      remedy: 'the message above has the verifier’s words; npm run build rebuilds the programs',
      probe: () => probeCgroupAttach(native, object(name), cgroupPath),
    })),
    ...dnsHooks.map(({ name, since }) => ({
      id: `attach-${name}`,
      need: `${name} loads and attaches to a cgroup`,
      since,
      essential: true,
      lost: 'queries of pods cannot be steered to the agent’s resolver',
      remedy: 'the message above has the verifier’s words; npm run build rebuilds the programs',
      probe: () => probeCgroupAttach(native, object(name), cgroupPath),
    })),
    {
      id: 'load-tcp_iter',
      need: 'iterators over TCP sockets load',
      since: '5.9',
      essential: true,
      lost: 'live connections cannot be listed',
      probe: () => probeLoad(native, object('tcp_iter')),
    },
    {
      id: 'load-tcp_destroy',
      need: 'connections are ended by bpf_sock_destroy',
      since: '6.5',
      essential: false,
      lost: 'they are ended by the slower SOCK_DESTROY, where the kernel has that',
      probe: () => probeLoad(native, object('tcp_destroy')),
    },
    {
      id: 'turbo',
      need: 'direct connections may go past TCP where pods ask for it (turbo)',
      since: '',
      essential: false,
      lost: 'pods that ask for it (hadal.io/turbo) are as others: their direct connections go by TCP',
      remedy: `it is only for kernels on which it was tested: ${turboKernels.join(', ')}`,
      probe: () => probeTurbo(native, object(turboObject)),
    },
    {
      id: 'sock-destroy',
      need: 'connections are ended by SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)',
      since: '4.5',
      essential: false,
      lost: 'without it and without bpf_sock_destroy, connections older than a pod’s enrolment go on whatever the policy says, and those between pods of one node take the tunnel',
      probe: () => probeSockDestroy(native),
    },
  ];
}

/** The kernel first: on another one nobody should want to know whether it loads. */
function probeTurbo(native: NativeBpf, path: string): string {
  const problem = turboKernelProblem();
  return problem === undefined ? probeLoad(native, path) : foundOr(undefined, problem);
}

function namespaceProbes(
  { native, objectDirectory = packagedObjects }: RequirementOptions,
  scratch: ScratchNetns,
): Probe[] {
  return [
    {
      id: 'netns',
      need: 'a network namespace can be entered and has a cookie (SO_NETNS_COOKIE)',
      since: '5.14',
      essential: true,
      lost: 'no pod can be enrolled',
      remedy: 'run as root in the host’s user namespace',
      probe: async () => `cookie ${native.netnsIdentity(await scratch.fd()).cookie}`,
    },
    {
      id: 'attach-sk_lookup',
      need: 'sk_lookup loads and attaches to a network namespace',
      since: '5.9',
      essential: true,
      lost: 'inbound connections cannot be captured',
      probe: async () => scratch.attachLookup(join(objectDirectory, 'sk_lookup.bpf.o')),
    },
    {
      id: 'sysctls',
      need: 'accepted sockets and resets keep the mark (tcp_fwmark_accept, fwmark_reflect)',
      since: '3.17',
      essential: true,
      lost: 'answers of applications leave the pod past the agent',
      remedy: '/proc/sys must be writable: a privileged container, or procMount Unmasked',
      probe: async () => scratch.setSysctls(),
    },
    {
      id: 'routing',
      need: 'rules by mark and local routes, IPv4 and IPv6',
      since: '',
      essential: true,
      lost: 'marked connections cannot be brought to the agent',
      remedy: 'the kernel needs CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES',
      probe: async () => scratch.addRouting(),
    },
  ];
}

function kubeletProbe({ cgroupPath = findCgroupRoot() ?? '', kubeletCgroup }: RequirementOptions): Probe {
  const candidates =
    kubeletCgroup === undefined ? usualKubeletCgroups.map((name) => join(cgroupPath, name)) : [kubeletCgroup];
  return {
    id: 'kubelet-cgroup',
    need: 'a cgroup isolates the kubelet',
    since: '',
    essential: false,
    lost: 'its probes go through the plaintext listener, where a policy without identity can refuse them',
    remedy: 'name it with HADAL_KUBELET_CGROUP, or any-host-process to exempt every process of the host',
    probe: () =>
      foundOr(
        candidates.find((path) => existsSync(path)),
        kubeletCgroup === undefined
          ? `none of the usual ones is below ${cgroupPath}`
          : `${kubeletCgroup} does not exist`,
      ),
  };
}
