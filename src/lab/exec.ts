/** `hadal lab exec`: runs a program inside a pod of a lab that another process holds. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { HadalError } from '../base/errors.ts';
import { podPath } from './pod-root.ts';
import { isAlive, placed } from './process.ts';
import { findLab, type LabRecord, type PodRecord } from './registry.ts';

export interface LabExecOptions {
  readonly name?: string | undefined;
  /** `name` or `namespace/name`. */
  readonly pod: string;
  readonly argv: readonly string[];
  /** With all capabilities inside the pod's namespaces. */
  readonly asRoot?: boolean;
}

/** Standard input and output are the caller's. Resolves with the program's exit status. */
export async function labExec(options: LabExecOptions): Promise<number> {
  const lab = findLab(options.name);
  const pod = findPod(lab, options.pod);
  if (pod.pause === undefined || !isAlive(pod.pause)) {
    throw new HadalError('ERR_LAB_POD', `pod ${pod.namespace}/${pod.name} of lab ${lab.name} is not running`);
  }
  const place = { cgroup: pod.cgroup, netns: pod.netns, mountsOf: pod.pause.pid };
  // A parser that passes options through hands the `--` over as well.
  const argv = options.argv[0] === '--' ? options.argv.slice(1) : options.argv;
  if (argv.length === 0) throw new HadalError('ERR_USAGE', 'no program to run; put it after --');
  const [program = 'sh', ...args] = placed(
    options.asRoot === true ? place : { ...place, uid: pod.uid },
    argv,
  );
  const env = {
    PATH: podPath,
    HOME: '/home/app',
    HOSTNAME: pod.name,
    LANG: 'C.UTF-8',
    TERM: process.env.TERM ?? 'dumb',
  };
  const child = spawn(program, args, { env, stdio: 'inherit' });
  // The terminal sends its signals to the program as well; this process only waits for how it ends.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
  } finally {
    process.off('SIGINT', ignore);
  }
}

function findPod(lab: LabRecord, name: string): PodRecord {
  const found = lab.pods.filter((pod) => pod.name === name || `${pod.namespace}/${pod.name}` === name);
  const [pod] = found;
  if (pod === undefined || found.length > 1) {
    const names = lab.pods.map((known) => `${known.namespace}/${known.name}`).join(', ');
    throw new HadalError(
      'ERR_LAB_POD',
      `${found.length === 0 ? 'no' : 'more than one'} pod ${name} in lab ${lab.name}; there are: ${names}`,
    );
  }
  return pod;
}
