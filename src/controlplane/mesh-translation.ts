/**
 * Objects into the resources of the mesh, incrementally: each object's translation remembers what it looked at, and is made
 * again when that changes, and only then. As judgements do it (src/model/diff.ts), so the cost of a change is what depends on it.
 */
import { HadalError } from '../base/errors.ts';
import type { MeshChange } from '../model/change.ts';
import type { ObjectKind } from '../source/kubernetes/objects.ts';
import type { ObjectChange, ObjectId } from '../source/object-source.ts';
import type { MeshNames } from '../source/translate/context.ts';
import type { Claimant } from '../source/translate/precedence.ts';
import type { TranslatedResources, TranslationWarning } from '../source/translate/resources.ts';
import { LookWatchers } from './look-watchers.ts';
import type { LookKey } from './looks.ts';
import { ObjectStore } from './object-store.ts';
import { type NameConflict, ResourceClaims, type ResourceKind } from './resource-claims.ts';
import { type MeshWideTranslator, meshTranslators, type Translators, translatorOf } from './translators.ts';

/** The translation that is of no object; no kind begins with `~`. */
const meshWideKey: LookKey = '~mesh';

/** What came of an object, or of the mesh as a whole. */
interface Translation {
  ownerId: ObjectId;
  looks: ReadonlySet<LookKey>;
  resources: Partial<TranslatedResources>;
}

export interface TranslationProblem {
  readonly id: ObjectId;
  readonly reason: string;
}

export class MeshTranslation {
  readonly #translators: Translators;
  readonly #meshWide: MeshWideTranslator | undefined;
  readonly #store: ObjectStore;
  readonly #claims = new ResourceClaims();
  readonly #translations = new Map<LookKey, Translation>();
  readonly #watchers = new LookWatchers();
  readonly #stale = new Set<LookKey>();
  readonly #problems = new Map<ObjectId, string>();
  #made = 0;

  constructor(
    names: MeshNames,
    translators: Translators = meshTranslators,
    /** What follows from the objects together. */
    meshWide?: MeshWideTranslator,
  ) {
    this.#translators = translators;
    this.#meshWide = meshWide;
    if (meshWide !== undefined) this.#stale.add(meshWideKey);
    this.#store = new ObjectStore(names);
  }

  /** Translations made since the start. */
  get made(): number {
    return this.#made;
  }
  get objects(): ObjectStore {
    return this.#store;
  }
  get resourceCounts(): Readonly<Record<ResourceKind, number>> {
    return this.#claims.counts;
  }
  /** Objects whose newest version cannot be translated; what their last good one gave stays. */
  get problems(): TranslationProblem[] {
    return [...this.#problems].map(([id, reason]) => ({ id, reason }));
  }
  /** What operators should know of objects that were translated. */
  get warnings(): TranslationWarning[] {
    return [...this.#translations.values()].flatMap(({ resources }) => resources.warnings ?? []);
  }
  get conflicts(): NameConflict[] {
    return this.#claims.conflicts();
  }

  /** Notes what a change makes stale; translates nothing yet. Returns which looks see something else now. */
  apply(change: ObjectChange): ReadonlySet<LookKey> {
    const touched = this.#store.apply(change);
    for (const key of touched) {
      this.#stale.add(key);
      for (const watcher of this.#watchers.of(key)) this.#stale.add(watcher);
    }
    return touched;
  }

  /** Makes what is stale again, until it is done or the time is up; true when it is done. */
  work(untilMs = Number.POSITIVE_INFINITY): boolean {
    for (const key of this.#stale) {
      this.#stale.delete(key);
      this.#translate(key);
      if (performance.now() > untilMs) return this.#stale.size === 0;
    }
    return true;
  }

  /** What changed since the last time. */
  take(): MeshChange {
    return this.#claims.take();
  }

  #translate(key: LookKey): void {
    if (key === meshWideKey) {
      const meshWide = this.#meshWide;
      if (meshWide !== undefined) this.#make(key, { id: meshWideKey, createdAt: undefined }, meshWide);
      return;
    }
    const [kind, namespace, name] = key.split('/') as [ObjectKind, string, string];
    const translate = translatorOf(this.#translators, kind);
    if (translate === undefined || name === '*') return;
    const known = this.#translations.get(key);
    const found = this.#store.find(kind, namespace, name);
    if (known !== undefined && known.ownerId !== found?.id) this.#withdraw(key, known);
    if (found === undefined) return;
    const owner = { id: found.id, createdAt: found.object.metadata.creationTimestamp };
    this.#make(key, owner, (view) => translate(found.object, view));
  }

  #make(key: LookKey, owner: Claimant, translate: MeshWideTranslator): void {
    const looks = new Set<LookKey>();
    this.#made += 1;
    const translation = this.#translations.get(key) ?? this.#begin(key, owner.id);
    try {
      const resources = translate(this.#store.view((each) => looks.add(each)));
      this.#claims.replace(owner, translation.resources, resources);
      translation.resources = resources;
      this.#problems.delete(owner.id);
    } catch (caught) {
      this.#problems.set(owner.id, HadalError.from(caught, 'ERR_TRANSLATION').message);
    }
    this.#watchers.replace(key, translation.looks, looks);
    translation.looks = looks;
  }

  #begin(key: LookKey, ownerId: ObjectId): Translation {
    const fresh: Translation = { ownerId, looks: new Set(), resources: {} };
    this.#translations.set(key, fresh);
    return fresh;
  }

  #withdraw(key: LookKey, translation: Translation): void {
    this.#claims.replace({ id: translation.ownerId, createdAt: undefined }, translation.resources, {});
    this.#watchers.replace(key, translation.looks, new Set());
    this.#translations.delete(key);
    this.#problems.delete(translation.ownerId);
  }
}
