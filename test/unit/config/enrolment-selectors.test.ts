import { describe, expect, it } from 'vitest';
import { enrolmentSelectors } from '../../../src/config/enrolment-selectors.ts';

describe('selectors of enrolment as an option', () => {
  it('are JSON, as Istio has them', () => {
    const text =
      '[{"podSelector":{"matchLabels":{"mesh":"yes"}}},{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}]';
    expect(enrolmentSelectors(text)).toEqual([
      { podSelector: { matchLabels: { mesh: 'yes' }, matchExpressions: [] } },
      {
        namespaceSelector: {
          matchLabels: {},
          matchExpressions: [{ key: 'a', operator: 'Exists', values: [] }],
        },
      },
    ]);
  });

  it('are not configured when there is no text, and nobody is in the mesh with an empty list', () => {
    expect(enrolmentSelectors('')).toBeUndefined();
    expect(enrolmentSelectors('[]')).toEqual([]);
  });

  it.each([
    ['no JSON', '{', 'JSON'],
    ['no list', '{}', 'list of selectors'],
    ['a misspelt word, which would select everything', '[{"podSelektor":{}}]', 'podSelektor'],
    ['a misspelt word inside', '[{"podSelector":{"matchLabel":{"a":"b"}}}]', 'matchLabel'],
    ['a selector of nothing', '[{}]', 'needs podSelector'],
    [
      'an operator that there is not',
      '[{"podSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]}}]',
      'operator',
    ],
  ])('are refused when they are %s', (_, text, words) => {
    expect(() => enrolmentSelectors(text)).toThrow(words);
  });
});
