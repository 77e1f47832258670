/**
 * Reads the mesh state from a YAML (or JSON) document `{workloads, services, policies}`. A document that is broken as a
 * whole changes nothing; a resource that is broken is rejected alone, by name, with line and field.
 */
import { type Document, isAlias, isMap, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { HadalError } from '../base/errors.ts';
import { type Authorization, policyKey } from '../model/authorization.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { authorizationMessage } from '../model/wire/authorization-message.ts';
import { type Decoder, formatPath, type Path, type Problem } from '../model/wire/decoder.ts';
import { serviceMessage } from '../model/wire/service-message.ts';
import { workloadMessage } from '../model/wire/workload-message.ts';
import type { Workload } from '../model/workload.ts';

export interface StateFileProblem {
  /** `workload cluster//Pod/shop/front`, or `workloads[3]` when its name is not readable. */
  readonly resource: string;
  /** From the document's root: `workloads[3].addresses[0]`. */
  readonly field: string;
  readonly line: number;
  readonly column: number;
  /** A whole sentence: resource, field, line, what is wrong. */
  readonly message: string;
}

export interface StateFileContent {
  /** The good ones. */
  readonly resources: MeshResources;
  readonly problems: readonly StateFileProblem[];
  /** Names of the resources that were rejected; `undefined` stands for those whose name is not readable. */
  readonly rejected: Readonly<Record<keyof MeshResources, readonly (string | undefined)[]>>;
  /** Kinds that the document does not mention; one that has none of a kind says so, `policies: []`. */
  readonly missing: readonly (keyof MeshResources)[];
}

export const resourceKinds = ['workloads', 'services', 'policies'] as const;

const names = {
  workloads: ({ uid }: Workload) => uid,
  services: (service: Service) => serviceKey(service),
  policies: (policy: Authorization) => policyKey(policy),
};

/** What names the resource among those of its kind. */
export function nameOfResource(kind: keyof MeshResources, resource: unknown): string {
  return (names[kind] as (resource: unknown) => string)(resource);
}

/** Throws `ERR_STATE_FILE` with the line when the document cannot be read as a whole. */
export function parseStateFile(content: string): StateFileContent {
  const document = new StateDocument(content);
  const workloads = readKind(document, 'workloads', workloadMessage, names.workloads);
  const services = readKind(document, 'services', serviceMessage, names.services);
  const policies = readKind(document, 'policies', authorizationMessage, names.policies);
  return Object.freeze({
    resources: Object.freeze({ workloads: workloads.good, services: services.good, policies: policies.good }),
    problems: Object.freeze([...workloads.problems, ...services.problems, ...policies.problems]),
    rejected: Object.freeze({
      workloads: workloads.rejected,
      services: services.rejected,
      policies: policies.rejected,
    }),
    missing: Object.freeze(resourceKinds.filter((kind) => document.value[kind] === undefined)),
  });
}

/**
 * For each resource that was rejected, the version before it, if there was one: a mistake must not take away what held.
 * A rejected resource without a readable name may be any that is missing now, so all of those are kept: a DENY policy
 * must not end with a slip in its name. A kind that the document does not mention stays whole: a file of which only the
 * first half was there yet must not end all policies.
 */
export function keepLastGood(content: StateFileContent, previous: MeshResources): MeshResources {
  const { resources, rejected, missing } = content;
  const held: MeshResources = {
    workloads: withKept(resources.workloads, previous.workloads, rejected.workloads, names.workloads),
    services: withKept(resources.services, previous.services, rejected.services, names.services),
    policies: withKept(resources.policies, previous.policies, rejected.policies, names.policies),
  };
  return Object.freeze({
    ...held,
    ...Object.fromEntries(missing.map((kind) => [kind, previous[kind]])),
  });
}

function withKept<T>(
  good: readonly T[],
  previous: readonly T[],
  rejected: readonly (string | undefined)[],
  nameOf: (resource: T) => string,
): readonly T[] {
  if (rejected.length === 0) {
    return good;
  }
  const present = new Set(good.map(nameOf));
  const names = new Set(rejected);
  const isKept = (name: string) => !present.has(name) && (names.has(name) || names.has(undefined));
  return Object.freeze([...good, ...previous.filter((each) => isKept(nameOf(each)))]);
}

type Kind = (typeof resourceKinds)[number];
const singular = { workloads: 'workload', services: 'service', policies: 'policy' } as const;

/** The parsed document: its plain value, and where each field stands. */
class StateDocument {
  readonly value: Readonly<Record<string, unknown>>;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(content: string) {
    // Duplicate keys are mistakes; timestamps and other surprises of YAML 1.1 are off in the core schema.
    this.#document = parseDocument(content, { lineCounter: this.#lines, schema: 'core', merge: false });
    const [error] = this.#document.errors;
    if (error !== undefined) {
      const line = error.linePos?.[0].line ?? 1;
      throw broken(line, error.message.split('\n')[0] ?? error.code, error);
    }
    const value = this.#toPlain();
    if (value === null || value === undefined) {
      throw broken(1, 'it is empty; an empty mesh is written {workloads: [], services: [], policies: []}');
    }
    if (typeof value !== 'object' || Array.isArray(value)) {
      throw broken(1, `expected a map of ${resourceKinds.join(', ')}`);
    }
    this.value = value as Record<string, unknown>;
    const unknown = Object.keys(this.value).find(
      (key) => !(resourceKinds as readonly string[]).includes(key),
    );
    if (unknown !== undefined) {
      throw broken(
        this.position([unknown]).line,
        `${unknown} is not known here; expected ${resourceKinds.join(', ')}`,
      );
    }
  }

  /** Resources of one kind, each not yet read. */
  list(kind: Kind): readonly unknown[] {
    const found = this.value[kind] ?? [];
    if (!Array.isArray(found)) {
      throw broken(this.position([kind]).line, `${kind} is not a list`);
    }
    return found;
  }

  /** Where the field stands, or the nearest thing around it that the document has. */
  position(path: Path): { readonly line: number; readonly column: number } {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const step of path) {
      const found = descend(this.#resolve(node), step);
      if (found === undefined) {
        break;
      }
      node = found.node;
      offset = found.offset ?? offset;
    }
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  #resolve(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #toPlain(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      throw broken(1, (error as Error).message, error);
    }
  }
}

