import { type IpAddress, parseAddress } from '../model/address.ts';
import type { OutboundContext } from './outbound-context.ts';

/** Addresses from which the source's connections may come to this one: its own of the same family. */
export function sourceAddressesTowards(context: OutboundContext, address: string): IpAddress[] {
  const family = address.includes(':') ? 6 : 4;
  return [...context.ownAddresses]
    .map((text) => parseAddress(text))
    .filter((each) => each !== undefined)
    .filter((each) => each.family === family);
}
