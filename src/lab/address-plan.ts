/**
 * Which addresses a lab uses: pure arithmetic over its slot. Two labs hold different slots, so their blocks never
 * overlap, though they could: no address of a lab ever appears in the machine's own network namespace.
 *
 * The second octet of IPv4 and the second group of IPv6 are the same digits, so a capture reads easily:
 * node 1 of slot 0 has pods 10.64.1.x / fd00:64:0:1::x, services 10.128.0.x / fd00:64:1::x.
 */
import { HadalError } from '../base/errors.ts';

/** Both families of one host; the lab is always dual stack. */
export interface DualAddress {
  readonly v4: string;
  readonly v6: string;
}

export interface AddressPlan {
  readonly slot: number;
  /** Ranges in CIDR form, as the agent takes them. */
  readonly podRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  readonly nodeRanges: readonly string[];
  /** Hosts beyond the cluster that the fabric knows; documentation prefixes (RFC 5737, RFC 3849). */
  readonly outsideRanges: readonly string[];
}

export const slotCount = 64;
/** Nodes are numbered from 1. */
export const maxNodes = 200;
/** `.1` is left free, as most pod networks do for the node. */
export const maxPodsPerNode = 250;

/** Where every pod sends its packets: link-local, the same on each link, as Calico and Cilium do. */
export const podGateway: DualAddress = { v4: '169.254.1.1', v6: 'fe80::1' };

export function addressPlan(slot: number): AddressPlan {
  inRange('slot', slot, 0, slotCount - 1);
  const group = podOctet(slot);
  return {
    slot,
    podRanges: [`10.${group}.0.0/16`, `fd00:${group}::/48`],
    serviceRanges: [`10.${serviceOctet(slot)}.0.0/16`, `fd00:${group}:1::/64`],
    nodeRanges: [`10.${nodeOctet(slot)}.0.0/24`, `fd00:${group}:2::/64`],
    outsideRanges: ['203.0.113.0/24', '2001:db8::/64'],
  };
}

/** The block of one node, routed as a whole over the fabric. */
export function nodePodRange(slot: number, node: number): DualAddress {
  inRange('node', node, 1, maxNodes);
  return { v4: `10.${podOctet(slot)}.${node}.0/24`, v6: `fd00:${podOctet(slot)}:0:${node}::/64` };
}

export function nodeAddress(slot: number, node: number): DualAddress {
  inRange('node', node, 1, maxNodes);
  return { v4: `10.${nodeOctet(slot)}.0.${node}`, v6: `fd00:${podOctet(slot)}:2::${node}` };
}

/** Of the control plane: beyond the numbers that nodes have. */
export function controlAddress(slot: number): DualAddress {
  return { v4: `10.${nodeOctet(slot)}.0.250`, v6: `fd00:${podOctet(slot)}:2::250` };
}

/** `index` counts from 0 on each node. */
export function podAddress(slot: number, node: number, index: number): DualAddress {
  inRange('node', node, 1, maxNodes);
  inRange('pod', index, 0, maxPodsPerNode - 1);
  const host = index + 2;
  return { v4: `10.${podOctet(slot)}.${node}.${host}`, v6: `fd00:${podOctet(slot)}:0:${node}::${host}` };
}

/** `index` counts from 0 in the lab. */
export function serviceAddress(slot: number, index: number): DualAddress {
  inRange('service', index, 0, 65_000);
  const host = index + 1;
  return {
    v4: `10.${serviceOctet(slot)}.${host >> 8}.${host & 255}`,
    v6: `fd00:${podOctet(slot)}:1::${host.toString(16)}`,
  };
}

export function outsideAddress(index: number): DualAddress {
  inRange('outside host', index, 0, 199);
  return { v4: `203.0.113.${index + 10}`, v6: `2001:db8::${index + 10}` };
}

/** Locally administered MAC addresses, fixed so that neighbour entries can be written down instead of asked for. */
export function macAddress(
  kind: 'pod' | 'pod-gateway' | 'node' | 'outside',
  node: number,
  index: number,
): string {
  const kinds = { pod: 0x10, 'pod-gateway': 0x11, node: 0x12, outside: 0x13 };
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return ['02', '48', hex(kinds[kind]), hex(node), hex(index >> 8), hex(index & 255)].join(':');
}

const podOctet = (slot: number) => 64 + slot;
const serviceOctet = (slot: number) => 128 + slot;
const nodeOctet = (slot: number) => 192 + slot;

function inRange(what: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new HadalError(
    'ERR_LAB_ADDRESSES',
    `${what} number ${value} has no address: ${low} to ${high} are there`,
  );
}
