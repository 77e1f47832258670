/** Of several replicas one writes what became of each object into its status. All serve, whoever writes. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { ApiClient } from '../source/api-server/api-client.ts';
import { type ConditionKind, ConditionWriter } from '../source/api-server/condition-writer.ts';
import { LeaderElection } from '../source/api-server/leader-election.ts';
import type { ObjectId, RejectedObject } from '../source/object-source.ts';
import type { LookKey } from './looks.ts';
import type { ObjectStore } from './object-store.ts';
import type { MeshParts, PlaneScope } from './plane-parts.ts';
import { writtenKinds } from './status-conditions.ts';
import { StatusWishes } from './status-wishes.ts';

/** Nobody waits for a status; a burst of changes is looked at once. */
const settleMs = 500;

export interface StatusWritingOptions {
  readonly api: ApiClient;
  readonly objects: ObjectStore;
  readonly rejected: () => readonly RejectedObject[];
  /** The version under which the server serves a kind. */
  readonly versionOf?: (kind: ConditionKind) => string | undefined;
  /** What else the one that leads does, until `signal` fires. */
  readonly alsoLead?: (signal: AbortSignal) => Promise<void>;
  readonly leaseNamespace: string;
  readonly leaseMs?: number;
  /** Default: of the machine, that is the pod, and something that a restart changes. */
  readonly identity?: string;
  readonly logger: Logger;
}

export class StatusWriting implements Closeable {
  readonly #options: StatusWritingOptions;
  readonly #writer: ConditionWriter;
  readonly #wishes: StatusWishes;
  readonly #election: LeaderElection;
  #term: { readonly signal: AbortSignal; readonly ended: Promise<void> } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StatusWritingOptions) {
    const { api, leaseNamespace, leaseMs, logger, objects, rejected, versionOf } = options;
    this.#options = options;
    this.#wishes = new StatusWishes(objects, rejected);
    this.#writer = new ConditionWriter(api, { logger, ...(versionOf === undefined ? {} : { versionOf }) });
    this.#election = new LeaderElection(api, {
      namespace: leaseNamespace,
      name: 'hadal-control-plane',
      identity: options.identity ?? `${hostname()}_${randomUUID()}`,
      ...(leaseMs === undefined ? {} : { leaseMs }),
      onLead: (signal) => this.#lead(signal),
      logger,
    });
  }

  get isLeader(): boolean {
    return this.#election.isLeader;
  }

  get leader(): string | undefined {
    return this.#election.leader;
  }

  /** Patches sent so far. */
  get writes(): number {
    return this.#writer.writes;
  }

  /** Once the objects were read: before, half of them would be told that the other half is missing. */
  start(): void {
    this.#election.start();
  }

  /** Looks that see something else now. */
  onChange(touched: ReadonlySet<LookKey>): void {
    if (!this.isLeader) return;
    this.#wishes.changed(touched);
    this.#soon();
  }

  /** Objects that are bad now, or bad in another way, or no longer. */
  onVerdict(ids: readonly ObjectId[]): void {
    if (!this.isLeader) return;
    this.#wishes.judged(ids);
    this.#soon();
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#election.close();
    await this.#term?.ended;
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.isLeader) this.#refresh();
    }, settleMs);
  }

  #lead(signal: AbortSignal): void {
    // Changes of the time without a lead were not followed.
    this.#wishes.begin();
    this.#refresh();
    const before = this.#term?.ended ?? Promise.resolve();
    const lead = async () => {
      await Promise.all([this.#writer.run(signal, writtenKinds), this.#options.alsoLead?.(signal)]);
    };
    this.#term = { signal, ended: before.then(lead) };
  }

  #refresh(): void {
    for (const { target, conditions, generation } of this.#wishes.take())
      this.#writer.set(target, conditions, generation);
  }
}

/** Undefined for a directory: nobody reads a status there. */
export function prepareStatusWriting(parts: PlaneScope & MeshParts): StatusWriting | undefined {
  const { api, config, lastGood, lifecycle, logs, source, translation } = parts;
  if (api === undefined) return undefined;
  const writing = new StatusWriting({
    api,
    objects: translation.objects,
    rejected: () => source.status.rejected,
    versionOf: (kind) => source.kinds?.get(kind)?.version,
    alsoLead: async (signal) => lastGood?.run(signal),
    leaseNamespace: config.leaseNamespace,
    leaseMs: config.leaseDurationMs,
    logger: logs.scope('status'),
  });
  return lifecycle.own('status of objects', writing);
}
