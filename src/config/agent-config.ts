import { type AgentConfig, agentOptions } from './agent-options.ts';
import { type Configuration, type OptionTexts, readOptions } from './read-options.ts';

export type AgentConfiguration = Configuration<typeof agentOptions>;

/** The agent's configuration, checked as a whole. Throws `ERR_CONFIG` that names every mistake. */
export function readAgentConfig(texts: OptionTexts): AgentConfiguration {
  return readOptions(agentOptions, texts, checkTogether);
}

function checkTogether(config: AgentConfig): readonly string[] {
  const rules: readonly (readonly [boolean, string])[] = [
    [
      config.streamWindowBytes > config.connectionWindowBytes,
      'HADAL_HTTP2_STREAM_WINDOW is larger than HADAL_HTTP2_CONNECTION_WINDOW, which holds all streams',
    ],
    [
      config.busyStreamsPerConnection > config.maxStreamsPerConnection,
      'HADAL_POOL_BUSY_STREAMS is larger than HADAL_POOL_MAX_STREAMS: no tunnel would ever be busy',
    ],
    [
      new Set([config.adminPort, config.metricsPort, config.readinessPort]).size < 3,
      'HADAL_ADMIN_PORT, HADAL_METRICS_PORT and HADAL_READINESS_PORT must differ',
    ],
    [
      (config.stateFile === '') === (config.xdsAddress === ''),
      'one of HADAL_XDS_ADDRESS and HADAL_STATE_FILE tells the mesh state: give exactly one of them',
    ],
    [config.cniSocket === config.authoritySocket, 'HADAL_CNI_SOCKET and HADAL_AUTHORITY_SOCKET must differ'],
  ];
  return rules.filter(([isBroken]) => isBroken).map(([, problem]) => problem);
}
