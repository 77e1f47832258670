/** Needs that the machine and its kernel have to meet before anything is loaded. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { HadalError } from '../base/errors.ts';
import type { NativeBpf } from '../native/types.ts';
import { findBpffs, findCgroupRoot } from './file-systems.ts';
import type { Requirement } from './requirements.ts';

/** A need, and how to find out: `probe` says what it found, or throws why not. */
export interface Probe extends Omit<Requirement, 'ok' | 'found' | 'remedy'> {
  readonly remedy?: string;
  probe(): string | Promise<string>;
}

const fullKernel = [6, 1] as const;

export function machineProbes(): Probe[] {
  return [
    {
      id: 'kernel',
      need: `Linux ${fullKernel.join('.')} or newer`,
      since: fullKernel.join('.'),
      essential: false,
      lost: `below ${fullKernel.join('.')} a refused connect() is always EPERM, and no older kernel is verified, 5.15 neither`,
      probe: () => atLeast(fullKernel),
    },
    {
      id: 'btf',
      need: 'the kernel describes its types (CONFIG_DEBUG_INFO_BTF)',
      since: '5.2',
      essential: true,
      lost: 'the programs cannot be fitted to this kernel',
      remedy: 'boot a distribution kernel; all current ones have it',
      probe: () =>
        foundOr(
          existsSync('/sys/kernel/btf/vmlinux') ? '/sys/kernel/btf/vmlinux' : undefined,
          '/sys/kernel/btf/vmlinux is missing',
        ),
    },
    {
      id: 'cgroup2',
      need: 'cgroup v2 is mounted',
      since: '4.5',
      essential: true,
      lost: 'connections of pods cannot be captured',
      remedy: 'mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1',
      probe: () => foundOr(findCgroupRoot(), '/proc/mounts names no cgroup2'),
    },
    {
      id: 'bpffs',
      need: 'a BPF file system is mounted',
      since: '4.4',
      essential: false,
      lost: 'the agent mounts one at /sys/fs/bpf; in a container it must be the host’s, or capture ends with the container',
      remedy: 'mount -t bpf bpf /sys/fs/bpf',
      probe: () => foundOr(findBpffs(), '/proc/mounts names none'),
    },
    ...capabilities.map(({ bit, name, lost }) => ({
      id: `capability-${name.toLowerCase()}`,
      need: `capability ${name}`,
      since: '',
      essential: true,
      lost,
      remedy: 'run as root, or grant it in the security context of the DaemonSet',
      probe: () => foundOr(hasCapability(bit) ? 'granted' : undefined, 'not in CapEff of /proc/self/status'),
    })),
  ];
}

const capabilities = [
  { bit: 12, name: 'CAP_NET_ADMIN', lost: 'rules, routes and marks cannot be set' },
  { bit: 13, name: 'CAP_NET_RAW', lost: 'connections cannot keep the client’s address' },
  { bit: 21, name: 'CAP_SYS_ADMIN', lost: 'pods’ network namespaces cannot be entered' },
  { bit: 38, name: 'CAP_PERFMON', lost: 'programs cannot read connection statistics' },
  { bit: 39, name: 'CAP_BPF', lost: 'no program can be loaded' },
] as const;

const programTypes = [
  { name: 'cgroup_sock_addr', since: '4.17', lost: 'outbound connections cannot be captured' },
  { name: 'sk_lookup', since: '5.9', lost: 'inbound connections cannot be captured' },
  { name: 'sock_ops', since: '4.13', lost: 'probes of the kubelet cannot be told from other connections' },
] as const;

const mapTypes = [
  { name: 'sockhash', since: '4.18' },
  { name: 'sk_storage', since: '5.2' },
  { name: 'ringbuf', since: '5.8' },
  { name: 'lpm_trie', since: '4.11' },
  { name: 'percpu_hash', since: '4.6' },
  { name: 'lru_hash', since: '4.10' },
] as const;

const helpers = [
  {
    program: 'cgroup_sock_addr',
    name: 'setsockopt',
    since: '5.8',
    lost: 'sockets cannot be marked for capture',
  },
  { program: 'cgroup_sock_addr', name: 'get_netns_cookie', since: '5.7', lost: 'pods cannot be told apart' },
  {
    program: 'cgroup_sock_addr',
    name: 'sk_storage_get',
    since: '5.3',
    lost: 'the agent’s own sockets cannot be exempt',
  },
  {
    program: 'cgroup_sock_addr',
    name: 'get_current_ancestor_cgroup_id',
    since: '5.7',
    lost: 'the kubelet cannot be told from other processes',
  },
  { program: 'sk_lookup', name: 'sk_assign', since: '5.9', lost: 'inbound connections cannot be steered' },
  { program: 'sock_ops', name: 'get_netns_cookie', since: '5.15', lost: 'connections cannot be told by pod' },
  {
    program: 'sock_ops',
    name: 'skc_to_tcp_sock',
    since: '5.9',
    lost: 'bytes and round trip times cannot be read',
  },
] as const;

export function supportProbes(native: NativeBpf): Probe[] {
  const probe = (isThere: boolean) =>
    foundOr(isThere ? 'the kernel knows it' : undefined, 'the kernel does not know it');
  return [
    ...programTypes.map(({ name, since, lost }) => ({
      id: `program-${name}`,
      need: `program type ${name}`,
      since,
      essential: true,
      lost,
      probe: () => probe(native.probeProgramType(name)),
    })),
    ...mapTypes.map(({ name, since }) => ({
      id: `map-${name}`,
      need: `map type ${name}`,
      since,
      essential: true,
      lost: 'the programs cannot be loaded',
      probe: () => probe(native.probeMapType(name)),
    })),
    ...helpers.map(({ program, name, since, lost }) => ({
      id: `helper-${program}-${name}`,
      need: `helper ${name} in ${program}`,
      since,
      essential: true,
      lost,
      probe: () => probe(native.probeHelper(program, name)),
    })),
    {
      id: 'helper-set_retval',
      need: 'connect() hooks choose the errno (helper set_retval)',
      since: '6.1',
      essential: false,
      lost: 'a refused connect() fails with EPERM instead of the errno that fits',
      probe: () => probe(native.probeHelper('cgroup_sock_addr', 'set_retval')),
    },
    {
      id: 'ingress-ifindex',
      need: 'a lookup knows the interface (bpf_sk_lookup.ingress_ifindex)',
      since: '5.17',
      essential: true,
      lost: 'what the agent delivers to an application would come back to the agent',
      probe: () => atLeast([5, 17]),
    },
  ];
}

/** What was found, or a failure that says so. */
export function foundOr(found: string | undefined, otherwise: string): string {
  if (found !== undefined) return found;
  throw new HadalError('ERR_KERNEL_REQUIREMENT', otherwise);
}

function atLeast([major, minor]: readonly [number, number]): string {
  const [ownMajor = 0, ownMinor = 0] = release().split('.').map(Number.parseFloat);
  if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) return release();
  throw new HadalError('ERR_KERNEL_REQUIREMENT', `this is ${release()}`);
}

function hasCapability(bit: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}
