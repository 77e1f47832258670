/** How a change of the mesh stands on disk: a line of a checksum and JSON. */
import { crc32 } from 'node:zlib';
import { type Authorization, createAuthorization, policyKey } from '../model/authorization.ts';
import { createService, type Service, serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { createWorkload, type Workload } from '../model/workload.ts';
import type { KeptVersions, VersionedChange } from '../xds/versioned-change.ts';

type Kind = keyof MeshResources;
export const keptKinds = ['workloads', 'services', 'policies'] as const satisfies readonly Kind[];

/** A part of a change: a large one has many, and counts once the last is there. */
export interface KeptRecord {
  readonly upserts?: { readonly [K in Kind]?: readonly (readonly [version: string, resource: unknown])[] };
  readonly removals?: { readonly [K in Kind]?: readonly string[] };
  /** Names of policies that are gone while workloads still give them, after the change; none where it is left out. */
  readonly gone?: readonly string[];
  /** How much the control plane had seen. */
  readonly generation?: string;
  readonly last?: boolean;
}

/** What an agent starts with again. */
export interface KeptMesh extends KeptVersions {
  readonly resources: MeshResources;
  readonly gonePolicies: readonly string[];
}

const recordSize = 500;

/** The lines of one change. */
export function* recordsOf(
  { change, versions, generation }: VersionedChange,
  gone: ReadonlySet<string>,
): Generator<KeptRecord> {
  for (const kind of keptKinds) {
    const { upserts } = change[kind];
    for (let at = 0; at < upserts.length; at += recordSize) {
      const part = upserts.slice(at, at + recordSize).map((resource) => {
        return [versions[kind].get(nameOf(kind, resource)) ?? '', resource] as const;
      });
      yield { upserts: { [kind]: part } };
    }
  }
  const removals = Object.fromEntries(
    keptKinds.map((kind) => [kind, change[kind].removals] as const).filter(([, names]) => names.length > 0),
  );
  yield {
    removals,
    ...(gone.size > 0 && { gone: [...gone] }),
    ...(generation !== '' && { generation }),
    last: true,
  };
}

export function encodeRecord(record: KeptRecord): string {
  const text = JSON.stringify(record);
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`;
}

/** Undefined for a line that was not written to its end. */
export function decodeRecord(line: string): KeptRecord | undefined {
  const text = line.slice(9);
  if (line[8] !== ' ' || crc32(text).toString(16).padStart(8, '0') !== line.slice(0, 8)) return undefined;
  return JSON.parse(text) as KeptRecord;
}

export function nameOf(kind: Kind, resource: unknown): string {
  if (kind === 'workloads') return (resource as Workload).uid;
  return kind === 'services' ? serviceKey(resource as Service) : policyKey(resource as Authorization);
}

interface Held {
  readonly version: string;
  readonly resource: unknown;
}

/** What records, one after the other, amount to. */
export class KeptMeshBuilder {
  readonly #held: Record<Kind, Map<string, Held>> = {
    workloads: new Map(),
    services: new Map(),
    policies: new Map(),
  };
  #gone: readonly string[] = [];
  #generation = '';
  #parts: KeptRecord[] = [];

  /** True when the change that the record belongs to is complete, and counts. */
  add(record: KeptRecord): boolean {
    this.#parts.push(record);
    if (record.last !== true) return false;
    for (const { removals = {} } of this.#parts) {
      for (const kind of keptKinds) for (const name of removals[kind] ?? []) this.#held[kind].delete(name);
    }
    for (const part of this.#parts) this.#upsert(part);
    this.#gone = record.gone ?? [];
    this.#generation = record.generation ?? '';
    this.#parts = [];
    return true;
  }

  /** Forgets a change of which the end is missing. */
  drop(): void {
    this.#parts = [];
  }

  build(): KeptMesh {
    const held = (kind: Kind) => Array.from(this.#held[kind].values(), ({ resource }) => resource);
    const versions = (kind: Kind) =>
      new Map(Array.from(this.#held[kind], ([name, { version }]) => [name, version] as const));
    return {
      resources: Object.freeze({
        workloads: Object.freeze(held('workloads') as Workload[]),
        services: Object.freeze(held('services') as Service[]),
        policies: Object.freeze(held('policies') as Authorization[]),
      }),
      versions: {
        workloads: versions('workloads'),
        services: versions('services'),
        policies: versions('policies'),
      },
      gonePolicies: this.#gone,
      generation: this.#generation,
    };
  }

  #upsert({ upserts = {} }: KeptRecord): void {
    for (const kind of keptKinds) {
      for (const [version, written] of upserts[kind] ?? []) {
        const resource = constructors[kind](written);
        this.#held[kind].set(nameOf(kind, resource), { version, resource });
      }
    }
  }
}

/** JSON leaves out what is undefined; the constructors put it back. */
const constructors: { readonly [K in Kind]: (written: unknown) => unknown } = {
  workloads: (written) => createWorkload(written as Workload),
  services: (written) => {
    const service = written as Service;
    return createService({
      ...service,
      addresses: service.addresses.map((each) => Object.freeze({ ...each, length: each.length })),
    });
  },
  policies: (written) => createAuthorization(written as Authorization),
};
