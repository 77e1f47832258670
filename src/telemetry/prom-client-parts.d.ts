// The registry alone: the whole package brings clustering, a push client and 10 MB that an agent has no use for.
declare module 'prom-client/lib/registry.js' {
  import type { Registry as WholeRegistry } from 'prom-client';
  export default class Registry implements Pick<WholeRegistry, 'metrics' | 'contentType'> {
    readonly contentType: WholeRegistry['contentType'];
    metrics(): Promise<string>;
    getMetricsAsArray(): { name: string }[];
    registerMetric(metric: {
      readonly name: string;
      get(): Promise<{
        name: string;
        help: string;
        type: string;
        aggregator: string;
        values: readonly { labels: object; sharedLabels?: object; value: number }[];
      }>;
    }): void;
  }
}
