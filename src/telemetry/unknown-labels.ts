import { type TrafficLabels, trafficLabelNames } from '../routing/labels.ts';

/** Labels of traffic that nobody can place. */
export const unknownLabels: TrafficLabels = Object.freeze(
  Object.fromEntries(trafficLabelNames.map((name) => [name, 'unknown'])) as Record<
    (typeof trafficLabelNames)[number],
    string
  >,
);
