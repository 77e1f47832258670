import { reasonDetails } from '../model/reasons.gen.ts';
import type {
  InboundKey,
  InboundRow,
  OutboundKey,
  OutboundRow,
  TunnelHandle,
  TunnelQuestion,
} from '../native/types.ts';
import type { InboundJudgement, OutboundJudgement } from '../routing/judgement.ts';
import { isStableRefusal } from './connect-refusals.ts';
import {
  type EdgeAllotter,
  inboundKeyOf,
  inboundKeyText,
  outboundKeyText,
  refusedInboundRow,
  refusedOutboundRow,
  toInboundRow,
  toOutboundRow,
} from './rows.ts';

export interface OutboundDecision {
  readonly kind: 'outbound';
  readonly question: OutboundKey;
  readonly row: OutboundRow;
  /** connect() fails at once: the kernel has a copy. */
  readonly refusedInKernel: boolean;
}

export interface InboundDecision {
  readonly kind: 'inbound';
  readonly question: Extract<TunnelQuestion, { kind: 'inbound' }>;
  readonly row: InboundRow;
  readonly notices: readonly PolicyNotice[];
}

/** Something that policies say of new connections and that nobody enforces. */
export interface PolicyNotice {
  readonly kind: 'audit' | 'dry run';
  /** `namespace/name`; '' where no ALLOW of a dry run matches. */
  readonly policy: string;
  /** Counted from 0. */
  readonly rule: number | undefined;
  /** What becomes of them, and what would: names of reasons as in metrics. */
  readonly reason: string;
  readonly wouldBe: string;
}

/** A row that was written down, with the question to judge again when the mesh changes. */
export type Decision = OutboundDecision | InboundDecision;

export type RowTables = Pick<
  TunnelHandle,
  'putOutboundRows' | 'removeOutboundRows' | 'putInboundRows' | 'removeInboundRows' | 'askAboutForgotten'
>;

/** Allots the edges of its row. */
export function toDecision(
  question: TunnelQuestion,
  judgement: OutboundJudgement | InboundJudgement,
  edges: EdgeAllotter,
): Decision {
  if (judgement.kind === 'outbound' && question.kind === 'outbound') {
    const row = toOutboundRow(question, judgement, edges);
    return { kind: 'outbound', question, row, refusedInKernel: isStableRefusal(row) };
  }
  if (judgement.kind === 'inbound' && question.kind === 'inbound') {
    const row = toInboundRow(question, judgement, edges);
    return { kind: 'inbound', question, row, notices: noticesOf(judgement) };
  }
  throw new Error(`a judgement of kind ${judgement.kind} for a question of kind ${question.kind}`);
}

/** Audits that match, and the verdict of dry runs where it is another than the one that is enforced. */
function noticesOf({ reason, told, withDryRuns }: InboundJudgement): readonly PolicyNotice[] {
  const now = nameOfReason(reason);
  const audits = told
    .filter(({ action, rule }) => action === 'AUDIT' && rule !== undefined)
    .map(({ name, rule }) => ({ kind: 'audit' as const, policy: name, rule, reason: now, wouldBe: now }));
  if (withDryRuns === undefined || withDryRuns.reason === reason) return audits;
  const { name = '', rule } = withDryRuns.policy ?? {};
  const wouldBe = nameOfReason(withDryRuns.reason);
  return [...audits, { kind: 'dry run', policy: name, rule, reason: now, wouldBe }];
}

function nameOfReason(reason: number): string {
  return reasonDetails.get(reason)?.metric ?? String(reason);
}

export function questionOf(decision: Decision): TunnelQuestion {
  if (decision.kind === 'inbound') return decision.question;
  return { kind: 'outbound', sourceAddress: '', ...decision.question };
}

export function keyText(question: TunnelQuestion): string {
  return question.kind === 'outbound' ? outboundKeyText(question) : inboundKeyText(question);
}

/** An answer that is not remembered. */
export function refusalOf(question: TunnelQuestion, reason: number): OutboundRow | InboundRow {
  return question.kind === 'outbound'
    ? refusedOutboundRow(question, reason)
    : refusedInboundRow(question, reason);
}

/** Rows of one change, written with one call per table: what is added or switched first, what is removed last. */
export class RowBatch {
  readonly #put: (OutboundRow | InboundRow)[] = [];
  readonly #removed: Decision[] = [];

  put(row: OutboundRow | InboundRow): void {
    this.#put.push(row);
  }

  remove(decision: Decision): void {
    this.#removed.push(decision);
  }

  /** A key that was removed and put again within the batch stays: `isKept` tells. */
  write(tables: RowTables, isKept: (decision: Decision) => boolean): void {
    const outbound = this.#put.filter((row): row is OutboundRow => 'endpoints' in row);
    const inbound = this.#put.filter((row): row is InboundRow => !('endpoints' in row));
    if (outbound.length > 0) tables.putOutboundRows(outbound);
    if (inbound.length > 0) tables.putInboundRows(inbound);
    const outboundGone: OutboundKey[] = [];
    const inboundGone: InboundKey[] = [];
    for (const decision of this.#removed) {
      if (isKept(decision)) continue;
      if (decision.kind === 'inbound') {
        inboundGone.push(inboundKeyOf(decision.row));
      } else {
        const { podIndex, address, port } = decision.row;
        outboundGone.push({ podIndex, address, port });
      }
    }
    if (outboundGone.length > 0) tables.removeOutboundRows(outboundGone);
    if (inboundGone.length > 0) tables.removeInboundRows(inboundGone);
  }
}
