import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { AgentConfig } from '../config/agent-options.ts';
import { BpfCapture } from '../kernel/capture.ts';
import { HBONE_PORT } from '../kernel/constants.gen.ts';
import { ensureBpffs, findCgroupRoot } from '../kernel/file-systems.ts';
import { type KubeletRegistration, usualKubeletCgroups } from '../kernel/kubelet.ts';
import type { NativeAddon } from '../native/types.ts';

export interface KernelCapture {
  readonly capture: BpfCapture;
  /** Undefined where no cgroup of a kubelet is known: its probes meet the plaintext listener. */
  readonly kubelet: KubeletRegistration | undefined;
  readonly cgroupPath: string;
}

export interface KernelCaptureOptions {
  readonly native: NativeAddon;
  readonly config: AgentConfig;
  readonly logger: Logger;
}

/** Loads the programs, or takes over what an earlier agent left pinned. */
export function startCapture({ native, config, logger }: KernelCaptureOptions): KernelCapture {
  const root = findCgroupRoot();
  const cgroupPath = config.cgroupRoot || root;
  if (cgroupPath === undefined) {
    throw new HadalError(
      'ERR_KERNEL_CGROUP',
      'no cgroup v2 is mounted; try: mount -t cgroup2 none /sys/fs/cgroup',
    );
  }
  const capture = BpfCapture.start({
    native,
    instance: config.instance,
    cgroupPath,
    workers: config.workers,
    hbonePort: HBONE_PORT,
    turbo: config.turbo,
    bpffs: ensureBpffs(config.bpffs),
  });
  try {
    const kubelet = registerKubelet(native, config, cgroupPath, capture);
    const { adopted, pinDirectory } = capture;
    const destroysBy = capture.sockets.destroysBy;
    logger.info(
      { cgroup: cgroupPath, pins: pinDirectory, adopted, destroysBy, kubelet: kubelet?.state ?? 'unknown' },
      'capture is in force',
    );
    if (capture.turbo.problem !== undefined)
      logger.warn({ problem: capture.turbo.problem }, 'turbo is asked for (HADAL_TURBO), and there is none');
    if (kubelet === undefined || kubelet.state === 'absent') {
      logger.warn(
        'no cgroup of a kubelet was found; its probes reach pods through the plaintext listener (HADAL_KUBELET_CGROUP names one)',
      );
    }
    return { capture, kubelet, cgroupPath };
  } catch (error) {
    capture.close();
    throw error;
  }
}

function registerKubelet(
  native: NativeAddon,
  config: AgentConfig,
  cgroupPath: string,
  capture: BpfCapture,
): KubeletRegistration | undefined {
  const cgroup =
    config.kubeletCgroup ||
    usualKubeletCgroups.map((name) => join(cgroupPath, name)).find((path) => existsSync(path));
  if (cgroup === undefined) return undefined;
  // The agent runs in the host's network namespace, and so does the kubelet.
  const fd = native.openNetns('/proc/self/ns/net');
  try {
    return capture.setKubelet({ hostNetnsCookie: native.netnsIdentity(fd).cookie, cgroup });
  } finally {
    native.closeFd(fd);
  }
}
