import { reasonDetails } from '../model/reasons.gen.ts';
import type { PolicyOutcome } from '../routing/judgement.ts';

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

/** Which connections it is about, as the destination sees them. */
export interface NoticedConnections {
  /** uid of the destination. */
  readonly pod: string;
  readonly peerIdentity: string;
  readonly peerAddress: string;
  readonly authority: string;
}

export interface TellingNotice {
  readonly notice: PolicyNotice;
  readonly about: NoticedConnections;
}

/** Audits that match, and the verdict of dry runs where it is another than the one that is enforced. */
export function noticesOf(
  { reason, told, withDryRuns }: PolicyOutcome,
  about: NoticedConnections,
): readonly TellingNotice[] {
  const now = nameOfReason(reason);
  const audits: PolicyNotice[] = told
    .filter(({ action, rule }) => action === 'AUDIT' && rule !== undefined)
    .map(({ name, rule }) => ({ kind: 'audit', policy: name, rule, reason: now, wouldBe: now }));
  const isOther = withDryRuns !== undefined && withDryRuns.reason !== reason;
  const { name = '', rule } = withDryRuns?.policy ?? {};
  const wouldBe = nameOfReason(withDryRuns?.reason ?? reason);
  const dryRuns: PolicyNotice[] = isOther
    ? [{ kind: 'dry run', policy: name, rule, reason: now, wouldBe }]
    : [];
  return [...audits, ...dryRuns].map((notice) => ({ notice, about }));
}

/**
 * Each is told once, however many rows say it: a connection that its source judges already is judged by its destination too,
 * and both may be pods of this node.
 */
export class NoticeBoard {
  readonly #tell: (notice: PolicyNotice, about: NoticedConnections) => void;
  readonly #rows = new Map<string, number>();

  constructor(tell: (notice: PolicyNotice, about: NoticedConnections) => void) {
    this.#tell = tell;
  }

  /** A row says `now` what it did not say `before`, or no longer. */
  switch(before: readonly TellingNotice[], now: readonly TellingNotice[]): void {
    // Put up first: what stays is not told anew.
    for (const { notice, about } of now) {
      const key = keyOf(notice, about);
      const rows = this.#rows.get(key) ?? 0;
      this.#rows.set(key, rows + 1);
      if (rows === 0) this.#tell(notice, about);
    }
    for (const { notice, about } of before) {
      const key = keyOf(notice, about);
      const rows = (this.#rows.get(key) ?? 0) - 1;
      if (rows > 0) this.#rows.set(key, rows);
      else this.#rows.delete(key);
    }
  }
}

function keyOf(notice: PolicyNotice, about: NoticedConnections): string {
  const { kind, policy, rule, reason, wouldBe } = notice;
  const { pod, peerIdentity, peerAddress, authority } = about;
  return JSON.stringify([kind, policy, rule, reason, wouldBe, pod, peerIdentity, peerAddress, authority]);
}

function nameOfReason(reason: number): string {
  return reasonDetails.get(reason)?.metric ?? String(reason);
}
