import type { Authorization } from '../../model/authorization.ts';
import type { DnsAlias } from '../../model/dns-alias.ts';
import type { Service } from '../../model/service.ts';
import type { Workload } from '../../model/workload.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import { objectId } from '../kubernetes/objects.ts';
import type { ObjectId } from '../object-source.ts';

/** Something an operator should know of an object that was translated: the rest of it holds. */
export interface TranslationWarning {
  readonly object: ObjectId;
  /** `metadata.labels["istio.io/use-waypoint"]`; empty when the object as a whole is meant. */
  readonly field: string;
  /** A sentence with the value and what follows from it. */
  readonly reason: string;
}

/** All that one object becomes. Names of resources are never shared between objects. */
export interface TranslatedResources {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Authorization[];
  readonly aliases: readonly DnsAlias[];
  readonly warnings: readonly TranslationWarning[];
}

const none: readonly never[] = Object.freeze([]);

export const noResources: TranslatedResources = Object.freeze({
  workloads: none,
  services: none,
  policies: none,
  aliases: none,
  warnings: none,
});

/** What is not given is empty. */
export function translated(parts: Partial<TranslatedResources>): TranslatedResources {
  return Object.freeze({ ...noResources, ...parts });
}

export function warning(object: KnownObject, field: string, reason: string): TranslationWarning {
  return Object.freeze({ object: objectId(object), field, reason });
}
