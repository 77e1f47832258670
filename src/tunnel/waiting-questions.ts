import type { TunnelQuestion } from '../native/types.ts';
import { keyText } from './decision.ts';
import { WaitingRoom } from './waiting-room.ts';

export interface WaitingQuestion {
  readonly question: TunnelQuestion;
  /** What may make the answer another one. */
  readonly dependencies: readonly string[];
}

/** Questions whose answer the mesh state may still learn; of each pod so many at a time. */
export class WaitingQuestions {
  readonly #room: WaitingRoom<WaitingQuestion>;
  readonly #ofPod = new Map<number, number>();
  readonly #mostOfPod: number;

  constructor(waitMs: number, mostOfPod: number, onDue: (questions: readonly TunnelQuestion[]) => void) {
    this.#mostOfPod = mostOfPod;
    this.#room = new WaitingRoom(waitMs, (due) => {
      for (const { question } of due) this.#countLeft(question.podIndex);
      onDue(due.map(({ question }) => question));
    });
  }

  get size(): number {
    return this.#room.size;
  }

  values(): readonly WaitingQuestion[] {
    return this.#room.values();
  }

  has(question: TunnelQuestion): boolean {
    return this.#room.has(keyText(question));
  }

  /** Whether one more of this pod may wait, or this one does already. */
  hasRoom(question: TunnelQuestion): boolean {
    return this.#room.has(keyText(question)) || (this.#ofPod.get(question.podIndex) ?? 0) < this.#mostOfPod;
  }

  enter(question: TunnelQuestion, dependencies: readonly string[]): void {
    const key = keyText(question);
    if (!this.#room.has(key)) {
      this.#ofPod.set(question.podIndex, (this.#ofPod.get(question.podIndex) ?? 0) + 1);
    }
    this.#room.enter(key, { question, dependencies });
  }

  leave(question: TunnelQuestion): void {
    const entry = this.#room.leave(keyText(question));
    if (entry !== undefined) this.#countLeft(entry.question.podIndex);
  }

  removePod(podIndex: number): void {
    for (const { question } of this.#room.values()) {
      if (question.podIndex === podIndex) this.leave(question);
    }
  }

  close(): void {
    this.#room.close();
  }

  #countLeft(podIndex: number): void {
    const left = (this.#ofPod.get(podIndex) ?? 1) - 1;
    if (left === 0) this.#ofPod.delete(podIndex);
    else this.#ofPod.set(podIndex, left);
  }
}
