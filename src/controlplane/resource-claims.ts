/** The resources that translations gave, by name; where two give one name, the object that was first has it. */
import { isDeepStrictEqual } from 'node:util';
import { policyKey } from '../model/authorization.ts';
import { createChange, type MeshChange } from '../model/change.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { type Claimant, comparePrecedence } from '../source/translate/precedence.ts';

export type ResourceKind = keyof MeshResources;
type Resource = MeshResources[ResourceKind][number];

const nameOf: { readonly [Kind in ResourceKind]: (resource: MeshResources[Kind][number]) => string } = {
  workloads: ({ uid }) => uid,
  services: serviceKey,
  policies: policyKey,
};

export const resourceKinds = ['workloads', 'services', 'policies'] as const satisfies readonly ResourceKind[];

interface Claim {
  readonly owner: Claimant;
  readonly resource: Resource;
}

export interface NameConflict {
  readonly kind: ResourceKind;
  readonly name: string;
  /** Ids of the objects; the first one has the name. */
  readonly objects: readonly string[];
}

/** The claims on the names of one kind. */
class KindClaims {
  readonly #nameOf: (resource: Resource) => string;
  readonly #claims = new Map<string, readonly Claim[]>();
  readonly #conflicts = new Set<string>();
  /** What was handed out. */
  readonly #told = new Map<string, Resource>();
  readonly #touched = new Set<string>();

  constructor(name: (resource: Resource) => string) {
    this.#nameOf = name;
  }

  get size(): number {
    return this.#told.size;
  }

  withdraw(id: string, resource: Resource): void {
    const name = this.#nameOf(resource);
    this.#set(
      name,
      this.#of(name).filter(({ owner }) => owner.id !== id),
    );
  }

  claim(owner: Claimant, resource: Resource): void {
    const name = this.#nameOf(resource);
    const others = this.#of(name).filter((claim) => claim.owner.id !== owner.id);
    const all = [...others, { owner, resource }];
    this.#set(name, all.length === 1 ? all : all.sort((a, b) => comparePrecedence(a.owner, b.owner)));
  }

  /** What differs from what was taken before. */
  take(): { upserts: Resource[]; removals: string[] } {
    const upserts: Resource[] = [];
    const removals: string[] = [];
    for (const name of this.#touched) {
      const next = this.#claims.get(name)?.[0]?.resource;
      const before = this.#told.get(name);
      if (next === undefined) {
        if (this.#told.delete(name)) removals.push(name);
      } else if (before === undefined || !isDeepStrictEqual(before, next)) {
        this.#told.set(name, next);
        upserts.push(next);
      }
    }
    this.#touched.clear();
    return { upserts, removals };
  }

  *conflicts(): Generator<{ name: string; objects: string[] }> {
    for (const name of this.#conflicts) yield { name, objects: this.#of(name).map(({ owner }) => owner.id) };
  }

  #of(name: string): readonly Claim[] {
    return this.#claims.get(name) ?? [];
  }

  #set(name: string, claims: readonly Claim[]): void {
    if (claims.length === 0) this.#claims.delete(name);
    else this.#claims.set(name, claims);
    if (claims.length > 1) this.#conflicts.add(name);
    else this.#conflicts.delete(name);
    this.#touched.add(name);
  }
}

export class ResourceClaims {
  readonly #kinds = {
    workloads: new KindClaims(nameOf.workloads as (resource: Resource) => string),
    services: new KindClaims(nameOf.services as (resource: Resource) => string),
    policies: new KindClaims(nameOf.policies as (resource: Resource) => string),
  };

  get counts(): Readonly<Record<ResourceKind, number>> {
    const { workloads, services, policies } = this.#kinds;
    return { workloads: workloads.size, services: services.size, policies: policies.size };
  }

  /** What an object gives now instead of what it gave before. */
  replace(owner: Claimant, before: Partial<MeshResources>, next: Partial<MeshResources>): void {
    for (const kind of resourceKinds) {
      for (const resource of before[kind] ?? []) this.#kinds[kind].withdraw(owner.id, resource);
      for (const resource of next[kind] ?? []) this.#kinds[kind].claim(owner, resource);
    }
  }

  /** What changed since the last time; resources that came out equal are not in it. */
  take(): MeshChange {
    const [workloads, services, policies] = resourceKinds.map((kind) => this.#kinds[kind].take());
    return createChange({ workloads, services, policies } as Parameters<typeof createChange>[0]);
  }

  conflicts(): NameConflict[] {
    return resourceKinds.flatMap((kind) =>
      [...this.#kinds[kind].conflicts()].map(({ name, objects }) => ({ kind, name, objects })),
    );
  }
}
