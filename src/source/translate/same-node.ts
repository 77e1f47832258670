/** `hadal.io/same-node`: whether connections between two pods of a node take the tunnel all the same. */
import {
  isSameNodeMode,
  type SameNodeMode,
  type SameNodeWish,
  sameNodeModes,
} from '../../model/same-node.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import { annotationField, annotations, labelField, labels } from './label-names.ts';
import { type TranslatedResources, type TranslationWarning, translated, warning } from './resources.ts';
import type { ClusterView } from './view.ts';

interface Said {
  readonly mode: SameNodeMode | undefined;
  readonly warnings: readonly TranslationWarning[];
}

/** The pod's own word counts before its namespace's; a label before an annotation. */
export function sameNodeOfPod(
  pod: PodObject,
  view: ClusterView,
): { readonly wish: SameNodeWish | undefined; readonly warnings: readonly TranslationWarning[] } {
  const own = saidBy(pod);
  if (own.mode !== undefined) return { wish: { mode: own.mode, from: 'workload' }, warnings: own.warnings };
  const namespace = view.get('Namespace', '', pod.metadata.namespace);
  const around = namespace === undefined ? undefined : saidBy(namespace).mode;
  return {
    wish: around === undefined ? undefined : { mode: around, from: 'namespace' },
    warnings: own.warnings,
  };
}

/** Only what is wrong with it: what it says is its pods' to tell. */
export function translateNamespace(namespace: NamespaceObject): TranslatedResources {
  return translated({ warnings: saidBy(namespace).warnings });
}

function saidBy(object: PodObject | NamespaceObject): Said {
  const given = [
    [object.metadata.labels[labels.sameNode], labelField(labels.sameNode)],
    [object.metadata.annotations[annotations.sameNode], annotationField(annotations.sameNode)],
  ] as const;
  const warnings = given.flatMap(([text, field]) =>
    text === undefined || isSameNodeMode(text)
      ? []
      : [
          warning(
            object,
            field,
            `is "${text}"; ${sameNodeModes.join(' or ')} is meant, and it counts as missing`,
          ),
        ],
  );
  const mode = given.map(([text = '']) => text).find(isSameNodeMode);
  return { mode, warnings };
}
