import type { Visibility } from '../../model/service.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import { type TranslationWarning, warning } from './resources.ts';

/** `exportTo`: `.` its own namespace, `*` all, `~` none. The mesh knows all or the own one. */
export function visibilityOf(
  exportTo: readonly string[],
  about: { readonly object: KnownObject; readonly namespace: string; readonly field: string },
  warnings: TranslationWarning[],
): Visibility {
  const wanted = exportTo.map((each) => each.trim()).filter((each) => each !== '');
  if (wanted.length === 0 || wanted.includes('*')) return 'PUBLIC';
  const others = wanted.filter((each) => !['.', '~', about.namespace].includes(each));
  if (others.length > 0) {
    const reason = `names ${others.join(', ')}; only its own namespace or all can be told apart, so every namespace sees it`;
    warnings.push(warning(about.object, about.field, reason));
    return 'PUBLIC';
  }
  if (wanted.every((each) => each === '~')) {
    warnings.push(warning(about.object, about.field, 'is "~"; its own namespace sees it all the same'));
  }
  return 'NAMESPACE';
}
