/** What `GET /status` answers and `hadal status` prints. Part of the interface: add, never rename. */
export interface AgentStatus {
  readonly node: string;
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly ready: boolean;
  /** What readiness waits for. */
  readonly pending: readonly string[];
  readonly pods: readonly PodStatus[];
  /** Number of each in the mesh state. */
  readonly mesh: { readonly workloads: number; readonly services: number; readonly policies: number };
  /** Why the last mesh state was refused, while the one before is in force. */
  readonly stateError?: string;
  readonly connectionsOpen: number;
  readonly tunnelsOpen: number;
  /** Identities by the state of their certificate. */
  readonly certificates: Readonly<Record<string, number>>;
}

export interface PodStatus {
  /** `namespace/name`. */
  readonly name: string;
  /** Of its enrolment: `enrolled`, `pending`, `leaving`, ... */
  readonly state: string;
  readonly identity: string;
  readonly addresses: readonly string[];
  /** Why it is not enrolled. */
  readonly error?: string;
}
