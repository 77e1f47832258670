import { isDeepStrictEqual } from 'node:util';
import { diffSnapshots, isAffected, type SnapshotDiff } from '../model/diff.ts';
import { reasons } from '../model/reasons.gen.ts';
import { emptySnapshot, type MeshSnapshot } from '../model/snapshot.ts';
import type {
  InboundKey,
  InboundRow,
  OutboundKey,
  OutboundRow,
  TunnelHandle,
  TunnelQuestion,
} from '../native/types.ts';
import type {
  EnrolledPod,
  InboundJudgement,
  InboundQuestion,
  OutboundJudgement,
  OutboundQuestion,
} from '../routing/judgement.ts';
import { type ConnectRefusals, isStableRefusal } from './connect-refusals.ts';
import { QuestionQueue, type QuestionRate } from './question-queue.ts';
import { type LedgerEntry, RowLedger } from './row-ledger.ts';
import {
  type EdgeAllotter,
  edgesOf,
  inboundKeyOf,
  inboundKeyText,
  isRefusal,
  outboundKeyText,
  refusedInboundRow,
  refusedOutboundRow,
  toInboundRow,
  toOutboundRow,
} from './rows.ts';
import { WaitingRoom } from './waiting-room.ts';

/** The one judgement of the mesh, pure over a snapshot. */
export interface Judge {
  outbound(snapshot: MeshSnapshot, question: OutboundQuestion): OutboundJudgement;
  inbound(snapshot: MeshSnapshot, question: InboundQuestion): InboundJudgement;
}

export type RowTables = Pick<
  TunnelHandle,
  'putOutboundRows' | 'removeOutboundRows' | 'putInboundRows' | 'removeInboundRows'
>;

export interface DecisionTablesOptions {
  readonly tables: RowTables;
  readonly judge: Judge;
  readonly edges: EdgeAllotter;
  readonly connectRefusals: ConnectRefusals;
  readonly rowsPerPod: number;
  /** How long a question about something unknown waits for the mesh state to learn it. */
  readonly unknownWaitMs: number;
  /** Waiting questions of one pod; what goes beyond is refused at once. */
  readonly waitingPerPod: number;
  /** A refusal for want of knowledge is asked anew after this time. */
  readonly unknownRefusalMs: number;
  /** Of a pod's own connections, and of each peer's to it. */
  readonly questionRate: QuestionRate;
}

export interface DecisionCounts {
  readonly outboundRows: number;
  readonly inboundRows: number;
  readonly waiting: number;
  /** Questions received, judgements made, rows evicted by a quota. */
  readonly asked: number;
  readonly judged: number;
  readonly evicted: number;
}

interface OutboundDecision {
  readonly kind: 'outbound';
  readonly question: OutboundKey;
  readonly row: OutboundRow;
  readonly refusedInKernel: boolean;
}

interface InboundDecision {
  readonly kind: 'inbound';
  readonly question: Extract<TunnelQuestion, { kind: 'inbound' }>;
  readonly row: InboundRow;
}

type Decision = OutboundDecision | InboundDecision;

interface NextLook {
  /** All that wait have used up their rate: others need not wait for it. */
  readonly isHeld: boolean;
  cancel(): void;
}

/** Judgements of one pod between two looks at its neighbours. */
const turn = 64;
/** How long questions are answered before the event loop gets its turn. */
const sliceMs = 8;
/** How soon askers are looked at again that have used up their rate. */
const rateMs = 10;

/** Reasons that more knowledge may turn into an answer within seconds. */
const unknownReasons: ReadonlySet<number> = new Set([reasons.UNKNOWN_DESTINATION, reasons.UNKNOWN_WORKLOAD]);

/** Rows of one change, written with one call per table. */
class Batch {
  readonly put: (OutboundRow | InboundRow)[] = [];
  readonly removed: Decision[] = [];
}

/**
 * Writes judgements down as rows of the native tables, and derives them again when what they depend on has changed.
 * Rows go to all workers in one order, so a row that a worker asks for twice is simply sent again.
 */
