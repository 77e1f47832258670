import { canonicalAddress } from '../../model/address.ts';

/** In canonical text, each once, in the order given; what is no address is left out (the API server lets none in). */
export function canonicalAddresses(texts: readonly string[]): string[] {
  const known = texts.map((text) => canonicalAddress(text)).filter((address) => address !== undefined);
  return [...new Set(known)];
}
