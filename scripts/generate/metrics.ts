// docs/metrics.md from the catalogues of metrics and the list of reasons.
import { reasonDetails } from '../../src/model/reasons.gen.ts';
import { trafficLabelNames } from '../../src/routing/labels.ts';
import { agentCatalogue } from '../../src/telemetry/agent-metrics.ts';
import { controlPlaneCatalogue } from '../../src/telemetry/control-plane-metrics.ts';
import { type MetricDescription, trafficLabels } from '../../src/telemetry/metric-catalogue.ts';
import { responseFlags } from '../../src/telemetry/response-flags.ts';
import type { GeneratedFile } from './main.ts';
import { markdownTable } from './markdown-table.ts';

export function metricsFile(): GeneratedFile {
  const reasons = [...reasonDetails].map(([number, { metric, text }]) => [
    `\`${metric}\``,
    responseFlags(number) === '-' ? '' : responseFlags(number),
    text,
  ]);
  const lines = [
    '# Metrics of the agent',
    '',
    '<!-- Made from src/telemetry and bpf/shared/reasons.h by scripts/generate; do not edit. -->',
    '',
    '`GET /metrics` on port 15020 (`/stats/prometheus` is the same). Counters are read from the tunnel and the kernel',
    'when they are asked for. Names that begin with `istio_` or `workload_manager_` are Istio’s, with its meanings.',
    '',
    ...metricsTable(agentCatalogue),
    '',
    '## Labels of traffic',
    '',
    'A value that is not known is `unknown`. `request_protocol` is `tcp`; `response_flags` is `-` but for failures.',
    '',
    ...trafficLabelNames.map((name) => `- \`${name}\``),
    '',
    '## Reasons',
    '',
    'Values of the label `reason`, and the `response_flags` that Istio has for them.',
    '',
    ...markdownTable([['reason', 'flags', 'meaning'], ...reasons]),
    '',
    '# Metrics of the control plane',
    '',
    '`GET /metrics` on port 15020 of `hadal control-plane`.',
    '',
    ...metricsTable(controlPlaneCatalogue),
  ];
  return { path: 'docs/metrics.md', content: `${lines.join('\n')}\n` };
}

function metricsTable(catalogue: Readonly<Record<string, MetricDescription>>): string[] {
  const rows = Object.entries(catalogue).map(([name, { type, labels, help }]) => [
    `\`${name}\``,
    type,
    labelList(labels),
    help,
  ]);
  return markdownTable([['metric', 'kind', 'labels', 'meaning'], ...rows]);
}

/** The labels of traffic are too many for a cell. */
function labelList(labels: readonly string[]): string {
  const isTraffic = trafficLabels.every((name) => labels.includes(name));
  const own = isTraffic
    ? labels.filter((name) => !(trafficLabels as readonly string[]).includes(name))
    : labels;
  return [...(isTraffic ? ['of traffic'] : []), ...own.map((name) => `\`${name}\``)].join(', ');
}
