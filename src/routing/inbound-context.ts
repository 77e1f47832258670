import type { IpAddress } from '../model/address.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { SpiffeId } from '../model/spiffe-id.ts';
import type { Workload } from '../model/workload.ts';
import type { InboundQuestion, JudgementSettings } from './judgement.ts';
import type { Trace } from './trace.ts';

/** What every step of one inbound judgement needs. */
export interface InboundContext {
  readonly snapshot: MeshSnapshot;
  readonly question: InboundQuestion;
  readonly settings: JudgementSettings;
  readonly trace: Trace;
  readonly destination: Workload;
  /** Addresses of the pod: those seen in its namespace, then those of the mesh state. */
  readonly ownAddresses: readonly IpAddress[];
  readonly identity: SpiffeId | undefined;
  readonly peerAddress: IpAddress;
}