export class DecisionTables {
  readonly #options: DecisionTablesOptions;
  readonly #outbound: RowLedger<Decision>;
  readonly #inbound: RowLedger<Decision>;
  readonly #queue: QuestionQueue<TunnelQuestion>;
  readonly #waiting: WaitingRoom<{ question: TunnelQuestion; dependencies: readonly string[] }>;
  readonly #waitingOfPod = new Map<number, number>();
  readonly #expiring: WaitingRoom<string>;
  readonly #pods = new Map<number, EnrolledPod>();
  #snapshot: MeshSnapshot = emptySnapshot;
  /** The next look at the queue is due. */
  #next: NextLook | undefined;
  #asked = 0;
  #judged = 0;
  #evicted = 0;

  constructor(options: DecisionTablesOptions) {
    this.#options = options;
    this.#queue = new QuestionQueue(askerOf, options.questionRate);
    this.#outbound = new RowLedger(options.rowsPerPod);
    this.#inbound = new RowLedger(options.rowsPerPod);
    this.#waiting = new WaitingRoom(options.unknownWaitMs, (due) => this.#giveUpWaiting(due));
    this.#expiring = new WaitingRoom(options.unknownRefusalMs, (due) => this.#expire(due));
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

  /** The pod's rows follow when its addresses change. */
  setPod(podIndex: number, pod: EnrolledPod): void {
    const known = this.#pods.get(podIndex);
    this.#pods.set(podIndex, pod);
    if (known !== undefined && !isDeepStrictEqual(known, pod)) {
      this.#rederive([...this.#outbound.ofPod(podIndex), ...this.#inbound.ofPod(podIndex)]);
    }
  }

  removePod(podIndex: number): void {
    this.#pods.delete(podIndex);
    this.#queue.forget((question) => question.podIndex === podIndex);
    for (const { question } of this.#waiting.values()) {
      if (question.podIndex === podIndex) this.#leaveWaiting(keyText(question));
    }
    const batch = new Batch();
    for (const { key } of this.#outbound.ofPod(podIndex)) this.#drop(this.#outbound, key, batch);
    for (const { key } of this.#inbound.ofPod(podIndex)) this.#drop(this.#inbound, key, batch);
    this.#write(batch);
  }

  /** Judges again what depends on the difference, rows and waiting questions alike. */
  setSnapshot(next: MeshSnapshot): SnapshotDiff {
    const diff = diffSnapshots(this.#snapshot, next);
    this.#snapshot = next;
    if (diff.keys.size === 0) return diff;
    this.#rederive([...this.#outbound.affectedBy(diff.keys), ...this.#inbound.affectedBy(diff.keys)]);
    const batch = new Batch();
    for (const { question, dependencies } of this.#waiting.values()) {
      if (isAffected(dependencies, diff)) this.#answer(question, batch);
    }
    this.#write(batch);
    return diff;
  }

  ask(questions: readonly TunnelQuestion[]): void {
    this.#asked += questions.length;
    for (const question of questions) this.#queue.add(question);
    // A question is answered in the call that brought it, unless so many wait that they are answered in slices.
    if (this.#next === undefined || this.#next.isHeld) this.#work();
  }

  close(): void {
    this.#next?.cancel();
    this.#waiting.close();
    this.#expiring.close();
  }

  #work(): void {
    this.#next?.cancel();
    this.#next = undefined;
    const until = performance.now() + sliceMs;
    const batch = new Batch();
    let isHeld = false;
    for (
      let now = performance.now();
      this.#queue.size > 0 && !isHeld && now < until;
      now = performance.now()
    ) {
      const questions = this.#queue.takeTurn(turn, now);
      for (const question of questions) this.#answer(question, batch);
      isHeld = questions.length === 0;
    }
    this.#write(batch);
    if (this.#queue.size > 0)
      this.#next = isHeld ? lookLater(() => this.#work()) : lookAtOnce(() => this.#work());
  }

  #answer(question: TunnelQuestion, batch: Batch): void {
    const ledger = this.#ledgerOf(question);
    const known = ledger.get(keyText(question));
    if (known !== undefined) {
      // A worker that asked before the row reached it, or that had no room for it.
      batch.put.push(known.value.row);
      return;
    }
    if (!this.#pods.has(question.podIndex)) {
      batch.put.push(refusal(question, reasons.POD_REMOVED));
      return;
    }
    const judgement = this.#judge(question);
    if (unknownReasons.has(judgement.reason) && this.#mayWait(question)) {
      this.#wait(question, judgement.dependencies);
      return;
    }
    this.#leaveWaiting(keyText(question));
    this.#record(question, judgement, batch);
  }

  #judge(question: TunnelQuestion | OutboundDecision['question']): OutboundJudgement | InboundJudgement {
    this.#judged++;
    const pod = this.#pods.get(question.podIndex);
    if (pod === undefined) throw new Error(`pod ${question.podIndex} is not known to the decision tables`);
    if ('channel' in question) {
      return this.#options.judge.inbound(this.#snapshot, { ...question, destination: pod });
    }
    return this.#options.judge.outbound(this.#snapshot, {
      source: pod,
      address: question.address,
      port: question.port,
    });
  }

  #record(question: TunnelQuestion, judgement: OutboundJudgement | InboundJudgement, batch: Batch): void {
    const decision = this.#decide(question, judgement);
    const { row } = decision;
    const key = keyText(question);
    const { replaced, evicted } = this.#ledgerOf(question).put({
      key,
      podIndex: question.podIndex,
      dependencies: judgement.dependencies,
      refused: isRefusal(row),
      value: decision,
    });
    if (unknownReasons.has(row.reason)) this.#expiring.enter(key, key);
    else this.#expiring.leave(key);
    this.#switchKernel(replaced?.value, decision);
    if (replaced === undefined || !isDeepStrictEqual(replaced.value.row, row)) batch.put.push(row);
    if (replaced !== undefined) this.#release(replaced.value);
    if (evicted !== undefined) {
      this.#evicted++;
      this.#forget(evicted, batch);
    }
  }

  #decide(question: TunnelQuestion, judgement: OutboundJudgement | InboundJudgement): Decision {
    const { edges } = this.#options;
    if (judgement.kind === 'outbound' && question.kind === 'outbound') {
      const row = toOutboundRow(question, judgement, edges);
      return { kind: 'outbound', question, row, refusedInKernel: isStableRefusal(row) };
    }
    if (judgement.kind === 'inbound' && question.kind === 'inbound') {
      return { kind: 'inbound', question, row: toInboundRow(question, judgement, edges) };
    }
    throw new Error(`a judgement of kind ${judgement.kind} for a question of kind ${question.kind}`);
  }

  /**
   * Rows that carry are derived again and switched in place. Refusals are forgotten: the next connection asks, so that
   * thousands of them, which a scan leaves behind, make no change of the mesh slow.
   */
  #rederive(entries: Iterable<LedgerEntry<Decision>>): void {
    const batch = new Batch();
    for (const { key, refused, value } of entries) {
      if (refused) {
        this.#drop(this.#ledgerOf(value), key, batch);
        continue;
      }
      const question = asQuestion(value);
      this.#record(question, this.#judge(question), batch);
    }
    this.#write(batch);
  }

  #mayWait(question: TunnelQuestion): boolean {
    if (this.#waiting.has(keyText(question))) return true;
    return (this.#waitingOfPod.get(question.podIndex) ?? 0) < this.#options.waitingPerPod;
  }

  #wait(question: TunnelQuestion, dependencies: readonly string[]): void {
    const key = keyText(question);
    if (!this.#waiting.has(key)) {
      this.#waitingOfPod.set(question.podIndex, (this.#waitingOfPod.get(question.podIndex) ?? 0) + 1);
    }
    this.#waiting.enter(key, { question, dependencies });
  }

  #leaveWaiting(key: string): void {
    const entry = this.#waiting.leave(key);
    if (entry !== undefined) this.#countLeft(entry.question.podIndex);
  }

  #countLeft(podIndex: number): void {
    const left = (this.#waitingOfPod.get(podIndex) ?? 1) - 1;
    if (left === 0) this.#waitingOfPod.delete(podIndex);
    else this.#waitingOfPod.set(podIndex, left);
  }

  #giveUpWaiting(due: readonly { question: TunnelQuestion }[]): void {
    const batch = new Batch();
    for (const { question } of due) {
      this.#countLeft(question.podIndex);
      this.#record(question, this.#judge(question), batch);
    }
    this.#write(batch);
  }

  /** The next connection asks again: the knowledge may be had on demand. */
  #expire(keys: readonly string[]): void {
    const batch = new Batch();
    for (const key of keys) {
      this.#drop(this.#outbound, key, batch);
      this.#drop(this.#inbound, key, batch);
    }
    this.#write(batch);
  }

  #drop(ledger: RowLedger<Decision>, key: string, batch: Batch): void {
    const entry = ledger.remove(key);
    if (entry !== undefined) this.#forget(entry, batch);
  }

  #forget(entry: LedgerEntry<Decision>, batch: Batch): void {
    this.#expiring.leave(entry.key);
    this.#switchKernel(entry.value, undefined);
    this.#release(entry.value);
    batch.removed.push(entry.value);
  }

  /** The kernel's copy of a refusal comes and goes with the row. */
  #switchKernel(before: Decision | undefined, now: Decision | undefined): void {
    const { connectRefusals } = this.#options;
    if (now?.kind === 'outbound' && now.refusedInKernel) {
      connectRefusals.refuse(now.row, now.row.reason, now.row.refusalEdge);
    } else if (before?.kind === 'outbound' && before.refusedInKernel) {
      connectRefusals.lift(before.row);
    }
  }

  #release({ row }: Decision): void {
    for (const edge of edgesOf(row)) this.#options.edges.release(edge);
  }

  /** Add and switch first, remove last. A key that was dropped and put again within the batch stays. */
  #write(batch: Batch): void {
    const { tables } = this.#options;
    const outbound = batch.put.filter((row): row is OutboundRow => 'endpoints' in row);
    const inbound = batch.put.filter((row): row is InboundRow => !('endpoints' in row));
    if (outbound.length > 0) tables.putOutboundRows(outbound);
    if (inbound.length > 0) tables.putInboundRows(inbound);
    const outboundGone: OutboundKey[] = [];
    const inboundGone: InboundKey[] = [];
    for (const decision of batch.removed) {
      if (this.#ledgerOf(decision).get(keyText(asQuestion(decision))) !== undefined) continue;
      if (decision.kind === 'outbound') outboundGone.push(decision.row);
      else inboundGone.push(inboundKeyOf(decision.row));
    }
    if (outboundGone.length > 0) {
      tables.removeOutboundRows(
        outboundGone.map(({ podIndex, address, port }) => ({ podIndex, address, port })),
      );
    }
    if (inboundGone.length > 0) tables.removeInboundRows(inboundGone);
  }

  #ledgerOf({ kind }: { readonly kind: 'outbound' | 'inbound' }): RowLedger<Decision> {
    return kind === 'outbound' ? this.#outbound : this.#inbound;
  }
}

/** Peers of a pod are told apart: one that tries many ports of it holds up no other. */
function askerOf(question: TunnelQuestion): string {
  return question.kind === 'outbound'
    ? `${question.podIndex}`
    : `${question.podIndex} ${question.peerAddress}`;
}

function lookAtOnce(work: () => void): NextLook {
  const immediate = setImmediate(work);
  return { isHeld: false, cancel: () => clearImmediate(immediate) };
}

function lookLater(work: () => void): NextLook {
  const timer = setTimeout(work, rateMs);
  return { isHeld: true, cancel: () => clearTimeout(timer) };
}

function keyText(question: TunnelQuestion): string {
  return question.kind === 'outbound' ? outboundKeyText(question) : inboundKeyText(question);
}

function asQuestion(decision: Decision): TunnelQuestion {
  if (decision.kind === 'inbound') return decision.question;
  return { kind: 'outbound', sourceAddress: '', ...decision.question };
}

function refusal(question: TunnelQuestion, reason: number): OutboundRow | InboundRow {
  return question.kind === 'outbound'
    ? refusedOutboundRow(question, reason)
    : refusedInboundRow(question, reason);
}
