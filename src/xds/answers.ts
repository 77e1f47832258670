/** Responses of one type on a stream and their answers: what was taken over, what was refused and why. */
import type { RefusedResource } from './server-status.ts';
import type { StoredResource } from './stored-resource.ts';

const mostRefusals = 1_000;
const longestReason = 1_000;

interface SentResponse {
  readonly generation: string;
  readonly upserts: readonly StoredResource[];
  readonly removed: readonly string[];
}

export class Answers {
  readonly #unanswered = new Map<string, SentResponse>();
  readonly #refused = new Map<string, RefusedResource>();
  #acknowledged = '';
  #acknowledgedAt: number | undefined;

  get unanswered(): number {
    return this.#unanswered.size;
  }
  get acknowledged(): string {
    return this.#acknowledged;
  }
  get acknowledgedAt(): number | undefined {
    return this.#acknowledgedAt;
  }
  get refused(): readonly RefusedResource[] {
    return [...this.#refused.values()];
  }

  sent(nonce: string, response: SentResponse): void {
    this.#unanswered.set(nonce, response);
  }

  /** Takes an answer in; returns what it refuses, or undefined when no response waits for this nonce. */
  answer(nonce: string, refusal: string | undefined, at: number): readonly RefusedResource[] | undefined {
    const response = this.#unanswered.get(nonce);
    if (response === undefined) return undefined;
    this.#unanswered.delete(nonce);
    this.#acknowledged = response.generation;
    this.#acknowledgedAt = at;
    for (const { name } of response.upserts) this.#refused.delete(name);
    for (const name of response.removed) this.#refused.delete(name);
    if (response.upserts.length > 0) this.#refused.delete('');
    const refused = refusal === undefined ? [] : refusedResources(refusal, response.upserts, at);
    for (const each of refused) if (this.#refused.size < mostRefusals) this.#refused.set(each.name, each);
    return refused;
  }
}

/** `name: reason; name: reason`, as agents of Istio write it too; what does not name a resource belongs to the reason before it. */
function refusedResources(
  text: string,
  upserts: readonly StoredResource[],
  at: number,
): readonly RefusedResource[] {
  const versions = new Map(upserts.map(({ name, version }) => [name, version]));
  const found: { name: string; reason: string }[] = [];
  for (const part of text.split('; ', mostRefusals)) {
    const colon = part.indexOf(': ');
    const name = part.slice(0, Math.max(0, colon));
    const last = found.at(-1);
    if (colon > 0 && versions.has(name)) found.push({ name, reason: part.slice(colon + 2) });
    else if (last === undefined) found.push({ name: '', reason: part });
    else if (last.reason.length < longestReason) last.reason += `; ${part}`;
  }
  return found.map(({ name, reason }) =>
    Object.freeze({ name, version: versions.get(name) ?? '', reason: reason.slice(0, longestReason), at }),
  );
}
