import { type ControlPlaneConfig, controlPlaneOptions } from './control-plane-options.ts';
import { type Configuration, type OptionTexts, readOptions } from './read-options.ts';

export type ControlPlaneConfiguration = Configuration<typeof controlPlaneOptions>;

/** The control plane's configuration, checked as a whole. Throws `ERR_CONFIG` that names every mistake. */
export function readControlPlaneConfig(texts: OptionTexts): ControlPlaneConfiguration {
  return readOptions(controlPlaneOptions, texts, checkTogether);
}

function checkTogether(config: ControlPlaneConfig): readonly string[] {
  const ports = [config.listen.port, config.adminPort, config.metricsPort, config.readinessPort];
  const rules: readonly (readonly [boolean, string])[] = [
    [
      config.source === 'directory' && config.directory === '',
      'there is no source of objects: HADAL_DIRECTORY (--directory DIR) names a directory of manifests, HADAL_SOURCE=kubernetes takes a cluster',
    ],
    [
      config.source === 'kubernetes' && config.directory !== '',
      'HADAL_DIRECTORY and HADAL_SOURCE=kubernetes are two sources; leave out one',
    ],
    [
      new Set(ports).size < ports.length,
      'the ports of HADAL_LISTEN, HADAL_ADMIN_PORT, HADAL_METRICS_PORT and HADAL_READINESS_PORT must differ',
    ],
    [
      config.serverNames.length === 0,
      'HADAL_SERVER_NAMES is empty: agents could not check the port’s certificate',
    ],
  ];
  return rules.filter(([isBroken]) => isBroken).map(([, problem]) => problem);
}
