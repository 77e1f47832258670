import type { Cidr } from './cidr.ts';
import { parseCidr } from './cidr.ts';
import { aliasKey, type DnsAlias } from './dns-alias.ts';

/**
 * What holds for the mesh as a whole and Istio's protocol has no words for. Under Hadal's control plane it is one resource of a
 * type of its own; under istiod there is none, and the agent's options say it.
 */
export interface MeshSettings {
  /** Ranges in which pods have their addresses. A destination inside one of the ranges that nobody knows is refused. */
  readonly podRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  /** Ranges of addresses made up for hosts outside: nothing real is ever there. */
  readonly virtualRanges: readonly string[];
  /** By namespace and host name. */
  readonly dnsAliases: readonly DnsAlias[];
}

export const meshSettingsTypeUrl = 'type.googleapis.com/hadal.mesh.v1.MeshSettings';
/** There is one. */
export const meshSettingsName = 'mesh';

/** Frozen, canonical and in order: what means the same is equal. Ranges that are none are left out. */
export function createMeshSettings(fields: Partial<MeshSettings>): MeshSettings {
  const aliases = [...(fields.dnsAliases ?? [])].sort((left, right) =>
    aliasKey(left) < aliasKey(right) ? -1 : 1,
  );
  return Object.freeze({
    podRanges: joinRanges(fields.podRanges ?? []),
    serviceRanges: joinRanges(fields.serviceRanges ?? []),
    virtualRanges: joinRanges(fields.virtualRanges ?? []),
    dnsAliases: Object.freeze(aliases),
  });
}

/** Ranges inside others are left out, and halves that make a whole are joined: a cluster of a thousand nodes has a few ranges. */
function joinRanges(texts: readonly string[]): readonly string[] {
  const parsed = texts.map((text) => parseCidr(text.trim())).filter((cidr) => cidr !== undefined);
  const sorted = parsed.sort(
    (left, right) =>
      left.base.family - right.base.family ||
      (left.base.value < right.base.value ? -1 : Number(left.base.value > right.base.value)) ||
      left.length - right.length,
  );
  const joined: Cidr[] = [];
  for (const cidr of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && holds(last, cidr)) continue;
    joined.push(cidr);
    while (mergeLast(joined));
  }
  return Object.freeze(joined.map(({ text }) => text));
}

function holds(outer: Cidr, inner: Cidr): boolean {
  return outer.length <= inner.length && parentAt(inner, outer.length)?.text === outer.text;
}

function parentAt(cidr: Cidr, length: number): Cidr | undefined {
  return parseCidr(`${cidr.base.text}/${length}`);
}

/** Joins the last two when they are the halves of one range. */
function mergeLast(joined: Cidr[]): boolean {
  const [left, right] = joined.slice(-2);
  if (left === undefined || right === undefined || left.length !== right.length || left.length === 0)
    return false;
  const whole = parentAt(left, left.length - 1);
  if (whole === undefined || whole.text !== parentAt(right, left.length - 1)?.text) return false;
  joined.splice(-2, 2, whole);
  return true;
}
