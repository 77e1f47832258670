/** Ports and ranges that pods take out of their capture, as the kernel finds them. */
import { parseCidr } from '../model/cidr.ts';
import { selectsInbound, selectsOutbound, type TrafficExclusions } from '../model/traffic-exclusions.ts';
import {
  LIST_INBOUND_EXCLUDED,
  LIST_INBOUND_INCLUDED,
  LIST_OUTBOUND_EXCLUDED,
  LIST_OUTBOUND_INCLUDED,
  POD_INCLUDES_INBOUND,
  POD_INCLUDES_OUTBOUND,
  POD_SELECTS_INBOUND,
  POD_SELECTS_OUTBOUND,
} from './constants.gen.ts';
import type { TypedMap } from './typed-map.ts';

export interface ExcludedPortKey {
  readonly podIndex: number;
  readonly port: number;
  readonly list: number;
}

export interface ExcludedRangeKey {
  readonly prefixLength: number;
  readonly podIndex: number;
  readonly list: number;
  readonly family: 4 | 6;
  readonly address: string;
}

/** Bits of the pod, the list and the family, which stand before those of the address. */
const wholeBits = 64;

export const exclusionMask =
  POD_SELECTS_OUTBOUND | POD_INCLUDES_OUTBOUND | POD_SELECTS_INBOUND | POD_INCLUDES_INBOUND;

/** Flags of a pod's entry: without any of them nothing is looked up. */
export function exclusionFlags(exclusions: TrafficExclusions): number {
  return (
    (selectsOutbound(exclusions) ? POD_SELECTS_OUTBOUND : 0) |
    (exclusions.includeOutboundRanges === undefined ? 0 : POD_INCLUDES_OUTBOUND) |
    (selectsInbound(exclusions) ? POD_SELECTS_INBOUND : 0) |
    (exclusions.includeInboundPorts === undefined ? 0 : POD_INCLUDES_INBOUND)
  );
}

export class ExclusionMaps {
  readonly #ports: TypedMap<ExcludedPortKey, { value: number }>;
  readonly #ranges: TypedMap<ExcludedRangeKey, { value: number }>;

  constructor(
    ports: TypedMap<ExcludedPortKey, { value: number }>,
    ranges: TypedMap<ExcludedRangeKey, { value: number }>,
  ) {
    this.#ports = ports;
    this.#ranges = ranges;
  }

  /**
   * Makes a pod's lists exactly these. `switchFlags` is called when what they need is there and before what they do not need is
   * gone, so that no connection meets an include list that lacks an entry of both.
   */
  replace(podIndex: number, exclusions: TrafficExclusions, switchFlags: () => void = () => {}): void {
    const present = { value: 1 };
    const ports = portLists(exclusions).flatMap(([list, values]) =>
      values.map((port) => [{ podIndex, port, list }, present] as const),
    );
    const ranges = rangeLists(exclusions).flatMap(([list, texts]) =>
      texts.flatMap((text) => rangeKeys(podIndex, list, text)).map((key) => [key, present] as const),
    );
    this.#ports.setAll(ports);
    this.#ranges.setAll(ranges);
    switchFlags();
    this.#ports.replace(ports, (key) => key.podIndex === podIndex);
    this.#ranges.replace(ranges, (key) => key.podIndex === podIndex);
  }
}

function portLists(exclusions: TrafficExclusions): (readonly [number, readonly number[]])[] {
  return [
    [LIST_OUTBOUND_EXCLUDED, exclusions.excludeOutboundPorts],
    [LIST_OUTBOUND_INCLUDED, exclusions.includeOutboundPorts],
    [LIST_INBOUND_EXCLUDED, exclusions.excludeInboundPorts],
    [LIST_INBOUND_INCLUDED, exclusions.includeInboundPorts ?? []],
  ];
}

function rangeLists(exclusions: TrafficExclusions): (readonly [number, readonly string[]])[] {
  return [
    [LIST_OUTBOUND_EXCLUDED, exclusions.excludeOutboundRanges],
    [LIST_OUTBOUND_INCLUDED, exclusions.includeOutboundRanges ?? []],
  ];
}

function rangeKeys(podIndex: number, list: number, text: string): ExcludedRangeKey[] {
  const range = parseCidr(text);
  if (range === undefined) return [];
  const { base, length } = range;
  const prefixLength = wholeBits + (base.family === 4 ? 96 + length : length);
  return [{ prefixLength, podIndex, list, family: base.family, address: base.text }];
}
