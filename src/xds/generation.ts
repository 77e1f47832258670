/**
 * How much a control plane has seen, as `system_version_info` of each response says it: so that a replica that is behind
 * cannot roll an agent back.
 *
 * The contract:
 * - The text is `<lineage>;<source>=<number>;...`. Numbers of one lineage grow with what was seen of a source, in every replica
 *   alike: resource versions of the API server by kind, for instance. Different lineages cannot be compared.
 * - A replica is behind when it states the same lineage and a smaller number for any source that both state.
 * - An agent keeps the newest generation of each source that it has applied, on disk too, and states it in the metadata of its
 *   node under `HADAL_GENERATION`. A server that is behind that ends the stream with UNAVAILABLE before it sends anything; the
 *   agent keeps what it has and dials again, which reaches another replica or this one later.
 * - An agent refuses by itself a response whose generation is behind, without applying or answering it, and dials again.
 * - A text that is no generation, as Istio's control plane sends, says nothing: nobody is behind.
 * - A control plane that reads manifests by itself makes up a lineage when it starts: there is no other replica to compare with.
 */
export interface Generation {
  readonly lineage: string;
  readonly positions: ReadonlyMap<string, bigint>;
}

/** Key in the metadata of the node. */
export const generationMetadata = 'HADAL_GENERATION';

const lineagePattern = /^[A-Za-z0-9._:-]{1,128}$/;
const positionPattern = /^([A-Za-z0-9._/-]{1,128})=(\d{1,39})$/;
const longestText = 8_192;

export function formatGeneration({ lineage, positions }: Generation): string {
  return [lineage, ...Array.from(positions, ([source, position]) => `${source}=${position}`)].join(';');
}

/** Undefined when the text is none. */
export function parseGeneration(text: string): Generation | undefined {
  if (text.length > longestText) return undefined;
  const [lineage = '', ...rest] = text.split(';');
  if (!lineagePattern.test(lineage) || rest.length === 0) return undefined;
  const positions = new Map<string, bigint>();
  for (const part of rest) {
    const [, source, position] = positionPattern.exec(part) ?? [];
    if (source === undefined || position === undefined) return undefined;
    positions.set(source, BigInt(position));
  }
  return { lineage, positions };
}

/** Whether `one` has not seen something that `other` has. */
export function isBehind(one: Generation | undefined, other: Generation | undefined): boolean {
  if (one === undefined || other === undefined || one.lineage !== other.lineage) return false;
  return [...other.positions].some(
    ([source, position]) => (one.positions.get(source) ?? position) < position,
  );
}

/** What was seen by either; of another lineage only `next` counts. */
export function laterGeneration(known: Generation | undefined, next: Generation): Generation {
  if (known === undefined || known.lineage !== next.lineage) return next;
  const positions = new Map(known.positions);
  for (const [source, position] of next.positions) {
    if (position > (positions.get(source) ?? -1n)) positions.set(source, position);
  }
  return { lineage: next.lineage, positions };
}
