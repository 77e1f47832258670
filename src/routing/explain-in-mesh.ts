import type { MeshSnapshot } from '../model/snapshot.ts';
import { type Explanation, explainConnection, type PodCaptureWords } from './explain.ts';
import { judgeInbound } from './inbound.ts';
import type { JudgementSettings } from './judgement.ts';
import { judgeOutbound } from './outbound.ts';

export interface MeshNetwork {
  readonly network: string;
  readonly clusterId: string;
}

/** Away from any agent, with the settings of one that nobody gave options to. */
export function explainInMesh(
  snapshot: MeshSnapshot,
  { network, clusterId }: MeshNetwork,
  source: string,
  destination: string,
  capture: PodCaptureWords = {},
): Explanation {
  const settings: JudgementSettings = {
    node: '',
    network,
    clusterId,
    hbonePort: 15_008,
    illegalPorts: [15_008],
    allowUnknownDestinations: false,
    clusterRanges: [],
    trustDomains: [],
  };
  const context = {
    snapshot,
    network,
    ...capture,
    outbound: (mesh: MeshSnapshot, question: Parameters<typeof judgeOutbound>[1]) =>
      judgeOutbound(mesh, question, settings),
    inbound: (mesh: MeshSnapshot, question: Parameters<typeof judgeInbound>[1]) =>
      judgeInbound(mesh, question, settings),
  };
  return explainConnection(context, source, destination);
}
