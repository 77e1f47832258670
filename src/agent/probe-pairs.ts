/** Which pods of a node a probe of their path goes between next: first those that none has reached yet, then all in turn. */
import type { SameNodePath } from '../routing/same-node-path.ts';

export interface PairedPod {
  readonly podIndex: number;
}

/** So many pods that no probe has proven are tried in a round, each with another pod. */
const unprovenPerRound = 8;
/** So many pairs are tried beside them while nothing is known: a NetworkPolicy may keep one pair apart and not another. */
const turnsPerRound = 3;

export class ProbePairs<Pod extends PairedPod> {
  #turn = 0;
  /** The pair that left the node last is tried again first: another one must not hide it. */
  #left: readonly [number, number] | undefined;
  readonly #proven = new Set<number>();

  /**
   * One round over at least two pods: tries pairs until one left the node, or until those that must be tried were and one stayed.
   * The worst that was seen decides, but that of a pair of which nothing can be known counts less than one that stayed.
   */
  async round(
    pods: readonly Pod[],
    probe: (from: Pod, to: Pod) => Promise<SameNodePath>,
  ): Promise<SameNodePath | undefined> {
    for (const podIndex of this.#proven)
      if (!pods.some((pod) => pod.podIndex === podIndex)) this.#proven.delete(podIndex);
    let found: SameNodePath | undefined;
    for (const { from, to, isOwed } of this.#pairs(pods)) {
      if (!isOwed && found?.state === 'stays') break;
      if (!isOwed) this.#turn++;
      const path = await probe(from, to);
      if (path.state === 'leaves') {
        this.#left = [from.podIndex, to.podIndex];
        this.#proven.clear();
        return path;
      }
      if (this.#left?.[0] === from.podIndex && this.#left[1] === to.podIndex) this.#left = undefined;
      if (path.state === 'stays') this.#proven.add(from.podIndex).add(to.podIndex);
      if (found?.state !== 'stays') found = path;
    }
    return found;
  }

  *#pairs(pods: readonly Pod[]): Generator<{ from: Pod; to: Pod; isOwed: boolean }> {
    const [left, arrived] = (this.#left ?? []).map((wanted) => pods.find((pod) => pod.podIndex === wanted));
    if (left !== undefined && arrived !== undefined) yield { from: left, to: arrived, isOwed: true };
    else this.#left = undefined;
    const unproven = pods.filter(({ podIndex }) => !this.#proven.has(podIndex));
    const first = this.#turn % Math.max(1, unproven.length);
    const owed = [...unproven.slice(first), ...unproven.slice(0, first)].slice(0, unprovenPerRound);
    for (const to of owed) {
      // The round itself may have proven it, as the other end of another one.
      if (this.#proven.has(to.podIndex)) continue;
      const from = pods.find((pod) => this.#proven.has(pod.podIndex)) ?? pods.find((pod) => pod !== to);
      if (from !== undefined) yield { from, to, isOwed: true };
    }
    for (let n = 0; n < turnsPerRound; n++) {
      const [from, to] = [pods[this.#turn % pods.length], pods[(this.#turn + 1) % pods.length]];
      if (from !== undefined && to !== undefined) yield { from, to, isOwed: false };
    }
  }
}
