/** Of several replicas one writes what became of each object into its status. All serve, whoever writes. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { ApiClient } from '../source/api-server/api-client.ts';
import { ConditionWriter } from '../source/api-server/condition-writer.ts';
import { LeaderElection } from '../source/api-server/leader-election.ts';
import type { RejectedObject } from '../source/object-source.ts';
import type { ClusterView } from '../source/translate/view.ts';
import type { MeshParts, PlaneScope } from './plane-parts.ts';
import { statusWishes, writtenKinds } from './status-conditions.ts';

/** Nobody waits for a status; a burst of changes is looked at once. */
const settleMs = 500;

export interface StatusWritingOptions {
  readonly api: ApiClient;
  readonly view: ClusterView;
  readonly rejected: () => readonly RejectedObject[];
  readonly leaseNamespace: string;
  readonly leaseMs?: number;
  /** Default: of the machine, that is the pod, and something that a restart changes. */
  readonly identity?: string;
  readonly logger: Logger;
}

export class StatusWriting implements Closeable {
  readonly #options: StatusWritingOptions;
  readonly #writer: ConditionWriter;
  readonly #election: LeaderElection;
  #term: { readonly signal: AbortSignal; readonly ended: Promise<void> } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StatusWritingOptions) {
    const { api, leaseNamespace, leaseMs, logger } = options;
    this.#options = options;
    this.#writer = new ConditionWriter(api, { logger });
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

  onChange(): void {
    if (!this.isLeader) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.isLeader) this.#refresh();
    }, settleMs);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#election.close();
    await this.#term?.ended;
  }

  #lead(signal: AbortSignal): void {
    this.#refresh();
    const before = this.#term?.ended ?? Promise.resolve();
    this.#term = { signal, ended: before.then(() => this.#writer.run(signal, writtenKinds)) };
  }

  #refresh(): void {
    const { view, rejected } = this.#options;
    const wishes = statusWishes(view, rejected());
    const wished = new Set(wishes.map(({ target }) => keyOf(target)));
    for (const { target, conditions } of wishes) this.#writer.set(target, conditions);
    // Where nothing is to be said any more, what was said goes.
    for (const target of this.#writer.targets()) if (!wished.has(keyOf(target))) this.#writer.set(target, []);
  }
}

/** Undefined for a directory: nobody reads a status there. */
export function prepareStatusWriting(parts: PlaneScope & MeshParts): StatusWriting | undefined {
  const { api, config, lifecycle, logs, source, translation } = parts;
  if (api === undefined) return undefined;
  const writing = new StatusWriting({
    api,
    view: translation.objects.view(() => {}),
    rejected: () => source.status.rejected,
    leaseNamespace: config.leaseNamespace,
    leaseMs: config.leaseDurationMs,
    logger: logs.scope('status'),
  });
  return lifecycle.own('status of objects', writing);
}

function keyOf({ kind, namespace, name }: { kind: string; namespace: string; name: string }): string {
  return `${kind}/${namespace}/${name}`;
}
