/** The boundary's part for the ways that packets take: links of a network namespace, and what is seen on them. */

export interface NetworkLink {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, `vxlan`; '' for a card of hardware and `lo`. */
  readonly kind: string;
  /** Of the bridge or the like whose port it is; 0: none. */
  readonly master: number;
}

export interface SeenPacket {
  readonly interfaceIndex: number;
  /** Sent by the interface; else received. */
  readonly outgoing: boolean;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** TCP packets from or to one port, on all interfaces of a network namespace. */
export interface PacketWatch {
  /** What was seen since the last call; does not wait. Fragments and IPv6 with extension headers are not seen. */
  read(): SeenPacket[];
  close(): void;
}

export interface NativePackets {
  links(netnsFd: number): NetworkLink[];
  /** Indexes in `otherFd` of the interfaces whose other end is in `netnsFd`: of a pod's veth the end in the node's namespace. */
  linkEnds(netnsFd: number, otherFd: number): number[];
  /** From now on. The kernel hands over no packets of other ports, so that a busy node does not pay for the watch. */
  watchPackets(netnsFd: number, port: number): PacketWatch;
}
