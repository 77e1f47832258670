/** Two pods whose connections join for turbo by the test's own sockops; no agent and no capture. */
import { join } from 'node:path';
import { packagedObjects } from '../../src/kernel/capture.ts';
import { integerBytes } from '../../src/kernel/codec.ts';
import {
  readTurboCounts,
  type TurboCounts,
  type TurboSwitch,
  turboKernelProblem,
  writeTurboSwitch,
} from '../../src/kernel/turbo.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfMap } from '../../src/native/types.ts';
import { PodWorld, podWorldUnavailable, type SocketHand, type WorldPod } from './pod-world.ts';

export const turboUnavailable: string | undefined = podWorldUnavailable ?? turboKernelProblem();
if (turboUnavailable !== undefined) console.warn(`SKIPPED: tests of turbo: ${turboUnavailable}`);

/** The numbers that the test's sockops gives to client and server. */
const clientPod = 1;
const serverPod = 2;

const objects = process.env.HADAL_TEST_BPF_OBJECTS ?? packagedObjects;

export interface TurboPair {
  readonly client: SocketHand;
  readonly server: SocketHand;
  /** Both ends have this name. */
  readonly name: string;
  readonly port: number;
}

export class TurboWorld extends PodWorld {
  #maps = new Map<string, BpfMap>();
  #detach: () => void = () => {};
  #ends: { client: WorldPod; server: WorldPod } | undefined;
  #hands: { client: SocketHand; server: SocketHand } | undefined;
  #serial = 0;

  static override create(): Promise<TurboWorld> {
    return PodWorld.build(() => new TurboWorld());
  }

  protected override async start(): Promise<void> {
    await super.start();
    const native = nativeAddon();
    const sockops = native.openObject(join(objects, 'test/turbo_sockops.bpf.o'));
    this.onDispose(() => sockops.close());
    sockops.load();
    const turbo = native.openObject(join(objects, 'turbo.bpf.o'));
    this.onDispose(() => turbo.close());
    for (const name of turbo.mapNames.filter((each) => !each.includes('.')))
      turbo.reuseMap(name, sockops.map(name));
    turbo.load();
    for (const name of sockops.mapNames.filter((each) => !each.includes('.')))
      this.#maps.set(name, sockops.map(name));
    const links = [
      turbo.program('hadal_turbo').attachSockMap(this.map('turbo_sockets')),
      sockops.program('join_all').attachCgroup(this.cgroup),
    ];
    this.#detach = () => {
      for (const link of links.splice(0)) link.close();
    };
    this.onDispose(() => this.#detach());
    for (const pod of [clientPod, serverPod]) this.admit(pod);
    this.turn('on');
    const ends = { client: this.addPod('client'), server: this.addPod('server') };
    this.#ends = ends;
    this.#hands = { client: this.hand(ends.client), server: this.hand(ends.server) };
  }

  get ends(): { readonly client: WorldPod; readonly server: WorldPod } {
    if (this.#ends === undefined) throw new Error('the world has not started');
    return this.#ends;
  }

  map(name: string): BpfMap {
    const found = this.#maps.get(name);
    if (found === undefined) throw new Error(`no map ${name}`);
    return found;
  }

  turn(to: TurboSwitch): void {
    writeTurboSwitch(this.map('turbo_switch'), to);
  }

  admit(pod: number): void {
    this.map('turbo_pods').set(integerBytes(pod, 4), integerBytes(1, 4));
  }

  dismiss(pod: number): void {
    this.map('turbo_pods').delete(integerBytes(pod, 4));
  }

  counts(): TurboCounts {
    return readTurboCounts(this.map('turbo_counts'));
  }

  /** What of the counts has grown while `during` ran. */
  async grown(during: () => Promise<void>): Promise<Partial<TurboCounts>> {
    const before = this.counts();
    await during();
    const after = this.counts();
    const names = Object.keys(after) as (keyof TurboCounts)[];
    return Object.fromEntries(
      names.map((name) => [name, after[name] - before[name]] as const).filter(([, by]) => by !== 0),
    );
  }

  /** How many connections the kernel has in its table. */
  get pairs(): number {
    return this.map('turbo_pairs').keys().length;
  }

  /** As when the process that loaded the programs has gone. */
  detach(): void {
    this.#detach();
  }

  /** A connection of its own, over which nothing has gone. */
  async connect({ family = 4, mptcpServer = false, mptcpClient = false } = {}): Promise<TurboPair> {
    if (this.#hands === undefined) throw new Error('the world has not started');
    const { client, server } = this.#hands;
    const serial = ++this.#serial;
    const name = `c${serial}`;
    const port = 20_000 + serial;
    const { ipv4, ipv6 } = this.ends.server;
    const to = [family === 6 ? ipv6 : ipv4, port];
    await must(server.do('listen', { name: `l${serial}`, at: to, mptcp: mptcpServer }));
    const accepted = server.do('accept', { name, of: `l${serial}` });
    await must(client.do('connect', { name, to, mptcp: mptcpClient }));
    await must(accepted);
    return { client, server, name, port };
  }

  /** The same, over which bytes go past TCP in both directions: the first went by TCP, and were acknowledged. */
  async warm(options: { family?: 4 | 6 } = {}): Promise<TurboPair> {
    const pair = await this.connect(options);
    await this.push(pair, 'client');
    await this.push(pair, 'server');
    return pair;
  }

  /** Single bytes from one end, until one of them went past TCP. Fails when none does. */
  async push({ client, server, name }: TurboPair, from: 'client' | 'server', patience = 40): Promise<void> {
    const [sender, receiver] = from === 'client' ? [client, server] : [server, client];
    const before = this.counts().redirected;
    for (let attempt = 0; attempt < patience; attempt++) {
      await must(sender.do('send', { name, bytes: 1 }));
      await must(receiver.do('receive', { name, bytes: 1 }));
      if (this.counts().redirected > before) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`nothing from the ${from} went past TCP: ${JSON.stringify(this.counts())}`);
  }

  async close({ client, server, name }: TurboPair): Promise<void> {
    await client.do('close', { name });
    await server.do('close', { name });
  }
}

/** Fails where a call failed. */
export async function must<T extends { ok: boolean }>(answer: Promise<T>): Promise<T> {
  const found = await answer;
  if (!found.ok) throw new Error(`the call failed: ${JSON.stringify(found)}`);
  return found;
}
