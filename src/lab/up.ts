/** `hadal lab up`: brings a lab up from a directory of manifests and, with `keep`, holds it until it is interrupted. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import type { LabLog } from './lab-log.ts';
import { packageRoot } from './package-root.ts';
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
  const up = await startLab({ controlPlane: true, ...lab, log });
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
  const hadal = programName();
  const from = lab.pods.find((pod) => pod.enrolled) ?? lab.pods[0];
  const lines = [
    `${hadal} lab status --name ${lab.name}`,
    `${hadal} lab exec --name ${lab.name} ${from?.name ?? 'POD'} -- cat /etc/hosts`,
  ];
  const other = lab.serviceNames.find((name) => !name.startsWith(`${from?.name}.`));
  if (other !== undefined) {
    lines.push(`${hadal} lab exec --name ${lab.name} ${from?.name ?? 'POD'} -- curl -s http://${other}/`);
  }
  if (lab.agents !== undefined) {
    const [node] = lab.nodes;
    lines.push(`${hadal} connections --lab ${lab.name}`);
    lines.push(`ip netns exec ${node?.netns} curl -s http://127.0.0.1:15020/metrics`);
  }
  return [
    '',
    'Try, in another terminal:',
    ...lines.map((line) => `  ${line}`),
    'Change a label in a manifest, and the pod joins or leaves the mesh while it runs. Ctrl-C ends the lab.',
  ];
}

/** In a checkout the program is found through npx. */
function programName(): string {
  return existsSync(join(packageRoot(), 'tsconfig.json')) ? 'npx hadal' : 'hadal';
}

/** Once, and from then on the second signal ends the process as it would have without us. */
function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