function broken(line: number, why: string, cause?: unknown): HadalError<'ERR_STATE_FILE'> {
  const message = `the state file is broken at line ${line}: ${why}; nothing of it is applied`;
  return new HadalError('ERR_STATE_FILE', message, { cause, details: { line } });
}

interface Read<T> {
  readonly good: readonly T[];
  readonly rejected: readonly (string | undefined)[];
  readonly problems: readonly StateFileProblem[];
}

function readKind<T>(
  document: StateDocument,
  kind: Kind,
  decoder: Decoder<T>,
  nameOf: (value: T) => string,
): Read<T> {
  const good = new Map<string, T>();
  const rejected: (string | undefined)[] = [];
  const problems: StateFileProblem[] = [];
  for (const [index, value] of document.list(kind).entries()) {
    const found: Problem[] = [];
    const resource = decoder.decode(value, [], found);
    const name = resource === undefined ? givenName(kind, value) : nameOf(resource);
    if (name !== undefined && good.has(name)) {
      found.push({ path: [], message: 'stands in the file already; this one is not used' });
    }
    if (resource !== undefined && name !== undefined && found.length === 0) {
      good.set(name, resource);
      continue;
    }
    rejected.push(name);
    const title = name === undefined ? `${kind}[${index}]` : `${singular[kind]} ${name}`;
    problems.push(...found.map((problem) => locate(document, kind, index, title, problem)));
  }
  return { good: Object.freeze([...good.values()]), rejected: Object.freeze(rejected), problems };
}

/** The name of a resource that could not be read, so that its last good version can be kept. */
function givenName(kind: Kind, value: unknown): string | undefined {
  if (value === null || typeof value !== 'object') {
    return undefined;
  }
  const field = (name: string) => {
    const given = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
    return typeof given === 'string' && given !== '' ? given : undefined;
  };
  if (kind === 'workloads') {
    return field('uid');
  }
  const namespace = field('namespace');
  const name = field(kind === 'services' ? 'hostname' : 'name');
  return namespace === undefined || name === undefined ? undefined : `${namespace}/${name}`;
}

function locate(
  document: StateDocument,
  kind: Kind,
  index: number,
  resource: string,
  problem: Problem,
): StateFileProblem {
  const position = document.position([kind, index, ...problem.path]);
  const field = formatPath([kind, index, ...problem.path]);
  const inside = problem.path.length === 0 ? '' : `${formatPath(problem.path)} `;
  const message = `${resource}, line ${position.line}: ${inside}${problem.message}`;
  return Object.freeze({ resource, field, ...position, message });
}

function descend(
  node: unknown,
  step: string | number,
): { node: unknown; offset: number | undefined } | undefined {
  if (isSeq(node)) {
    const item = typeof step === 'number' ? node.items[step] : undefined;
    return item === undefined ? undefined : { node: item, offset: startOf(item) };
  }
  if (!isMap(node)) {
    return undefined;
  }
  const pair = node.items.find(
    ({ key }) => String((key as { value?: unknown } | null)?.value ?? key) === String(step),
  );
  return pair === undefined ? undefined : { node: pair.value, offset: startOf(pair.key) };
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
