/** Which API server, and as whom. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { HadalError } from '../../base/errors.ts';

export interface ApiConfigOptions {
  /** A kubeconfig file. Default: the pod's service account, else KUBECONFIG, else ~/.kube/config. */
  readonly file?: string | undefined;
  /** A context of that file. Default: its current one. */
  readonly context?: string | undefined;
}

export function loadApiConfig(
  { file, context }: ApiConfigOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): KubeConfig {
  const config = new KubeConfig();
  const path = file ?? kubeconfigFile(env);
  if (path === undefined) config.loadFromCluster();
  else loadFile(config, path);
  if (context !== undefined) {
    if (config.getContextObject(context) === null) {
      const known = config.getContexts().map(({ name }) => name);
      throw new HadalError(
        'ERR_KUBERNETES_CONFIG',
        `there is no context "${context}" in ${path ?? 'the service account of this pod'}; it has ${known.join(', ')}`,
      );
    }
    config.setCurrentContext(context);
  }
  return config;
}

/** Undefined: this is a pod, and its service account is meant. client-node would fall back to a server on localhost. */
function kubeconfigFile(env: NodeJS.ProcessEnv): string | undefined {
  const named = env.KUBECONFIG?.split(':').find((one) => one !== '');
  if (named !== undefined) return named;
  if (env.KUBERNETES_SERVICE_HOST !== undefined) return undefined;
  const usual = join(homedir(), '.kube', 'config');
  if (existsSync(usual)) return usual;
  throw new HadalError(
    'ERR_KUBERNETES_CONFIG',
    `this is no pod, KUBECONFIG is not set and there is no ${usual}; name a kubeconfig file`,
  );
}

function loadFile(config: KubeConfig, path: string): void {
  try {
    config.loadFromFile(path);
  } catch (caught) {
    throw HadalError.from(caught, 'ERR_KUBERNETES_CONFIG', `reading the kubeconfig ${path}`);
  }
}
