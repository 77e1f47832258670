/** What the port for agents allows. The first two are options (HADAL_MAX_CONNECTIONS, HADAL_MAX_CONNECTIONS_PER_ADDRESS). */
export interface ConnectionLimits {
  /** Connections of agents and of nodes with a join token. */
  readonly agents: number;
  /** Of one remote address, whoever it is. Twice as many may come at once, a quarter of it per second after that. */
  readonly perAddress: number;
  /**
   * New connections of all addresses together where no agent was seen yet: at once, and per second after that. A handshake costs a
   * millisecond, and many addresses that keep their own limits could still take all there are.
   */
  readonly newcomerBurst: number;
  readonly newcomersPerSecond: number;
  /** Connections on which no call has shown a token yet. A TLS session with HTTP/2 above it is some 100 KiB. */
  readonly strangers: number;
  /** Connections of callers that are no agents: pods that ask for their own certificate. */
  readonly guests: number;
  /** How long a connection may take until a call on it has shown a token. */
  readonly strangerMs: number;
  /** How long one of a guest is kept after its last call. */
  readonly guestMs: number;
  /** Strangers or guests of one address that are no crowd: an agent has one connection for each service, twice in an upgrade. */
  readonly crowd: number;
  /** By then an agent has shown its token, unless this control plane is overloaded. */
  readonly promptMs: number;
}

export const defaultConnectionLimits: ConnectionLimits = Object.freeze({
  agents: 20_000,
  perAddress: 64,
  newcomerBurst: 4_000,
  newcomersPerSecond: 400,
  strangers: 1_000,
  guests: 1_000,
  strangerMs: 10_000,
  guestMs: 60_000,
  crowd: 4,
  promptMs: 2_000,
});
