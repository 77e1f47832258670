import { randomUUID } from 'node:crypto';

/**
 * How much a control plane has seen, as `system_version_info` of each response says it: so that a replica that is behind
 * cannot roll an agent back.
 *
 * The contract:
 * - The text is `<lineage>;<source>=<seen>@<told>;...`. Numbers of one lineage grow with what was seen of a source, in every replica
 *   alike: resource versions of the API server by kind, for instance. `seen` is how far a source was followed, `told` the newest
 *   number at which it told something, which may be left out where both are the same. A number that brought nothing, as a
 *   bookmark does, moves `seen` alone: replicas that were told the same may have come to different ones.
 * - A replica is behind when it states the same lineage and has seen less of any source than somebody was told.
 * - An agent keeps the newest number that was told of each source, on disk too, and states it in the metadata of its node under
 *   `HADAL_GENERATION`. A server that is behind that ends the stream with UNAVAILABLE and `hadal-error: ERR_XDS_BEHIND` before it
 *   sends anything; the agent keeps what it has and dials again, which reaches another replica or this one later.
 * - An agent refuses by itself a response whose generation is behind, or of another lineage, without applying or answering it, and
 *   dials again. After a long time in which nobody else answers it takes what there is (generation-guard.ts).
 * - A text that is no generation, as Istio's control plane sends, says nothing: nobody is behind.
 * - A control plane that reads manifests by itself makes up a lineage when it starts, `own:...`: there is no other replica to
 *   compare with, and every lineage may follow it.
 */
export interface Generation {
  readonly lineage: string;
  /** How far each source was followed. */
  readonly positions: ReadonlyMap<string, bigint>;
  /** Where each source told something for the last time; absent: where it was followed to. */
  readonly told?: ReadonlyMap<string, bigint>;
}

/** Key in the metadata of the node. */
export const generationMetadata = 'HADAL_GENERATION';

/** In the trailer of a stream that was ended for it. */
export const errorCodeMetadata = 'hadal-error';

const ownLineage = 'own:';
const lineagePattern = /^[A-Za-z0-9._:-]{1,128}$/;
const positionPattern = /^([A-Za-z0-9._/-]{1,128})=(\d{1,39})(?:@(\d{1,39}))?$/;
const longestText = 8_192;

/** Of a control plane whose numbers nobody else has. */
export function makeOwnLineage(): string {
  return `${ownLineage}${randomUUID()}`;
}

export function formatGeneration({ lineage, positions, told }: Generation): string {
  const parts = Array.from(positions, ([source, position]) => {
    const at = told?.get(source) ?? position;
    return at === position ? `${source}=${position}` : `${source}=${position}@${at}`;
  });
  return [lineage, ...parts].join(';');
}

/** Undefined when the text is none. */
export function parseGeneration(text: string): Generation | undefined {
  if (text.length > longestText) return undefined;
  const [lineage = '', ...rest] = text.split(';');
  if (!lineagePattern.test(lineage) || rest.length === 0) return undefined;
  const positions = new Map<string, bigint>();
  const told = new Map<string, bigint>();
  for (const part of rest) {
    const [, source, position, at] = positionPattern.exec(part) ?? [];
    if (source === undefined || position === undefined) return undefined;
    positions.set(source, BigInt(position));
    if (at !== undefined) told.set(source, BigInt(at));
  }
  return { lineage, positions, ...(told.size > 0 && { told }) };
}

/** What somebody must have seen who has seen all that was told. */
export function neededOf({ lineage, positions, told }: Generation): Generation {
  if (told === undefined) return { lineage, positions };
  const needed = Array.from(
    positions,
    ([source, position]) => [source, told.get(source) ?? position] as const,
  );
  return { lineage, positions: new Map(needed) };
}

/** Whether `one` has not seen something that `needed` has. */
export function isBehind(one: Generation | undefined, needed: Generation | undefined): boolean {
  return sourcesBehind(one, needed).length > 0;
}

/** `pods: seen up to 5, and 7 is in force; ...` */
export function describeBehind(one: Generation | undefined, needed: Generation | undefined): string {
  return sourcesBehind(one, needed)
    .slice(0, 3)
    .map(
      ([source, position]) =>
        `${source}: seen up to ${one?.positions.get(source)}, and ${position} is in force`,
    )
    .join('; ');
}

function sourcesBehind(one: Generation | undefined, needed: Generation | undefined): [string, bigint][] {
  if (one === undefined || needed === undefined || one.lineage !== needed.lineage) return [];
  return [...neededOf(needed).positions].filter(
    ([source, position]) => (one.positions.get(source) ?? position) < position,
  );
}

/** Whether what was seen is not to be compared with what is needed, though both are of sources that outlast a control plane. */
export function isOfOtherLineage(one: Generation | undefined, needed: Generation): boolean {
  return one !== undefined && one.lineage !== needed.lineage && !needed.lineage.startsWith(ownLineage);
}

/** What was seen by either; of another lineage only `next` counts. */
export function laterGeneration(known: Generation | undefined, next: Generation): Generation {
  if (known === undefined || known.lineage !== next.lineage) return next;
  const positions = laterOf(known.positions, next.positions);
  if (known.told === undefined && next.told === undefined) return { lineage: next.lineage, positions };
  return {
    lineage: next.lineage,
    positions,
    told: laterOf(neededOf(known).positions, neededOf(next).positions),
  };
}

function laterOf(known: ReadonlyMap<string, bigint>, next: ReadonlyMap<string, bigint>): Map<string, bigint> {
  const later = new Map(known);
  for (const [source, position] of next)
    if (position > (later.get(source) ?? -1n)) later.set(source, position);
  return later;
}
