import { describe, expect, it } from 'vitest';
import { findBpffs, findCgroupRoot, readMounts } from '../../../src/kernel/file-systems.ts';

const hybrid = `tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
bpf /run/other\\040bpf bpf rw 0 0
`;

describe('mounts', () => {
  it('tell where cgroup v2 is, also beside the v1 hierarchies', () => {
    expect(findCgroupRoot(readMounts(hybrid))).toBe('/sys/fs/cgroup/unified');
    expect(findCgroupRoot(readMounts('cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n'))).toBe('/sys/fs/cgroup');
    expect(findCgroupRoot(readMounts('proc /proc proc rw 0 0\n'))).toBeUndefined();
  });

  it('tell the usual BPF file system before any other, with blanks in names', () => {
    expect(findBpffs(readMounts(hybrid))).toBe('/run/other bpf');
    expect(findBpffs(readMounts(`${hybrid}bpf /sys/fs/bpf bpf rw 0 0\n`))).toBe('/sys/fs/bpf');
    expect(findBpffs(readMounts(''))).toBeUndefined();
  });
});
