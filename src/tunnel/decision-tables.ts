import { isDeepStrictEqual } from 'node:util';
import { HadalError } from '../base/errors.ts';
import { diffSnapshots, isAffected, type SnapshotDiff } from '../model/diff.ts';
import { reasons } from '../model/reasons.gen.ts';
import { emptySnapshot, type MeshSnapshot } from '../model/snapshot.ts';
import type { TunnelQuestion } from '../native/types.ts';
import type { InboundJudgement, LocalNode, OutboundJudgement } from '../routing/judgement.ts';
import { endsOpenConnections } from '../routing/open-connections.ts';
import type { PathState } from '../routing/same-node-path.ts';
import { type Decision, keyText, questionOf, RowBatch, refusalOf, toDecision } from './decision.ts';
import type { DecisionCounts, DecisionTablesOptions, MeshAsked } from './decision-options.ts';
import { adoptEdges, type EarlierRow } from './kernel-rows.ts';
import { type LocalPod, LocalPods } from './local-pods.ts';
import { askedNames, missingNames, namesOfPod } from './missing-names.ts';
import { NoticeBoard } from './policy-notices.ts';
import { QuestionDesk } from './question-desk.ts';
import { type Doubtful, Rederivation } from './rederivation.ts';
import { type LedgerEntry, RowLedger } from './row-ledger.ts';
import { isRefusal } from './rows.ts';
import { WaitingQuestions } from './waiting-questions.ts';
import { WaitingRoom } from './waiting-room.ts';

type AnyJudgement = OutboundJudgement | InboundJudgement;

/** Reasons that more knowledge may turn into an answer within seconds. */
const unknownReasons: ReadonlySet<number> = new Set([reasons.UNKNOWN_DESTINATION, reasons.UNKNOWN_WORKLOAD]);

/** On demand, an address that only the registry would allow may be in it without anybody here knowing. */
function isUnknownTo(askMesh: MeshAsked | undefined, reason: number): boolean {
  return unknownReasons.has(reason) || (askMesh !== undefined && reason === reasons.EGRESS_REFUSED);
}

/**
 * Writes judgements down as rows of the native tables, and derives them again when what they depend on has changed.
 * Rows go to all workers in one order, so a row that a worker asks for twice is simply sent again.
 */
export class DecisionTables {
  readonly #options: DecisionTablesOptions;
  readonly #outbound: RowLedger<Decision>;
  readonly #inbound: RowLedger<Decision>;
  readonly #desk: QuestionDesk;
  readonly #waiting: WaitingQuestions;
  readonly #expiring: WaitingRoom<string>;
  readonly #pods = new LocalPods();
  readonly #notices: NoticeBoard;
  readonly #rederivation: Rederivation;
  #snapshot: MeshSnapshot = emptySnapshot;
  #asked = 0;
  #judged = 0;
  #evicted = 0;

