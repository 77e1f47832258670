import type { TunnelQuestion } from '../native/types.ts';
import { QuestionQueue, type QuestionRate } from './question-queue.ts';

/** Questions of one asker between two looks at its neighbours. */
const turn = 64;
/** How long questions are answered before the event loop gets its turn. */
const sliceMs = 8;
/** How soon askers are looked at again that have used up their rate. */
const rateMs = 10;

interface NextLook {
  /** All that wait have used up their rate: others need not wait for it. */
  readonly isHeld: boolean;
  cancel(): void;
}

/** Brings questions to their answer, fairly and in slices, so that no asker keeps the others or the event loop waiting. */
export class QuestionDesk {
  readonly #queue: QuestionQueue<TunnelQuestion>;
  readonly #answer: (questions: Iterable<TunnelQuestion>) => void;
  #next: NextLook | undefined;

  /** `answer` is called once per slice. */
  constructor(rate: QuestionRate, answer: (questions: Iterable<TunnelQuestion>) => void) {
    this.#queue = new QuestionQueue(askerOf, rate);
    this.#answer = answer;
  }

  /** A question is answered in the call that brought it, unless so many wait that they are answered in slices. */
  ask(questions: readonly TunnelQuestion[]): void {
    for (const question of questions) this.#queue.add(question, question.failed);
    if (this.#next === undefined || this.#next.isHeld) this.#work();
  }

  forget(podIndex: number): void {
    this.#queue.forget((question) => question.podIndex === podIndex);
  }

  close(): void {
    this.#next?.cancel();
  }

  #work(): void {
    this.#next?.cancel();
    this.#next = undefined;
    let isHeld = false;
    const slice = this.#slice(() => {
      isHeld = true;
    });
    this.#answer(slice);
    if (this.#queue.size > 0) this.#next = isHeld ? later(() => this.#work()) : atOnce(() => this.#work());
  }

  *#slice(onHeld: () => void): Generator<TunnelQuestion> {
    const until = performance.now() + sliceMs;
    for (let now = performance.now(); this.#queue.size > 0 && now < until; now = performance.now()) {
      const questions = this.#queue.takeTurn(turn, now);
      if (questions.length === 0) return onHeld();
      yield* questions;
    }
  }
}

/** Peers of a pod are told apart: one that tries many ports of it holds up no other. */
function askerOf(question: TunnelQuestion): string {
  return question.kind === 'outbound'
    ? `${question.podIndex}`
    : `${question.podIndex} ${question.peerAddress}`;
}

function atOnce(work: () => void): NextLook {
  const immediate = setImmediate(work);
  return { isHeld: false, cancel: () => clearImmediate(immediate) };
}

function later(work: () => void): NextLook {
  const timer = setTimeout(work, rateMs);
  return { isHeld: true, cancel: () => clearTimeout(timer) };
}
