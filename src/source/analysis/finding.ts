/** What a look at manifests can say without a cluster. */
import type { ManifestSet, WrittenObject } from '../offline/manifest-set.ts';
import type { ClusterView } from '../translate/view.ts';

/** error: something is refused, not enforced, or cannot run. warning: probably meant otherwise. */
export type Severity = 'error' | 'warning';

/** Part of the interface: add, never rename. */
export type FindingCode =
  | 'rejected'
  | 'waypoint-missing'
  | 'account-missing'
  | 'namespace-missing'
  | 'reference-unknown'
  | 'selects-nothing'
  | 'selects-outside'
  | 'port-missing'
  | 'policy-stricter'
  | 'policy-not-enforced'
  | 'policy-shadowed'
  | 'policy-bypassed'
  | 'label-value'
  | 'label-unknown'
  | 'udp-only'
  | 'not-captured'
  | 'taken-otherwise';

export interface Finding {
  readonly severity: Severity;
  readonly code: FindingCode;
  /** `shop.yaml, document 3 (line 12)` apart. */
  readonly file: string;
  readonly line: number;
  /** `AuthorizationPolicy shop/p`. */
  readonly object: string;
  /** `spec.rules[0]`; empty when the object as a whole is meant. */
  readonly field: string;
  readonly message: string;
}

/** The manifests, and the mesh that they would make. */
export interface Analysed {
  readonly set: ManifestSet;
  /** Over the objects as if they ran. */
  readonly view: ClusterView;
}

export function finding(
  severity: Severity,
  code: FindingCode,
  { origin, title }: WrittenObject,
  field: string,
  message: string,
): Finding {
  return { severity, code, file: origin.file, line: origin.line, object: title, field, message };
}

/** Those of one kind, with the type of their object. */
export function writtenOf<K extends WrittenObject['object']['kind']>(
  { objects }: ManifestSet,
  kind: K,
): readonly (WrittenObject & { readonly object: Extract<WrittenObject['object'], { kind: K }> })[] {
  return objects.filter(
    (written): written is WrittenObject & { object: Extract<WrittenObject['object'], { kind: K }> } =>
      written.object.kind === kind,
  );
}
