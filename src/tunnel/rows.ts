import { reasons } from '../model/reasons.gen.ts';
import type { InboundKey, InboundRow, OutboundEndpoint, OutboundKey, OutboundRow } from '../native/types.ts';
import type { InboundJudgement, JudgedEndpoint, OutboundJudgement } from '../routing/judgement.ts';
import type { TrafficLabels } from '../routing/labels.ts';
import { endsOpenConnections } from '../routing/open-connections.ts';

/** Gives numbers to sets of labels. Every `allot` is undone by one `release`; equal labels share a number. */
export interface EdgeAllotter {
  allot(labels: TrafficLabels): number;
  release(edge: number): void;
  /** A number that an earlier agent gave to these labels, and that connections still count under. */
  adopt(edge: number, labels: TrafficLabels): void;
}

export function outboundKeyText(key: OutboundKey): string {
  return `o ${key.podIndex} ${key.address} ${key.port}`;
}

/** The fields that a peer writes freely come last, behind a length: no two keys have one text. */
export function inboundKeyText(key: InboundKey): string {
  const { podIndex, channel, peerAddress, peerIdentity, authority, forwardedHost } = key;
  return `i ${podIndex} ${channel} ${peerAddress} ${peerIdentity.length} ${authority.length} ${peerIdentity}${authority}${forwardedHost}`;
}

export function toOutboundRow(
  key: OutboundKey,
  judgement: OutboundJudgement,
  edges: EdgeAllotter,
): OutboundRow {
  return {
    podIndex: key.podIndex,
    address: key.address,
    port: key.port,
    reason: judgement.reason,
    refusalEdge: edges.allot(judgement.labels),
    ...endsOpen(judgement.reason),
    endpoints: judgement.endpoints.map((endpoint) => toEndpoint(endpoint, edges)),
  };
}

function toEndpoint(endpoint: JudgedEndpoint, edges: EdgeAllotter): OutboundEndpoint {
  const { path, address, port, weight, authority, peerIdentities, forwardedHost, baggage } = endpoint;
  const base = {
    edge: edges.allot(endpoint.labels),
    weight: Math.max(1, Math.round(weight)),
    path,
    address,
    port,
  };
  if (path === 'plaintext') return base;
  return {
    ...base,
    authority,
    peerIdentities,
    ...(forwardedHost === '' ? {} : { forwardedHost }),
    ...(baggage === '' ? {} : { baggage }),
  };
}

export function toInboundRow(key: InboundKey, judgement: InboundJudgement, edges: EdgeAllotter): InboundRow {
  return {
    ...inboundKeyOf(key),
    reason: judgement.reason,
    status: judgement.status,
    edge: edges.allot(judgement.labels),
    ...endsOpen(judgement.reason),
    upstreamAddress: judgement.upstreamAddress,
    upstreamPort: judgement.upstreamPort,
    ...(judgement.proxyProtocol === undefined ? {} : { proxyProtocol: judgement.proxyProtocol }),
    ...(judgement.loopback ? { loopback: true } : {}),
    ...(judgement.baggage === '' ? {} : { baggage: judgement.baggage }),
  };
}

/** A row that lets nothing in, for a pod that is no longer ours. */
export function refusedInboundRow(key: InboundKey, reason: number): InboundRow {
  return { ...inboundKeyOf(key), reason, status: 503, edge: 0, upstreamAddress: '', upstreamPort: 0 };
}

export function refusedOutboundRow(key: OutboundKey, reason: number): OutboundRow {
  const { podIndex, address, port } = key;
  return { podIndex, address, port, reason, refusalEdge: 0, endpoints: [] };
}

export function inboundKeyOf(key: InboundKey): InboundKey {
  const { podIndex, channel, peerIdentity, peerAddress, authority, forwardedHost } = key;
  return { podIndex, channel, peerIdentity, peerAddress, authority, forwardedHost };
}

function endsOpen(reason: number): { endsOpen?: true } {
  return endsOpenConnections(reason) ? { endsOpen: true } : {};
}

/** Every number that the row holds, as often as it was allotted. */
export function edgesOf(row: OutboundRow | InboundRow): number[] {
  return 'endpoints' in row ? [row.refusalEdge, ...row.endpoints.map(({ edge }) => edge)] : [row.edge];
}

export function isRefusal(row: OutboundRow | InboundRow): boolean {
  return row.reason !== reasons.NONE;
}
