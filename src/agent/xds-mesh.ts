import { Backoff } from '../base/backoff.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { callMetadata, controlPlaneCredentials } from '../identity/control-plane-channel.ts';
import { noChange } from '../model/change.ts';
import { meshSettingsKey } from '../model/mesh-settings.ts';
import { isKnownName, unmeant } from '../tunnel/missing-names.ts';
import { XdsClient } from '../xds/client.ts';
import type { XdsCounters, XdsStatus } from '../xds/client-state.ts';
import { convertResource } from '../xds/codec.ts';
import { parseGeneration } from '../xds/generation.ts';
import { GrpcTransport } from '../xds/grpc-transport.ts';
import { nodeIdentity } from '../xds/node-identity.ts';
import { refusingAmong, refusingWith } from '../xds/refusing-policy.ts';
import type { VersionedChange } from '../xds/versioned-change.ts';
import { AbsentNames } from './absent-names.ts';
import type { KeptMesh } from './kept-record.ts';
import type { MeshFollower } from './mesh-follower.ts';
import type { MeshSource, MeshSourceStatus } from './mesh-source.ts';
import type { AgentScope } from './parts.ts';

export interface XdsMeshOptions {
  readonly scope: AgentScope;
  readonly follower: MeshFollower;
  /** Good before, from disk; what holds until the control plane says something else. */
  readonly kept: KeptMesh | undefined;
  readonly onFirst: () => void;
  /** The control plane is there, again. */
  readonly onConnected: () => void;
  /** Of names that were asked for the control plane says that there is nothing. */
  readonly onAbsent: (names: readonly string[]) => void;
  /** Names that something on this node goes by, without what was not used for so long. */
  readonly usedNames: (idleMs: number) => Set<string>;
}

/** So long after a change could not be put in force it is tried again. */
const enforceAgainMs = 1_000;
/** New pods are refused until a control plane that was away is found again; a dial that is refused costs next to nothing. */
const longestAbsenceMs = 1_000;

/** So often it is looked for names that nobody uses, at least. */
const longestSweepMs = 60_000;
/** Beyond so many names none is kept longer than it is used. */
const manyNames = 20_000;

/** The mesh state as a control plane tells it. */
export class XdsMesh implements MeshSource {
  readonly #options: XdsMeshOptions;
  readonly #client: XdsClient;
  readonly #logger: Logger;
  #failure: string | undefined;
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;
  #sweep: NodeJS.Timeout | undefined;
  /** Names that nobody used when it was looked for the last time. */
  #unused: ReadonlySet<string> = new Set();
  readonly #absent: AbsentNames;

