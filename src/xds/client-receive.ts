/**
 * What a response makes of what an agent holds: pure. It is converted as a whole and applied once. A resource that is not
 * understood is refused alone, by name; its last good version stays in force, and stays named in `initial_resource_versions`, so
 * that the server sends its own again. Where there is no good version, what refuses in its place is in force.
 */
import { createChange, type MeshChange, type MeshChangeFields } from '../model/change.ts';
import type {
  Converted,
  ConvertedResponse,
  Received,
  Rejection,
  Retained,
  Subscription,
} from './client-subscription.ts';
import type { ResourceKind, ResourceVersions } from './versioned-change.ts';

const none: readonly never[] = Object.freeze([]);
const noVersions: ReadonlyMap<string, string> = new Map();

export function receive(subscription: Subscription, response: ConvertedResponse): Received {
  const effect = new Effect(subscription);
  for (const name of response.removed) effect.remove(name);
  for (const resource of response.resources) {
    if ('reason' in resource) effect.refuse(resource);
    else effect.accept(resource.name, resource.version, resource.kind, resource.value);
  }
  return effect.result(response);
}

/** Collects what one response does. */
class Effect {
  readonly #subscription: Subscription;
  readonly #retained = new Map<string, Retained | undefined>();
  readonly #rejected = new Map<string, Rejection | undefined>();
  readonly #upserts = { workloads: new Map(), services: new Map(), policies: new Map() } as Record<
    ResourceKind,
    Map<string, unknown>
  >;
  readonly #removals = { workloads: new Set(), services: new Set(), policies: new Set() } as Record<
    ResourceKind,
    Set<string>
  >;
  readonly #absent: string[] = [];

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
  }

  remove(name: string): void {
    const { retained, wanted, typeUrl } = this.#subscription;
    const kind = retained.get(name)?.kind;
    if (wanted.has(name)) this.#absent.push(name);
    if (kind !== undefined) this.#removals[kind].add(name);
    // Of a policy that was never understood this is news: it is not missing, it is gone.
    else if (typeUrl.endsWith('Authorization')) this.#removals.policies.add(name);
    this.#retained.set(name, undefined);
    this.#rejected.set(name, undefined);
  }

  accept(name: string, version: string, kind: ResourceKind, value: unknown): void {
    const before = this.#subscription.retained.get(name)?.kind;
    if (before !== undefined && before !== kind) this.#removals[before].add(name);
    this.#removals[kind].delete(name);
    this.#upserts[kind].set(name, value);
    this.#retained.set(name, { kind, version });
    this.#rejected.set(name, undefined);
  }

  refuse({ name, version, reason, refusing }: Extract<Converted, { readonly reason: string }>): void {
    const before = this.#retained.has(name)
      ? this.#retained.get(name)
      : this.#subscription.retained.get(name);
    if (refusing === undefined || (before !== undefined && before.refuses === undefined)) {
      this.#rejected.set(name, { version, reason });
      return;
    }
    const { kind, value, refuses } = refusing;
    this.#rejected.set(name, { version, reason, refuses });
    this.#removals[kind].delete(name);
    this.#upserts[kind].set(name, value);
    this.#retained.set(name, { kind, version: '', refuses });
  }

  result({ nonce, isLast }: ConvertedResponse): Received {
    const { typeUrl, retained, rejected } = this.#subscription;
    const refused = [...this.#rejected].flatMap(([name, rejection]) =>
      rejection === undefined ? [] : [`${name}: ${rejection.reason}`],
    );
    const subscription = Object.freeze({
      ...this.#subscription,
      retained: retained.with(this.#retained),
      rejected: rejected.with(this.#rejected),
      isComplete: this.#subscription.isComplete || isLast,
    });
    const reply = {
      typeUrl,
      subscribe: none,
      unsubscribe: none,
      versions: noVersions,
      nonce,
      refusal: refused.length === 0 ? undefined : refused.join('; '),
    };
    return { subscription, change: this.#change(), versions: this.#versions(), reply, absent: this.#absent };
  }

  #change(): MeshChange {
    const of = (kind: ResourceKind) => ({
      upserts: [...this.#upserts[kind].values()],
      removals: [...this.#removals[kind]],
    });
    const fields = { workloads: of('workloads'), services: of('services'), policies: of('policies') };
    return createChange(fields as MeshChangeFields);
  }

  #versions(): ResourceVersions {
    const of = (kind: ResourceKind) =>
      new Map(Array.from(this.#upserts[kind].keys(), (name) => [name, this.#versionOf(name)] as const));
    return { workloads: of('workloads'), services: of('services'), policies: of('policies') };
  }

  #versionOf(name: string): string {
    return this.#retained.get(name)?.version ?? '';
  }
}
