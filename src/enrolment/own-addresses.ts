import { isLocalOnly, parseAddress } from '../model/address.ts';
import type { InterfaceAddress } from '../native/types.ts';

/**
 * The addresses that a pod answers to: those of its namespace, in the order in which the request named them, link-local ones
 * last. What the request names counts alone only while the namespace has no address of that family yet: an address that is
 * not there may be another pod's, and would leave this one uncaptured.
 */
export function ownAddresses(requested: readonly string[], found: readonly InterfaceAddress[]): string[] {
  const present = found
    .map(({ address }) => parseAddress(address))
    .filter((address) => address !== undefined && !isLocalOnly(address))
    .map((address) => ({ text: address?.text ?? '', family: address?.family }));
  const families = new Set(present.filter(({ text }) => !isLinkLocal(text)).map(({ family }) => family));
  const early = requested.filter((text) => !families.has(parseAddress(text)?.family));
  const all = [...new Set([...present.map(({ text }) => text), ...early])];
  const rank = (text: string) => {
    if (isLinkLocal(text)) return requested.length + 1;
    const index = requested.indexOf(text);
    return index < 0 ? requested.length : index;
  };
  return all.toSorted((left, right) => rank(left) - rank(right));
}

function isLinkLocal(text: string): boolean {
  return /^fe[89ab][0-9a-f]:/.test(text) || text.startsWith('169.254.');
}
