import type { HadalError } from '../../base/errors.ts';

/** What a kind is doing; `hadal status` prints it. */
export type KindState =
  | { readonly name: 'listing' }
  | { readonly name: 'watching' }
  /** A custom resource that the cluster does not have. */
  | { readonly name: 'absent' }
  | { readonly name: 'waiting'; readonly error: HadalError }
  | { readonly name: 'closed' };

export interface KindReport {
  readonly state: KindState;
  readonly objects: number;
  /** Everything up to here is known. */
  readonly resourceVersion: string | undefined;
  /** Where something was told for the last time, by a list or an event; a bookmark tells nothing. */
  readonly toldAt: string | undefined;
  /** How often it was read as a whole. */
  readonly lists: number;
  /** Of its API, as the server serves it: `v1`. */
  readonly version: string;
}