  constructor(options: XdsMeshOptions) {
    const { scope, kept } = options;
    const { config, revocations } = scope;
    this.#options = options;
    this.#logger = scope.logs.scope('xds');
    const address = config.xdsAddress;
    const credentials = onceItWorks(() =>
      controlPlaneCredentials({ rootFile: config.xdsRootFile, revocations: () => revocations.lists }),
    );
    this.#client = new XdsClient({
      address,
      transport: new GrpcTransport({ address, credentials, serverName: config.xdsServerName }),
      metadata: () => callMetadata(config),
      node: nodeIdentity(config, process.env, (problem) => this.#logger.warn(problem)),
      onDemand: config.xdsOnDemand,
      behindPatienceMs: config.xdsBehindPatience,
      kept: kept && { ...kept, refusing: refusingAmong(kept.resources.policies) },
      convert: convertResource,
      refusing: refusingWith(config.rootNamespace),
      onChange: (change) => this.#onChange(change),
      onConnected: options.onConnected,
      backoff: new Backoff({ initialMs: 10, maxMs: longestAbsenceMs, jitter: 0.5 }),
      onAbsent: (names) => this.#onAbsent(names),
      logger: this.#logger,
    });
    this.#absent = new AbsentNames({
      lookUp: (names) => this.#client.lookUp(names),
      lookAway: (names) => this.#client.lookAway(names),
      isKnown: (name) => isKnownName(options.follower.snapshot, name),
      isTold: () => parseGeneration(this.#client.status.systemVersion) !== undefined,
    });
    if (!config.xdsOnDemand) return;
    this.#client.lookUp([meshSettingsKey]);
    const everyMs = Math.min(longestSweepMs, config.xdsForgetAfter / 2);
    this.#sweep = setInterval(() => void this.#forgetUnused(), everyMs).unref();
  }

  get controlPlane(): { readonly status: XdsStatus; readonly counters: XdsCounters } {
    return this.#client;
  }

  get status(): MeshSourceStatus {
    const { rejected } = this.#client.status;
    const problems = rejected.map(({ name, reason }) => `${name}: ${reason}`);
    return { error: this.#failure, problems, rejected: this.#client.counters.rejected };
  }

  /** With what is kept in force the control plane need not be there. */
  async start(): Promise<void> {
    const { kept, onFirst, follower } = this.#options;
    if (kept !== undefined) {
      await this.#enforce(() => follower.apply(noChange));
      onFirst();
    }
    this.#client.start();
  }

  /** Asks for what nobody knows here, by name. */
  lookUp(names: readonly string[]): boolean {
    return this.#client.lookUp(names);
  }

  isAbsent(name: string): boolean {
    return this.#absent.has(name);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#again);
    this.#absent.close();
    clearInterval(this.#sweep);
    await this.#client.close();
  }

  async #onChange(told: VersionedChange): Promise<void> {
    const { follower, onFirst } = this.#options;
    await this.#enforce(() => follower.apply(told.change, told));
    onFirst();
  }

  #onAbsent(names: readonly string[]): void {
    // Nobody waits for the settings, and they are wanted for good.
    this.#absent.add(names.filter((name) => name !== meshSettingsKey));
    this.#options.onAbsent(names);
  }

  /** What nobody on this node has used for a while is not to be told of for ever. A later connection asks anew. */
  async #forgetUnused(): Promise<void> {
    const { scope, follower, usedNames } = this.#options;
    const { wanted } = this.#client;
    // A mesh that is asked for as a whole, name by name, is forgotten sooner.
    const idleMs = wanted.size > manyNames ? longestSweepMs : scope.config.xdsForgetAfter;
    const used = usedNames(Math.min(idleMs, scope.config.xdsForgetAfter)).add(meshSettingsKey);
    const unused = new Set([...wanted.keys()].filter((name) => !used.has(name) && !this.#absent.has(name)));
    // Twice in a row: it may have been asked for just now.
    const forgotten = [...unused].filter((name) => this.#unused.has(name));
    this.#unused = unused;
    const leaving = new Set(forgotten);
    const kept = [...wanted.keys()].filter((name) => !leaving.has(name));
    const orphans = unmeant(follower.snapshot, kept);
    // What came with something else, and is used by itself: from now on it is asked for by itself.
    this.#client.lookUp([...orphans.workloads, ...orphans.services].filter((name) => used.has(name)));
    const gone = (names: readonly string[]) => names.filter((name) => !used.has(name));
    const { workloads, services } = orphans;
    await this.#client.forget(forgotten, { workloads: gone(workloads), services: gone(services) });
  }

  /** What fails is tried again: half of it must not be all that holds. */
  async #enforce(apply: () => Promise<void>): Promise<void> {
    clearTimeout(this.#again);
    try {
      await apply();
      this.#failure = undefined;
    } catch (caught) {
      const err = HadalError.from(caught, 'ERR_XDS_ENFORCE', 'putting the mesh state in force');
      if (err.message !== this.#failure)
        this.#logger.error(
          { err },
          'a part of the mesh state is not in force; it is tried again every second',
        );
      this.#failure = err.message;
      if (this.#isClosed) return;
      this.#again = setTimeout(() => {
        void this.#enforce(() => this.#options.follower.apply(noChange));
      }, enforceAgainMs);
      this.#again.unref();
    }
  }
}

/** What cannot be made yet is tried anew by each caller, and made once. */
function onceItWorks<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
