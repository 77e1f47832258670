/** What an operator wants to know of the agents of a control plane. Times are milliseconds since 1970. */

/** A resource that an agent has refused: it goes on with the version before, if it had one. */
export interface RefusedResource {
  /** '' when the agent did not say which. */
  readonly name: string;
  readonly version: string;
  readonly reason: string;
  readonly at: number;
}

export interface AgentSubscription {
  readonly typeUrl: string;
  readonly mode: 'everything' | 'by name';
  /** Names asked for. */
  readonly names: number;
  /** Resources that it is told of because of those names. */
  readonly followed: number;
  /** Resources that it has still to be told of. */
  readonly pending: number;
  /** Responses without an answer yet. */
  readonly unanswered: number;
  /** The newest generation whose response was answered; '' before the first. */
  readonly acknowledged: string;
  readonly acknowledgedAt: number | undefined;
  readonly sentResources: number;
  readonly refused: readonly RefusedResource[];
}

export interface AgentConnection {
  /** As the agent calls itself; '' before its first request. */
  readonly id: string;
  /** The node for which it may speak. */
  readonly node: string;
  /** How it showed who it is. */
  readonly caller: string;
  readonly address: string;
  readonly connectedAt: number;
  /** Does not read as fast as it is told. */
  readonly isSlow: boolean;
  readonly sentBytes: number;
  readonly subscriptions: readonly AgentSubscription[];
}
