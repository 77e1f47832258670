/** An address on a named network; `length` makes it a CIDR range. `address` is canonical text. */
export interface NetworkAddress {
  readonly network: string;
  readonly address: string;
  /** Prefix length; undefined for a single address. */
  readonly length: number | undefined;
}

/** Names a service or an address that carries traffic for others: a waypoint or a network gateway. */
export interface GatewayAddress {
  readonly destination:
    | { readonly kind: 'hostname'; readonly namespace: string; readonly hostname: string }
    | { readonly kind: 'address'; readonly network: string; readonly address: string };
  /** Port of its HBONE listener; 0 when not given, then the mesh's HBONE port is meant. */
  readonly hboneMtlsPort: number;
}
