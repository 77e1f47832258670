import { z } from 'zod';
import { type LabelSelector, labelSelector } from '../model/label-selector.ts';
import type { Parser } from './parsers.ts';

/** A pod is wished for when both parts match it, where they are given. */
export interface EnrolmentSelector {
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
}

/** A misspelt word would select everything, so unknown ones are refused here, unlike in objects of a cluster. */
const strictSelector = z.strictObject(labelSelector.shape);
const schema = z.array(
  z
    .strictObject({ podSelector: strictSelector.optional(), namespaceSelector: strictSelector.optional() })
    .refine((each) => each.podSelector !== undefined || each.namespaceSelector !== undefined, {
      error: 'a selector needs podSelector, namespaceSelector or both',
    }),
);

/** JSON as in Istio's `enablementSelectors`; empty for none configured. */
export const enrolmentSelectors: Parser<readonly EnrolmentSelector[] | undefined> = (given) => {
  if (given === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(given);
  } catch {
    throw new Error('expected JSON, such as [{"podSelector":{"matchLabels":{"mesh":"yes"}}}]');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as readonly EnrolmentSelector[];
  const [issue] = parsed.error.issues;
  throw new Error(
    `expected a list of selectors; at ${issue?.path.join('.') || 'its top'}: ${issue?.message}`,
  );
};