  constructor(options: DecisionTablesOptions) {
    this.#options = options;
    this.#desk = new QuestionDesk(options.questionRate, (questions) => this.#answerAll(questions));
    this.#outbound = new RowLedger(options.rowsPerPod);
    this.#inbound = new RowLedger(options.rowsPerPod);
    this.#waiting = new WaitingQuestions(options.unknownWaitMs, options.waitingPerPod, (due) =>
      this.#giveUpWaiting(due),
    );
    this.#expiring = new WaitingRoom(options.unknownRefusalMs, (due) => this.#expire(due));
    this.#notices = new NoticeBoard((notice, about) => options.onNotice?.(notice, about));
    this.#rederivation = new Rederivation({
      judge: (doubtful) => this.#judgeAgain(doubtful),
      onSettled: (changed) => {
        options.tables.askAboutForgotten();
        options.onFollowed?.(changed);
      },
    });
  }

  /** As judgements see it. */
  get local(): LocalNode {
    return this.#pods;
  }

  /** Rows that may be direct, or no longer, follow at once. */
  setSameNodePath(path: PathState): void {
    if (path !== this.#pods.path) this.#rederive([this.#pods.setPath(path)], []);
  }

  get snapshot(): MeshSnapshot {
    return this.#snapshot;
  }

  counts(): DecisionCounts {
    return {
      outboundRows: this.#outbound.size,
      inboundRows: this.#inbound.size,
      waiting: this.#waiting.size,
      asked: this.#asked,
      judged: this.#judged,
      evicted: this.#evicted,
    };
  }

  /** Its rows follow when its addresses change, and so do rows that lead to it. */
  setPod(podIndex: number, pod: LocalPod): void {
    const known = this.#pods.at(podIndex);
    const changed = this.#pods.set(podIndex, pod);
    if (isDeepStrictEqual(known, pod)) return;
    const own =
      known === undefined ? [] : [...this.#outbound.ofPod(podIndex), ...this.#inbound.ofPod(podIndex)];
    this.#rederive([changed], own);
  }

  /** What led to it directly no longer does when this returns. */
  removePod(podIndex: number): void {
    const changed = this.#pods.delete(podIndex);
    this.#desk.forget(podIndex);
    this.#waiting.removePod(podIndex);
    const batch = new RowBatch();
    for (const { key } of this.#outbound.ofPod(podIndex)) this.#drop(this.#outbound, key, batch);
    for (const { key } of this.#inbound.ofPod(podIndex)) this.#drop(this.#inbound, key, batch);
    this.#write(batch);
    this.#rederive(changed, []);
  }

  /**
   * Judges again what depends on the difference, rows and waiting questions alike. Whoever made the snapshot of the one before
   * has the difference; found here it costs as much as the mesh is large.
   */
  setSnapshot(next: MeshSnapshot, diff: SnapshotDiff = diffSnapshots(this.#snapshot, next)): void {
    this.#snapshot = next;
    if (diff.keys.size === 0) return;
    this.#rederive(diff.keys, []);
    const batch = new RowBatch();
    for (const { question, dependencies } of this.#waiting.values()) {
      if (isAffected(dependencies, diff)) this.#attempt(question, () => this.#answer(question, batch));
    }
    this.#write(batch);
  }

  ask(questions: readonly TunnelQuestion[]): void {
    this.#asked += questions.length;
    const unheld = questions.filter(({ open }) => open === true);
    this.#desk.ask(unheld.length === 0 ? questions : questions.filter(({ open }) => open !== true));
    this.#rederivation.addUnheld(unheld);
  }

  /**
   * Rows that an earlier agent left in the kernel hold until each is judged here, which is now. Those that would not be direct any
   * more are removed: the next connection asks.
   */
  adopt(earlier: readonly EarlierRow[]): void {
    const { edges, kernelRows } = this.#options;
    const batch = new RowBatch();
    for (const row of earlier) {
      const question: TunnelQuestion = { kind: 'outbound', sourceAddress: '', ...row.key };
      // Somebody asked meanwhile, and it was written anew.
      if (this.#outbound.get(keyText(question)) !== undefined) continue;
      const isHeld =
        this.#pods.has(row.key.podIndex) &&
        this.#attempt(question, () => {
          const judgement = this.#judge(question);
          if (judgement.kind !== 'outbound' || judgement.reason !== reasons.NONE)
            return kernelRows.remove(row.key);
          adoptEdges(row, judgement, this.#pods, edges);
          this.#record(question, judgement, batch);
        });
      if (!isHeld) kernelRows.remove(row.key);
    }
    this.#write(batch);
  }

  /** There is nothing of these names: who waits for them need not wait longer. */
  tellAbsent(names: readonly string[]): void {
    const absent = new Set(names);
    const batch = new RowBatch();
    for (const { question, dependencies } of this.#waiting.values()) {
      if (missingNames(this.#snapshot, dependencies).some((name) => absent.has(name)))
        this.#attempt(question, () => this.#answer(question, batch));
    }
    this.#write(batch);
  }

  /** Rows of which every edge is idle are forgotten: whoever wants them again asks again. Returns how many. */
  forgetIdle(isIdle: (edge: number) => boolean): number {
    const batch = new RowBatch();
    let count = 0;
    for (const ledger of [this.#outbound, this.#inbound]) {
      for (const { key, value } of [...ledger.entries()]) {
        // Each is asked about, so that each has its time noted.
        if (value.edges.filter((edge) => !isIdle(edge)).length > 0) continue;
        this.#drop(ledger, key, batch);
        count++;
      }
    }
    this.#write(batch);
    return count;
  }

  /** Names, as on-demand discovery knows them, that rows, waiting questions and the pods of this node go by. */
  usedNames(): Set<string> {
    const used = new Set<string>();
    const add = ({ dependencies }: { readonly dependencies: readonly string[] }) => {
      for (const name of askedNames(dependencies)) used.add(name);
    };
    for (const entry of this.#outbound.entries()) add(entry);
    for (const entry of this.#inbound.entries()) add(entry);
    for (const question of this.#waiting.values()) add(question);
    for (const { uid } of this.#pods.values())
      for (const name of namesOfPod(this.#snapshot, uid)) used.add(name);
    return used;
  }

  close(): void {
    this.#desk.close();
    this.#rederivation.close();
    this.#waiting.close();
    this.#expiring.close();
  }

  #answerAll(questions: Iterable<TunnelQuestion>): void {
    const batch = new RowBatch();
    for (const question of questions) this.#attempt(question, () => this.#answer(question, batch));
    this.#write(batch);
  }

  #answer(question: TunnelQuestion, batch: RowBatch): void {
    const ledger = this.#ledgerOf(question);
    const before = ledger.get(keyText(question));
    if (before !== undefined && this.#rederivation.takeRow(before.key)) this.#deriveAgain(before, batch);
    const known = ledger.get(keyText(question));
    if (known !== undefined) {
      // A worker that asked before the row reached it, or that had no room for it.
      batch.put(known.value.row);
      return;
    }
    if (!this.#pods.has(question.podIndex)) {
      batch.put(refusalOf(question, reasons.POD_REMOVED));
      return;
    }
    const judgement = this.#judge(question);
    // Room first: what is refused all the same must not be asked for, or a scan would be one of the control plane.
    if (this.#waiting.hasRoom(question) && this.#mayBeLearnt(question, judgement)) {
      this.#waiting.enter(question, judgement.dependencies);
      return;
    }
    this.#waiting.leave(question);
    this.#record(question, judgement, batch);
  }

  /** Whether it is worth to wait for more knowledge; asks for it where it does not come by itself. */
  #mayBeLearnt(question: TunnelQuestion, { reason, dependencies }: AnyJudgement): boolean {
    const { askMesh } = this.#options;
    const isUnknown = isUnknownTo(askMesh, reason);
    if (askMesh === undefined || !(isUnknown || reason === reasons.WAYPOINT_NOT_READY)) return isUnknown;
    const missing = missingNames(this.#snapshot, dependencies);
    if (askMesh.lookUp(missing)) return true;
    if (!isUnknown) return this.#waiting.has(question);
    // Of the pod's own workload a control plane hears a moment later than the agent.
    if (reason === reasons.UNKNOWN_WORKLOAD || missing.length === 0) return true;
    return !missing.every((name) => askMesh.isAbsent(name));
  }

  #judge(question: TunnelQuestion): OutboundJudgement | InboundJudgement {
    this.#judged++;
    const pod = this.#pods.at(question.podIndex);
    if (pod === undefined) throw new Error(`pod ${question.podIndex} is not known to the decision tables`);
    if ('channel' in question) {
      return this.#options.judge.inbound(this.#snapshot, { ...question, destination: pod });
    }
    return this.#options.judge.outbound(this.#snapshot, {
      source: pod,
      address: question.address,
      port: question.port,
      local: this.#pods,
    });
  }

  #record(question: TunnelQuestion, judgement: OutboundJudgement | InboundJudgement, batch: RowBatch): void {
    const key = keyText(question);
    const ledger = this.#ledgerOf(question);
    const decision = this.#decide(question, judgement, ledger.get(key)?.value);
    const { row } = decision;
    const { replaced, evicted } = ledger.put({
      key,
      podIndex: question.podIndex,
      dependencies: judgement.dependencies,
      refused: isRefusal(row),
      value: decision,
    });
    if (isUnknownTo(this.#options.askMesh, row.reason)) this.#expiring.enter(key, key);
    else this.#expiring.leave(key);
    this.#notices.switch(replaced?.value.notices ?? [], decision.notices);
    if (replaced === undefined || !isDeepStrictEqual(replaced.value.row, row)) batch.put(row);
    if (replaced !== undefined) this.#release(replaced.value);
    if (evicted !== undefined) {
      this.#evicted++;
      this.#forget(evicted, batch);
    }
  }

  /** The kernel has its part when this returns; where it has no room for endpoints, they are the tunnel's. */
  #decide(question: TunnelQuestion, judgement: AnyJudgement, before: Decision | undefined): Decision {
    const { edges } = this.#options;
    const decision = toDecision(question, judgement, edges, this.#pods);
    const isWritten = this.#switchKernel(before, decision);
    if (isWritten || decision.kind === 'inbound' || decision.kernel?.kind !== 'direct') return decision;
    const ofTunnel = toDecision(question, judgement, edges, this.#pods, { direct: false });
    this.#release(decision);
    return ofTunnel;
  }

  /** Rows that depend on these names, and others. */
  #rederive(changed: Iterable<string>, others: readonly LedgerEntry<Decision>[]): void {
    const names = [...changed];
    const entries = [...others, ...this.#outbound.affectedBy(names), ...this.#inbound.affectedBy(names)];
    this.#rederivation.addRows(
      entries.map(({ key }) => key),
      names,
    );
  }

  #judgeAgain(doubtful: Iterable<Doubtful>): void {
    const batch = new RowBatch();
    for (const each of doubtful) {
      if (each.kind === 'unheld') {
        this.#attempt(each.question, () => this.#judgeUnheld(each.question, batch));
        continue;
      }
      const entry = this.#outbound.get(each.key) ?? this.#inbound.get(each.key);
      if (entry !== undefined) this.#deriveAgain(entry, batch);
    }
    this.#write(batch);
  }

  /** Nobody waits for a row: it is written only to end what is open, and goes again. */
  #judgeUnheld(question: TunnelQuestion, batch: RowBatch): void {
    const known = this.#ledgerOf(question).get(keyText(question));
    if (known !== undefined) {
      batch.put(known.value.row);
      return;
    }
    if (!this.#pods.has(question.podIndex)) return;
    const judgement = this.#judge(question);
    if (!endsOpenConnections(judgement.reason)) return;
    const decision = toDecision(question, judgement, this.#options.edges, this.#pods);
    batch.put(decision.row);
    batch.remove(decision);
    this.#release(decision);
  }

  /**
   * Rows that carry are derived again and switched in place. Refusals are forgotten: the next connection asks, so that
   * thousands of them, which a scan leaves behind, make no change of the mesh slow.
   */
  #deriveAgain({ key, refused, value }: LedgerEntry<Decision>, batch: RowBatch): void {
    if (refused) {
      this.#drop(this.#ledgerOf(value), key, batch);
      return;
    }
    const question = questionOf(value);
    const isDone = this.#attempt(question, () => this.#record(question, this.#judge(question), batch));
    // The row of before must not go on allowing what nobody judged: the next connection asks.
    if (!isDone) this.#drop(this.#ledgerOf(value), key, batch);
  }

  /** A mistake with one question must not keep the others from their answer, nor their rows from the workers. */
  #attempt(question: TunnelQuestion, act: () => void): boolean {
    try {
      act();
      return true;
    } catch (caught) {
      this.#options.onFailure(HadalError.from(caught, 'ERR_INTERNAL', `deciding ${keyText(question)}`));
      return false;
    }
  }

  #giveUpWaiting(due: readonly TunnelQuestion[]): void {
    const batch = new RowBatch();
    for (const question of due) {
      this.#attempt(question, () => this.#record(question, this.#judge(question), batch));
    }
    this.#write(batch);
  }

  /** The next connection asks again: the knowledge may be had on demand. */
  #expire(keys: readonly string[]): void {
    const batch = new RowBatch();
    for (const key of keys) {
      this.#drop(this.#outbound, key, batch);
      this.#drop(this.#inbound, key, batch);
    }
    this.#write(batch);
  }

  #drop(ledger: RowLedger<Decision>, key: string, batch: RowBatch): void {
    const entry = ledger.remove(key);
    if (entry !== undefined) this.#forget(entry, batch);
  }

  #forget(entry: LedgerEntry<Decision>, batch: RowBatch): void {
    this.#expiring.leave(entry.key);
    this.#switchKernel(entry.value, undefined);
    this.#notices.switch(entry.value.notices, []);
    this.#release(entry.value);
    batch.remove(entry.value);
  }

  /** The kernel's row comes, changes and goes with the decision. False: it has no room for it. */
  #switchKernel(before: Decision | undefined, now: Decision | undefined): boolean {
    const { kernelRows } = this.#options;
    const [old, next] = [before, now].map((each) => (each?.kind === 'outbound' ? each.kernel : undefined));
    if (next !== undefined && now?.kind === 'outbound') {
      return isDeepStrictEqual(old, next) || kernelRows.put(now.question, next);
    }
    if (old !== undefined && before?.kind === 'outbound') kernelRows.remove(before.question);
    // An earlier agent may have left one.
    else if (before === undefined && now?.kind === 'outbound') kernelRows.remove(now.question);
    return true;
  }

  #release({ edges }: Decision): void {
    for (const edge of edges) this.#options.edges.release(edge);
  }

  #write(batch: RowBatch): void {
    const isKept = (decision: Decision) =>
      this.#ledgerOf(decision).get(keyText(questionOf(decision))) !== undefined;
    batch.write(this.#options.tables, isKept);
  }

  #ledgerOf({ kind }: { readonly kind: 'outbound' | 'inbound' }): RowLedger<Decision> {
    return kind === 'outbound' ? this.#outbound : this.#inbound;
  }
}
