import { z } from 'zod';

const requirement = z.object({
  key: z.string().min(1),
  operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
  values: z.array(z.string()).default([]),
});

/** A selector as Kubernetes writes it; an empty one selects everything. */
export const labelSelector = z.object({
  matchLabels: z.record(z.string(), z.string({ error: 'must be text; quote it' })).default({}),
  matchExpressions: z.array(requirement).default([]),
});

export type LabelSelector = z.infer<typeof labelSelector>;

export function selectorMatches(
  { matchLabels, matchExpressions }: LabelSelector,
  labels: Readonly<Record<string, string>>,
): boolean {
  return (
    Object.entries(matchLabels).every(([label, value]) => labels[label] === value) &&
    matchExpressions.every((each) => holds(each, labels[each.key]))
  );
}

function holds({ operator, values }: z.infer<typeof requirement>, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    // A label that is not there is not in the list either.
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}
