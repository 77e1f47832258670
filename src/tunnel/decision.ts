import type {
  InboundKey,
  InboundRow,
  OutboundKey,
  OutboundRow,
  TunnelHandle,
  TunnelQuestion,
} from '../native/types.ts';
import type { InboundJudgement, OutboundJudgement } from '../routing/judgement.ts';
import { type DirectShare, type KernelRow, refusingRow, shareDirect } from './kernel-rows.ts';
import type { LocalPods } from './local-pods.ts';
import { noticesOf, type TellingNotice } from './policy-notices.ts';
import {
  type EdgeAllotter,
  edgesOf,
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
  /** What the kernel does without the agent; undefined: it brings each connection to it. */
  readonly kernel: KernelRow | undefined;
  /** What destinations would tell that never hear of the connections. */
  readonly notices: readonly TellingNotice[];
  /** Numbers of edges that it holds, as often as they were allotted. */
  readonly edges: readonly number[];
}

export interface InboundDecision {
  readonly kind: 'inbound';
  readonly question: Extract<TunnelQuestion, { kind: 'inbound' }>;
  readonly row: InboundRow;
  readonly notices: readonly TellingNotice[];
  readonly edges: readonly number[];
}

/** A row that was written down, with the question to judge again when the mesh changes. */
export type Decision = OutboundDecision | InboundDecision;

export type RowTables = Pick<
  TunnelHandle,
  'putOutboundRows' | 'removeOutboundRows' | 'putInboundRows' | 'removeInboundRows' | 'askAboutForgotten'
>;

/** Allots the edges of its rows. Without `direct` the tunnel carries to every endpoint: the kernel has no room for the row. */
export function toDecision(
  question: TunnelQuestion,
  judgement: OutboundJudgement | InboundJudgement,
  edges: EdgeAllotter,
  pods: LocalPods,
  { direct = true }: { readonly direct?: boolean } = {},
): Decision {
  if (judgement.kind === 'outbound' && question.kind === 'outbound') {
    const share = direct ? shareDirect(judgement, pods, edges) : undefined;
    return outboundDecision(question, judgement, edges, share);
  }
  if (judgement.kind === 'inbound' && question.kind === 'inbound') {
    const row = toInboundRow(question, judgement, edges);
    const { podIndex, peerIdentity, peerAddress, authority } = question;
    const about = { pod: pods.at(podIndex)?.uid ?? '', peerIdentity, peerAddress, authority };
    return { kind: 'inbound', question, row, notices: noticesOf(judgement, about), edges: edgesOf(row) };
  }
  throw new Error(`a judgement of kind ${judgement.kind} for a question of kind ${question.kind}`);
}

function outboundDecision(
  { podIndex, address, port }: OutboundKey,
  judgement: OutboundJudgement,
  edges: EdgeAllotter,
  direct: DirectShare | undefined,
): OutboundDecision {
  const question = { podIndex, address, port };
  const ofAgent = direct === undefined ? judgement : { ...judgement, endpoints: direct.ofAgent };
  const row = toOutboundRow(question, ofAgent, edges);
  const kernel: KernelRow | undefined =
    direct === undefined
      ? refusingRow(row.reason, row.refusalEdge)
      : { kind: 'direct', edge: row.refusalEdge, slots: direct.slots };
  const notices = direct === undefined ? noticesOfRefusal(judgement) : direct.notices;
  return {
    kind: 'outbound',
    question,
    row,
    kernel,
    notices,
    edges: [...edgesOf(row), ...(direct?.edges ?? [])],
  };
}

/** Of each destination that refuses: it never hears of the connections. */
function noticesOfRefusal({ refusing }: OutboundJudgement): readonly TellingNotice[] {
  return refusing.flatMap(({ endpoint, outcome, peer }) =>
    noticesOf(outcome, { pod: endpoint.workloadUid, authority: endpoint.authority, ...peer }),
  );
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
