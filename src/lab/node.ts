/** A node of the lab: a router namespace with a kubelet's and a system's cgroup, and an agent when the lab has them. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import type { DualAddress } from './address-plan.ts';
import type { AgentProcess } from './agent-process.ts';
import { createCgroup } from './cgroup.ts';
import { type CommandOptions, type CommandResult, capture } from './command.ts';
import type { NodeLayout } from './layout.ts';
import { createRouterNetns, type NodeLink } from './network.ts';
import { placed, spawnPlaced } from './process.ts';

export type NodeCgroup = 'kubelet' | 'system';

export interface NodeExecOptions extends CommandOptions {
  /** Probes of a kubelet run in its cgroup; everything else of the host in `system`, the default. */
  readonly cgroup?: NodeCgroup;
}

export class LabNode {
  readonly name: string;
  readonly number: number;
  readonly layout: NodeLayout;
  readonly link: NodeLink;
  /** Indexes of addresses and interfaces in use, by pod key. */
  readonly podIndexes = new Map<string, number>();
  /** Absent in a lab without agents. */
  agent: AgentProcess | undefined;

  constructor(name: string, number: number, layout: NodeLayout, link: NodeLink) {
    this.name = name;
    this.number = number;
    this.layout = layout;
    this.link = link;
  }

  get netns(): string {
    return this.layout.netns;
  }
  get address(): DualAddress {
    return this.link.address;
  }

  async create(): Promise<void> {
    createCgroup(this.layout.kubeletCgroup);
    createCgroup(this.layout.systemCgroup);
    mkdirSync(this.layout.directory, { recursive: true });
    await createRouterNetns(this.netns);
  }

  /** Runs a program of the host to its end, as root. */
  exec(argv: readonly string[], options: NodeExecOptions = {}): Promise<CommandResult> {
    return capture(placed(this.#place(options.cgroup), argv), options);
  }

  spawn(
    argv: readonly string[],
    options: { cgroup?: NodeCgroup; env?: NodeJS.ProcessEnv } = {},
  ): ChildProcess {
    return spawnPlaced(this.#place(options.cgroup), argv, { env: { ...process.env, ...options.env } });
  }

  #place(cgroup: NodeCgroup = 'system') {
    return {
      netns: this.netns,
      cgroup: cgroup === 'kubelet' ? this.layout.kubeletCgroup : this.layout.systemCgroup,
    };
  }
}
