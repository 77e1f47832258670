import { type TrafficLabels, trafficLabelNames } from '../../../src/routing/labels.ts';

/** Labels that say `unknown` but for those given. */
export function labels(given: Partial<TrafficLabels> = {}): TrafficLabels {
  const all = Object.fromEntries(trafficLabelNames.map((name) => [name, 'unknown'])) as Record<
    string,
    string
  >;
  return { ...all, reporter: 'source', ...given } as TrafficLabels;
}
