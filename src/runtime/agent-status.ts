import type { SameNodePath } from '../routing/same-node-path.ts';

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
  /** Where the mesh state comes from; absent where a file tells it. */
  readonly controlPlane?: ControlPlaneStatus;
  readonly connectionsOpen: number;
  readonly tunnelsOpen: number;
  /** Identities by the state of their certificate. */
  readonly certificates: Readonly<Record<string, number>>;
  /** Whether connections between pods of this node stay in it, as the last probe has shown. Absent: an agent that makes none. */
  readonly sameNodePath?: SameNodePath;
}

/** The agent's connection to its control plane. Times are ISO 8601. */
export interface ControlPlaneStatus {
  readonly address: string;
  /** `streaming` where all is well; else `connecting` or `waiting` to dial again. */
  readonly state: string;
  /** Since when the stream is open. */
  readonly connectedAt?: string;
  /** When something was heard for the last time, also from an earlier stream. */
  readonly heardAt?: string;
  /** Why there is no stream. */
  readonly error?: string;
  /** Resources that were received, and come in force when the push that they belong to has ended. */
  readonly held?: number;
  /** On demand: how many names are asked for. */
  readonly names?: number;
  /** Only control planes answer that have not seen what is in force; what they tell is taken from `acceptedAt` on. */
  readonly behind?: { readonly since: string; readonly acceptedAt: string };
  /** Resources whose newest version is not in force, and why. */
  readonly rejected: readonly RejectedByAgent[];
}

export interface RejectedByAgent {
  readonly name: string;
  readonly reason: string;
  /** Of a policy without a good version: whom it refuses meanwhile, in words. Absent: the last good version stays. */
  readonly refuses?: string;
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
  /** What of the mesh does not hold for it: as its own annotations wish, or as its files make it. */
  readonly notes?: readonly string[];
}
