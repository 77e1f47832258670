/** What an authority must know of pods. A control plane has it from its source. */
export interface KnownPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty while it is not placed. */
  readonly node: string;
  readonly serviceAccount: string;
  /** Its phase is Succeeded or Failed: it runs no more, whatever its entry says otherwise. */
  readonly terminal: boolean;
  /** Its labels put it into the mesh; whether the agent has enrolled it already does not matter, for that it needs the certificate. */
  readonly enrolled: boolean;
}

export interface PodView {
  pod(namespace: string, name: string): KnownPod | undefined;
  /** All of this service account, on whatever node. */
  podsOf(namespace: string, serviceAccount: string): Iterable<KnownPod>;
  /**
   * The same two from the source itself, past every cache: a pod that was made a moment ago may be there already. Absent where
   * the view is the source. They reject when the source is away.
   */
  readonly live?: {
    pod(namespace: string, name: string, signal: AbortSignal): Promise<KnownPod | undefined>;
    podsOf(namespace: string, serviceAccount: string, signal: AbortSignal): Promise<Iterable<KnownPod>>;
  };
}
