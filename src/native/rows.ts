/** Rows of the tunnel's tables and the questions that they answer: a part of the boundary of types.ts. */

export interface OutboundKey {
  readonly podIndex: number;
  readonly address: string;
  readonly port: number;
}

export interface OutboundEndpoint {
  /** Where counters of connections to this endpoint go. */
  readonly edge: number;
  /** Relative share of new connections; at least 1. */
  readonly weight: number;
  readonly path: 'tunnel' | 'plaintext';
  /** TCP destination: for a tunnel the peer's address and HBONE port. */
  readonly address: string;
  readonly port: number;
  /** `:authority` of the CONNECT; tunnel only. */
  readonly authority?: string;
  /** SPIFFE ids, any of which the peer's certificate must name; tunnel only. */
  readonly peerIdentities?: readonly string[];
  /** `host=` of the forwarded header: the service's host name. */
  readonly forwardedHost?: string;
  readonly baggage?: string;
}

export interface OutboundRow extends OutboundKey {
  /** NONE: carry; else refuse with this number (bpf/shared/reasons.h). */
  readonly reason: number;
  /** Edge that counts a refusal. */
  readonly refusalEdge: number;
  /** A refusal that ends what is open, too. */
  readonly endsOpen?: boolean;
  readonly endpoints: readonly OutboundEndpoint[];
}

export interface InboundKey {
  readonly podIndex: number;
  readonly channel: 'hbone' | 'plaintext';
  /** SPIFFE id of the tunnel's peer; '' on the plaintext channel. */
  readonly peerIdentity: string;
  readonly peerAddress: string;
  /** HBONE: `:authority` as received. Plaintext: `address:port` (IPv6 bracketed) of the original destination. */
  readonly authority: string;
  /** HBONE: `host=` of forwarded, '' when absent. */
  readonly forwardedHost: string;
}

export interface InboundRow extends InboundKey {
  readonly reason: number;
  /** HTTP status of a refused CONNECT: 400, 401 or 503. */
  readonly status: number;
  readonly edge: number;
  readonly endsOpen?: boolean;
  /** Delivery target inside the pod's namespace. */
  readonly upstreamAddress: string;
  readonly upstreamPort: number;
  /** PROXY v2 ahead of the bytes, with the source identity in TLV 0xD0; destination as announced. */
  readonly proxyProtocol?: { readonly destinationAddress: string; readonly destinationPort: number };
  /** Dial 127.0.0.1 or ::1 with a loopback source instead of the pod's address (application tunnels). */
  readonly loopback?: boolean;
  /** Response header. */
  readonly baggage?: string;
}

/** A missing row. Answer with putOutboundRows/putInboundRows of the same key (refusals are rows too). */
export type TunnelQuestion = (
  | ({ readonly kind: 'outbound' } & OutboundKey & { readonly sourceAddress: string })
  | ({ readonly kind: 'inbound'; readonly baggage: string; readonly forwardedNetwork: string } & InboundKey)
) & {
  /**
   * How many connections that had to ask have failed all the same since the asker's last question; the asker is the pod for
   * its own, and each of its peers for those to it. Absent: none.
   */
  readonly failed?: number;
  /** Nobody waits: connections are open whose row was removed. To be answered only when they must end. */
  readonly open?: boolean;
};
