import type { Logger } from '../base/logger.ts';
import type { Exposition } from '../telemetry/scraped-metrics.ts';
import { type HttpListener, type Route, startHttpServer } from './http-server.ts';

export interface MetricsServerOptions {
  readonly render: () => Promise<Exposition>;
  /** 15020; 0 takes a free one. */
  readonly port: number;
  /** Default: all addresses. */
  readonly host?: string;
  readonly logger: Logger;
}

/** `/metrics` and `/stats/prometheus` (Istio's path). Scrapes that come together share one reading. */
export function startMetricsServer({
  render,
  port,
  host,
  logger,
}: MetricsServerOptions): Promise<HttpListener> {
  let running: Promise<Exposition> | undefined;
  const handle: Route['handle'] = async () => {
    running ??= render().finally(() => {
      running = undefined;
    });
    return running;
  };
  return startHttpServer({
    name: 'the metrics server',
    routes: ['/metrics', '/stats/prometheus'].map((path) => ({ method: 'GET', path, handle })),
    listen: [{ port, ...(host === undefined ? {} : { host }) }],
    logger,
  });
}
