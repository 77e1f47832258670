import type { Logger } from '../base/logger.ts';
import { type HttpListener, plain, type Route, startHttpServer } from './http-server.ts';
import type { Readiness } from './readiness.ts';

export interface ReadinessServerOptions {
  readonly readiness: Readiness;
  /** 15021; 0 takes a free one. */
  readonly port: number;
  /** Default: all addresses, since the kubelet asks the node's. */
  readonly host?: string;
  readonly logger: Logger;
}

/** `/healthz/ready` (Istio's path) and `/ready`: 200, or 503 with what is still awaited, one a line. */
export function startReadinessServer({
  readiness,
  port,
  host,
  logger,
}: ReadinessServerOptions): Promise<HttpListener> {
  const handle: Route['handle'] = () =>
    readiness.ready
      ? plain(200, 'ready\n')
      : plain(503, `not ready, waiting for:\n${readiness.pending.map((name) => `  ${name}\n`).join('')}`);
  return startHttpServer({
    name: 'the readiness server',
    routes: ['/healthz/ready', '/ready'].map((path) => ({ method: 'GET', path, handle })),
    listen: [{ port, ...(host === undefined ? {} : { host }) }],
    logger,
  });
}
