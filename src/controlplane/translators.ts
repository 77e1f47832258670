/** Which kinds become resources of the mesh, and how. */
import type { ObjectKind } from '../source/kubernetes/objects.ts';
import type { TranslatedResources } from '../source/translate/resources.ts';
import { type Translator, type Translators, translators } from '../source/translate/translators.ts';
import type { ClusterView } from '../source/translate/view.ts';

export type { Translators } from '../source/translate/translators.ts';

/** What follows from the objects together, and from none of them alone. */
export type MeshWideTranslator = (view: ClusterView) => Partial<TranslatedResources>;

export const meshTranslators: Translators = translators;

export function translatorOf(table: Translators, kind: ObjectKind): Translator<ObjectKind> | undefined {
  return table[kind] as Translator<ObjectKind> | undefined;
}
