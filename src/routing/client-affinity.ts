/**
 * Which endpoint of a service is a client's own, by rendezvous hashing: each endpoint draws a number that follows from the client
 * and the endpoint alone, and the highest wins. So every agent finds the same, nothing is remembered, and when an endpoint
 * comes or goes only its own clients move.
 */
import type { Workload } from '../model/workload.ts';

/** The endpoints in the order in which the client would use them. Shares follow the capacities over many clients. */
export function inOrderOfAffinity<T extends { readonly workload: Workload }>(
  endpoints: readonly T[],
  client: string,
): readonly T[] {
  const drawn = endpoints.map((endpoint) => ({ endpoint, score: scoreOf(endpoint.workload, client) }));
  return drawn
    .sort(
      (left, right) =>
        right.score - left.score || (left.endpoint.workload.uid < right.endpoint.workload.uid ? -1 : 1),
    )
    .map(({ endpoint }) => endpoint);
}

/** Exponentially distributed with the capacity as its rate, mirrored: the highest of all is each endpoint's in its share of cases. */
function scoreOf({ uid, capacity }: Workload, client: string): number {
  return Math.log(uniform(`${client} ${uid}`)) / Math.max(1, capacity);
}

/** Above 0 and below 1. The same everywhere and in every version: a change would move every client once. */
function uniform(text: string): number {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    high = Math.imul(high ^ code, 2_654_435_761);
    low = Math.imul(low ^ code, 1_597_334_677);
  }
  high = mixed(high, low);
  low = mixed(low, high);
  return ((high >>> 0) * 0x20_0000 + ((low >>> 0) & 0x1f_ffff) + 0.5) / 2 ** 53;
}

function mixed(value: number, other: number): number {
  const once = Math.imul(value ^ (value >>> 16), 2_246_822_507);
  return once ^ Math.imul(other ^ (other >>> 13), 3_266_489_909);
}
