/** `hadal lab up`: brings a lab up from a directory of manifests and, with `keep`, holds it until it is interrupted. */
import type { Lab } from './lab.ts';
import type { LabLog } from './lab-log.ts';
import { type LabOptions, startLab } from './start.ts';

export interface LabUpOptions extends Omit<LabOptions, 'log'> {
  readonly directory: string;
  /** Stay up until SIGINT or SIGTERM; without it the lab ends as soon as every pod was ready. */
  readonly keep: boolean;
  /** Where lines for the person at the terminal go. */
  readonly say: (line: string) => void;
}

/** Resolves with the exit status. */
export async function labUp(options: LabUpOptions): Promise<number> {
  const { keep, say, ...lab } = options;
  const log: LabLog = { info: say, warn: (line) => say(`warning: ${line}`) };
  const interrupted = untilInterrupted();
  const up = await startLab({ ...lab, log });
  try {
    await Promise.race([up.waitReady(), interrupted]);
    say(`lab ${up.name} is up: ${up.pods.length} pods on ${up.nodes.length} nodes`);
    if (!keep) return up.rejections.length + up.problems.size === 0 ? 0 : 1;
    for (const line of whatToTry(up)) say(line);
    await interrupted;
    say('ending the lab');
    return 0;
  } finally {
    await up.stop();
  }
}

export function whatToTry(lab: Lab): string[] {
  const pod = lab.pods.find((candidate) => candidate.enrolled) ?? lab.pods[0];
  const name = pod?.name ?? 'POD';
  return [
    '',
    'Try, in another terminal:',
    `  hadal lab status --name ${lab.name}`,
    `  hadal lab exec --name ${lab.name} ${name} -- cat /etc/hosts`,
    ...(lab.agents === undefined
      ? []
      : lab.nodes.map(
          (node) =>
            `  ip netns exec ${node.netns} curl -s http://127.0.0.1:15020/metrics   # node ${node.name}`,
        )),
    'Change a label in a manifest, and the pod joins or leaves the mesh while it runs. Ctrl-C ends the lab.',
  ];
}

/** Once, and from then on the second signal ends the process as it would have without us. */
function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
