import type { AgentConfig } from '../config/agent-options.ts';
import type { TunnelSettings } from '../native/types.ts';

/** What the native tunnel takes from the agent's configuration. */
export type TunnelOptions = Pick<
  AgentConfig,
  | 'workers'
  | 'trustDomain'
  | 'trustDomainAliases'
  | 'streamWindowBytes'
  | 'connectionWindowBytes'
  | 'maxFrameBytes'
  | 'maxConcurrentStreams'
  | 'headerListBytes'
  | 'pingIntervalMs'
  | 'pingTimeoutMs'
  | 'maxStreamsPerConnection'
  | 'busyStreamsPerConnection'
  | 'maxConnectionsPerKey'
  | 'idleReleaseMs'
  | 'parkedPerPod'
  | 'connectionsPerPod'
  | 'rowsPerPod'
  | 'resetsPerSecond'
  | 'resetBurst'
  | 'controlFramesPerSecond'
  | 'connectTimeoutMs'
  | 'handshakeTimeoutMs'
  | 'questionTimeoutMs'
  | 'flowIntervalMs'
  | 'spinMicroseconds'
  | 'localCongestionControl'
  | 'keepSourceAddress'
>;

/** What is not an operator's to choose: it comes from the kernel's side, or from a test. */
export interface TunnelSurroundings {
  readonly exemptMapFd: number;
  readonly mark: number;
  readonly hbonePort: number;
  readonly unsafePlaintextTunnels: boolean;
}

/** TypeScript keeps the quota of rows; native's own is a net under it, wide enough for one batch that adds before it removes. */
const nativeRowsFactor = 2;

export function tunnelSettings(config: TunnelOptions, around: TunnelSurroundings): TunnelSettings {
  return {
    workers: config.workers,
    exemptMapFd: around.exemptMapFd,
    mark: around.mark,
    hbonePort: around.hbonePort,
    trustDomains: [config.trustDomain, ...config.trustDomainAliases],
    http2: {
      streamWindowBytes: config.streamWindowBytes,
      connectionWindowBytes: config.connectionWindowBytes,
      maxFrameBytes: config.maxFrameBytes,
      maxConcurrentStreams: config.maxConcurrentStreams,
      headerListBytes: config.headerListBytes,
      pingIntervalMs: config.pingIntervalMs,
      pingTimeoutMs: config.pingTimeoutMs,
    },
    pool: {
      maxStreamsPerConnection: config.maxStreamsPerConnection,
      busyStreamsPerConnection: config.busyStreamsPerConnection,
      maxConnectionsPerKey: config.maxConnectionsPerKey,
      idleReleaseMs: config.idleReleaseMs,
    },
    limits: {
      parkedPerPod: config.parkedPerPod,
      connectionsPerPod: config.connectionsPerPod,
      rowsPerPod: config.rowsPerPod * nativeRowsFactor + 1024,
      resetsPerSecond: config.resetsPerSecond,
      resetBurst: config.resetBurst,
      controlFramesPerSecond: config.controlFramesPerSecond,
    },
    connectTimeoutMs: config.connectTimeoutMs,
    handshakeTimeoutMs: config.handshakeTimeoutMs,
    questionTimeoutMs: config.questionTimeoutMs,
    flowIntervalMs: config.flowIntervalMs,
    spinMicroseconds: config.spinMicroseconds,
    localCongestionControl: config.localCongestionControl,
    keepSourceAddress: config.keepSourceAddress,
    ...(around.unsafePlaintextTunnels ? { unsafePlaintextTunnels: true } : {}),
  };
}

/** Shorter than native's own limit, so that what was not learnt in time is refused as unknown, not as undecided. */
export function unknownWaitMs(questionTimeoutMs: number): number {
  return Math.max(Math.floor(questionTimeoutMs / 2), questionTimeoutMs - 500);
}
