/** The kernel's side of a decision: connections that need no agent, be it that they fail at once or that they need no tunnel. */
import type { DirectSlot } from '../kernel/row-table.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { OutboundKey } from '../native/types.ts';
import type { JudgedEndpoint, JudgedSameNode, OutboundJudgement } from '../routing/judgement.ts';
import type { LocalPods } from './local-pods.ts';
import { noticesOf, type TellingNotice } from './policy-notices.ts';
import type { EdgeAllotter } from './rows.ts';
import { mostSlots, shareSlots } from './slots.ts';

export interface RefusingRow {
  readonly kind: 'refuse';
  readonly reason: number;
  /** Of connect(). */
  readonly error: 'ECONNREFUSED' | 'EACCES';
  readonly edge: number;
}

export interface DirectRow {
  readonly kind: 'direct';
  /** Of what the kernel refuses of it. */
  readonly edge: number;
  readonly slots: readonly DirectSlot[];
}

export type KernelRow = RefusingRow | DirectRow;

/** What an earlier agent left in the kernel. */
export interface EarlierRow {
  readonly key: OutboundKey;
  readonly slots: readonly DirectSlot[];
}

export interface KernelRows {
  /** Adds a row, or switches it at once. False: there was no room, and none is there. */
  put(key: OutboundKey, row: KernelRow): boolean;
  /** Also of one that an earlier agent left. */
  remove(key: OutboundKey): void;
}

/**
 * Refusals that the mesh state alone decides: they hold for every connection of the pod to this address and port until the
 * state changes, and then the row is derived again. Not among them: what depends on this connection, or on the pod's
 * own workload or certificate, which are about to arrive.
 */
const stable: ReadonlyMap<number, RefusingRow['error']> = new Map([
  [reasons.UNKNOWN_DESTINATION, 'ECONNREFUSED'],
  [reasons.NO_HEALTHY_ENDPOINT, 'ECONNREFUSED'],
  [reasons.NO_SUCH_PORT, 'ECONNREFUSED'],
  [reasons.REMOTE_NETWORK, 'ECONNREFUSED'],
  [reasons.WAYPOINT_NOT_READY, 'ECONNREFUSED'],
  [reasons.UNSUPPORTED_PROTOCOL, 'ECONNREFUSED'],
  [reasons.SELF_CALL, 'ECONNREFUSED'],
  [reasons.EGRESS_REFUSED, 'EACCES'],
  [reasons.POLICY_DENIED, 'EACCES'],
  [reasons.POLICY_NOT_ALLOWED, 'EACCES'],
]);

/** Undefined where each connection is to meet the agent. */
export function refusingRow(reason: number, edge: number): RefusingRow | undefined {
  const error = stable.get(reason);
  return error === undefined ? undefined : { kind: 'refuse', reason, error, edge };
}

/** Which endpoints the kernel connects by itself, and which are the agent's. */
export interface DirectShare {
  readonly slots: readonly DirectSlot[];
  /** Numbers that the slots hold, as often as they were allotted. */
  readonly edges: readonly number[];
  /** What destinations would tell that never hear of the connections. */
  readonly notices: readonly TellingNotice[];
  /** What the agent picks from: the endpoints that are not direct, or all where there are no others. */
  readonly ofAgent: readonly JudgedEndpoint[];
}

interface Direct {
  readonly endpoint: JudgedEndpoint;
  readonly sameNode: JudgedSameNode;
  readonly target: { readonly podIndex: number; readonly netnsCookie: bigint };
}

/** Undefined when no endpoint is direct. Allots edges. */
export function shareDirect(
  { endpoints }: OutboundJudgement,
  pods: LocalPods,
  edges: EdgeAllotter,
): DirectShare | undefined {
  const direct = endpoints.flatMap((endpoint): Direct[] => {
    const { sameNode, workloadUid } = endpoint;
    const target = pods.target(workloadUid);
    return sameNode === undefined || target === undefined ? [] : [{ endpoint, sameNode, target }];
  });
  // One slot is the agent's, in case.
  const taken = direct.slice(0, mostSlots - 1);
  if (taken.length === 0) return undefined;
  const isTaken = new Set(taken.map(({ endpoint }) => endpoint));
  const others = endpoints.filter((endpoint) => !isTaken.has(endpoint));
  const weights = [
    ...taken.map(({ endpoint }) => endpoint.weight),
    ...(others.length > 0 ? [weightOf(others)] : []),
  ];
  const counts = shareSlots(weights.map((weight) => Math.max(1, Math.round(weight))));
  const slots = taken.map((each) => directSlot(each, edges));
  const all: readonly DirectSlot[] = others.length > 0 ? [...slots, { kind: 'tunnel' }] : slots;
  return {
    slots: all.flatMap((slot, index) => Array.from({ length: counts[index] ?? 0 }, () => slot)),
    edges: slots.flatMap(({ edge, inboundEdge }) => [edge, inboundEdge]),
    notices: taken.flatMap(({ endpoint, sameNode: { inbound, peer } }) =>
      noticesOf(inbound, { pod: endpoint.workloadUid, authority: endpoint.authority, ...peer }),
    ),
    ofAgent: others.length > 0 ? others : endpoints,
  };
}

function directSlot(
  { sameNode, target }: Direct,
  edges: EdgeAllotter,
): Extract<DirectSlot, { kind: 'direct' }> {
  const { address, port, labels, inbound } = sameNode;
  const numbers = { edge: edges.allot(labels), inboundEdge: edges.allot(inbound.labels) };
  return Object.freeze({ kind: 'direct', address, port, ...target, ...numbers });
}

/**
 * Numbers under which an earlier agent's connections still count mean from now on what the same slot would mean today: its
 * connections are told of, and counted, as those that follow them.
 */
export function adoptEdges(
  { slots }: EarlierRow,
  { endpoints }: OutboundJudgement,
  pods: LocalPods,
  edges: EdgeAllotter,
): void {
  for (const { sameNode, workloadUid } of endpoints) {
    const target = pods.target(workloadUid);
    if (sameNode === undefined || target === undefined) continue;
    for (const slot of slots) {
      if (slot.kind !== 'direct' || slot.netnsCookie !== target.netnsCookie) continue;
      if (slot.address !== sameNode.address || slot.port !== sameNode.port) continue;
      edges.adopt(slot.edge, sameNode.labels);
      edges.adopt(slot.inboundEdge, sameNode.inbound.labels);
    }
  }
}

function weightOf(endpoints: readonly JudgedEndpoint[]): number {
  return endpoints.reduce((sum, { weight }) => sum + weight, 0);
}
