/** Which kinds become resources of the mesh, and how. */
import type { ObjectKind } from '../source/kubernetes/objects.ts';
import { type Translator, type Translators, translators } from '../source/translate/translators.ts';

export type { Translators } from '../source/translate/translators.ts';

export const meshTranslators: Translators = translators;

export function translatorOf(table: Translators, kind: ObjectKind): Translator<ObjectKind> | undefined {
  return table[kind] as Translator<ObjectKind> | undefined;
}
