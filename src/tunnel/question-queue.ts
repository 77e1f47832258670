/** Questions wait here in turn, pod by pod: one that scans ports waits behind itself, not in front of its neighbours. */
export class QuestionQueue<Q extends { readonly podIndex: number }> {
  readonly #pods = new Map<number, Q[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(question: Q): void {
    const waiting = this.#pods.get(question.podIndex);
    if (waiting === undefined) this.#pods.set(question.podIndex, [question]);
    else waiting.push(question);
    this.#size++;
  }

  /** Up to `perPod` questions of the pod whose turn it is; the pod goes to the end of the line. */
  takeTurn(perPod: number): Q[] {
    const [next] = this.#pods;
    if (next === undefined) return [];
    const [podIndex, waiting] = next;
    const taken = waiting.splice(0, perPod);
    this.#pods.delete(podIndex);
    if (waiting.length > 0) this.#pods.set(podIndex, waiting);
    this.#size -= taken.length;
    return taken;
  }

  forget(podIndex: number): void {
    this.#size -= this.#pods.get(podIndex)?.length ?? 0;
    this.#pods.delete(podIndex);
  }
}
