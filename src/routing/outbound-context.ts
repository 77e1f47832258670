import type { IpAddress } from '../model/address.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { JudgementSettings } from './judgement.ts';
import type { Party } from './labels.ts';
import type { Trace } from './trace.ts';

/** What every step of one outbound judgement needs. */
export interface OutboundContext {
  readonly snapshot: MeshSnapshot;
  readonly settings: JudgementSettings;
  readonly trace: Trace;
  readonly source: Workload;
  /** The source as labels and the header tell it; the same for every endpoint. */
  readonly sourceParty: Party;
  readonly baggage: string;
  /** The source pod's addresses, from the mesh state and from its own namespace. */
  readonly ownAddresses: ReadonlySet<string>;
  /** Destination as the application named it. */
  readonly address: IpAddress;
  readonly port: number;
}
