/** Rows that roles share: what they say must be the same in each. */
import { option } from './option.ts';
import * as parse from './parsers.ts';

export const rootNamespaceOption = option({
  env: 'HADAL_ROOT_NAMESPACE',
  group: 'Mesh',
  parse: parse.text,
  default: 'istio-system',
  unit: 'name',
  doc: 'Policies of this namespace without a selector hold for the whole mesh.',
});
