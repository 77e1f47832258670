import type { HadalError } from '../base/errors.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type {
  InboundJudgement,
  InboundQuestion,
  OutboundJudgement,
  OutboundQuestion,
} from '../routing/judgement.ts';
import type { RowTables } from './decision.ts';
import type { KernelRows } from './kernel-rows.ts';
import type { NoticedConnections, PolicyNotice } from './policy-notices.ts';
import type { QuestionRate } from './question-queue.ts';
import type { EdgeAllotter } from './rows.ts';

/** The one judgement of the mesh, pure over a snapshot. */
export interface Judge {
  outbound(snapshot: MeshSnapshot, question: OutboundQuestion): OutboundJudgement;
  inbound(snapshot: MeshSnapshot, question: InboundQuestion): InboundJudgement;
}

/** Knows what is sent only to those who ask for it. */
export interface MeshAsked {
  /** Asks for what a judgement looked for and did not find; true when any of it was not asked for before. */
  lookUp(names: readonly string[]): boolean;
  /** It has said that there is nothing of this name, and would say if there were. */
  isAbsent(name: string): boolean;
}

export interface DecisionTablesOptions {
  readonly tables: RowTables;
  readonly judge: Judge;
  readonly edges: EdgeAllotter;
  readonly kernelRows: KernelRows;
  readonly rowsPerPod: number;
  /** How long a question about something unknown waits for the mesh state to learn it. */
  readonly unknownWaitMs: number;
  /** Waiting questions of one pod; what goes beyond is refused at once. */
  readonly waitingPerPod: number;
  /** A refusal for want of knowledge is asked anew after this time. */
  readonly unknownRefusalMs: number;
  /** Of a pod's own connections, and of each peer's to it. */
  readonly questionRate: QuestionRate;
  /** On demand: who is asked. Where it is missing all that is to be known is known, or comes by itself. */
  readonly askMesh?: MeshAsked;
  /** What policies say of the connections of a new row, or of one that changed, and nobody enforces. */
  readonly onNotice?: (notice: PolicyNotice, about: NoticedConnections) => void;
  /** All rows follow the changes of what has these names: new connections go by them. */
  readonly onFollowed?: (changed: ReadonlySet<string>) => void;
  /** A question that could not be decided; its connection is refused when it has waited long enough. */
  readonly onFailure: (error: HadalError) => void;
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
