/** A kubelet's readiness probe: it comes from the node, out of the kubelet's cgroup, as the agent expects of it. */
import { containerPortNumber, type PodObject, type Probe } from '../source/kubernetes/pod.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';

/** Until a pod was ready once, it is asked this often; a lab should not wait ten seconds for a program that is up. */
const startIntervalMs = 150;

export class ReadinessProbe {
  readonly #timer: { stop: boolean; handle?: NodeJS.Timeout } = { stop: false };

  constructor(pod: LabPod, node: LabNode, onChange: (ready: boolean) => void) {
    const probes = pod.plan.object.spec.containers.flatMap(({ readinessProbe }) => readinessProbe ?? []);
    let failures = 0;
    const round = async () => {
      const passed = pod.isRunning && (await all(probes, pod, node));
      if (this.#timer.stop) return;
      failures = passed ? 0 : failures + 1;
      const threshold = Math.max(1, ...probes.map((probe) => probe.failureThreshold));
      if (passed !== pod.ready && (passed || failures >= threshold)) onChange(passed);
      const periodMs = Math.min(...probes.map((probe) => probe.periodSeconds * 1000), 10_000);
      this.#timer.handle = setTimeout(round, pod.ready ? periodMs : startIntervalMs);
      this.#timer.handle.unref();
    };
    void round();
  }

  close(): void {
    this.#timer.stop = true;
    clearTimeout(this.#timer.handle);
  }
}

async function all(probes: readonly Probe[], pod: LabPod, node: LabNode): Promise<boolean> {
  for (const probe of probes) if (!(await passes(probe, pod, node))) return false;
  return true;
}

async function passes(probe: Probe, pod: LabPod, node: LabNode): Promise<boolean> {
  const script = probeScript(probe, pod.plan.object, pod.v4);
  if (script === undefined) return true;
  const timeoutMs = probe.timeoutSeconds * 1000;
  const result = await node
    .exec(['bash', '--norc', '-c', script], { cgroup: 'kubelet', timeoutMs })
    .catch(() => undefined);
  return result?.code === 0;
}

/** bash alone: its /dev/tcp needs no other program to be installed. */
export function probeScript(probe: Probe, pod: PodObject, address: string): string | undefined {
  const reference = probe.httpGet?.port ?? probe.tcpSocket?.port;
  if (reference === undefined) return undefined;
  const port = containerPortNumber(pod, reference);
  if (port === undefined) return 'exit 1';
  const open = `exec 3<>/dev/tcp/${address}/${port}`;
  if (probe.httpGet === undefined) return open;
  const request = `GET ${probe.httpGet.path} HTTP/1.0\r\nHost: ${address}\r\n\r\n`;
  const bytes = [...Buffer.from(request)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  return `${open}; printf '${bytes}' >&3; read -r _ status _ <&3; [ "$status" -ge 200 ] && [ "$status" -lt 400 ]`;
}
