/**
 * Which pods take part in turbo: those that ask for it by annotation, on an agent that allows it, and that run no program that is
 * known to break. What a pod runs is looked at again and again; one that starts such a program is taken out, its open
 * connections too.
 */
import type { Logger } from '../base/logger.ts';
import type { Turbo } from '../kernel/turbo.ts';
import { annotations } from '../source/translate/label-names.ts';
import { GoPrograms, processesBelow } from './go-programs.ts';

export interface TurboPod {
  readonly podIndex: number;
  /** In messages. */
  readonly name: string;
  readonly wantsTurbo: boolean;
  /** '' when nobody told it. */
  readonly cgroup: string;
}

export interface TurboPodsOptions {
  readonly turbo: Pick<Turbo, 'admit' | 'dismiss' | 'isAttached' | 'problem' | 'state'>;
  /** Whether this agent allows it at all. */
  readonly allowed: boolean;
  readonly logger: Logger;
  readonly lookEveryMs?: number;
}

interface Applicant extends TurboPod {
  admitted: boolean;
  /** Why it takes no part; undefined when it does. */
  problem: string | undefined;
}

export class TurboPods {
  readonly #options: TurboPodsOptions;
  readonly #applicants = new Map<number, Applicant>();
  readonly #programs = new GoPrograms();
  readonly #timer: NodeJS.Timeout;

  constructor(options: TurboPodsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.look(), options.lookEveryMs ?? 5_000);
    this.#timer.unref();
  }

  /** A pod that is carried from now on, or whose annotations say otherwise now. */
  set(pod: TurboPod): void {
    if (!pod.wantsTurbo) {
      this.remove(pod.podIndex);
      return;
    }
    const admitted = this.#applicants.get(pod.podIndex)?.admitted ?? false;
    const applicant: Applicant = { ...pod, admitted, problem: undefined };
    this.#applicants.set(pod.podIndex, applicant);
    this.#judge(applicant);
  }

  remove(podIndex: number): void {
    if (this.#applicants.delete(podIndex)) this.#options.turbo.dismiss(podIndex);
  }

  /** Why a pod that asks takes no part. */
  problemOf(podIndex: number): string | undefined {
    return this.#applicants.get(podIndex)?.problem;
  }

  look(): void {
    for (const applicant of this.#applicants.values()) this.#judge(applicant);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #judge(applicant: Applicant): void {
    const { turbo, logger } = this.#options;
    const { podIndex, name } = applicant;
    const problem = this.#problem(applicant);
    if (problem === undefined) turbo.admit(podIndex);
    else if (applicant.admitted) turbo.dismiss(podIndex);
    if (problem !== applicant.problem || applicant.admitted !== (problem === undefined)) {
      if (problem === undefined) logger.info({ pod: name }, 'the pod takes part in turbo');
      else
        logger.warn(
          { pod: name, problem },
          `the pod asks for turbo (${annotations.turbo}) and takes no part`,
        );
    }
    applicant.admitted = problem === undefined;
    applicant.problem = problem;
  }

  #problem({ cgroup }: TurboPod): string | undefined {
    const { turbo, allowed } = this.#options;
    if (!allowed) return 'this agent does not allow it (HADAL_TURBO)';
    if (!turbo.isAttached) return turbo.problem ?? 'it is not loaded';
    if (cgroup === '') return 'nobody told its cgroup, so what it runs cannot be seen';
    if (processesBelow(cgroup).length === 0) return 'it runs nothing yet';
    const found = this.#programs.find(cgroup);
    return found === undefined
      ? undefined
      : `${found.program} (process ${found.pid}) is a Go program, which reads by splice()`;
  }
}
