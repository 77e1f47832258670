import type { IpAddress } from '../model/address.ts';
import type { SameNodeMode } from '../model/same-node.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { JudgementSettings, LocalNode } from './judgement.ts';
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
  /** Undefined: nothing goes direct. */
  readonly local: LocalNode | undefined;
  /** What the source's agent was told of it besides the mesh state. */
  readonly sourceSameNode: SameNodeMode | undefined;
  /** Destination as the application named it. */
  readonly address: IpAddress;
  readonly port: number;
}
