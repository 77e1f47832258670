/** What the capture of queries looks up: nameservers that pods ask, the agent's resolvers for them, its heartbeat. */
import type { BpfMap } from '../native/types.ts';
import type { CaptureMaps } from './capture-maps.ts';
import { integerBytes, type StructCodec, structCodec } from './codec.ts';
import { DNS_SLOTS, HEARTBEAT_NAMES, HEARTBEAT_ROWS, NAMESERVER_CONFIGURED } from './constants.gen.ts';

export type DnsProtocol = 'udp' | 'tcp';

export interface NameserverSlot {
  /** 0 to DNS_SLOTS - 1 for IPv4, from there on for IPv6. */
  readonly slot: number;
  /** Of the nameserver. */
  readonly address: string;
  /** Whether the pod's configuration names it; else a query did. */
  readonly configured: boolean;
}

export interface ResolverPort {
  readonly podIndex: number;
  readonly slot: number;
  readonly protocol: DnsProtocol;
  readonly port: number;
}

export interface ResolverSocket extends ResolverPort {
  readonly fd: number;
}

interface SlotKey {
  readonly podIndex: number;
  readonly slot: number;
}
interface ResolverKey extends SlotKey {
  readonly protocol: number;
}
interface PortKey {
  readonly podIndex: number;
  readonly port: number;
  readonly protocol: number;
  readonly family: number;
}
interface Nameserver {
  readonly address: string;
  readonly flags: number;
}

const protocolNumbers = { udp: 17, tcp: 6 } as const;

export class DnsCapture {
  readonly #nameservers: BpfMap;
  readonly #resolvers: BpfMap;
  readonly #ports: BpfMap;
  readonly #heartbeat: BpfMap;
  readonly #exempt: BpfMap;
  readonly #slotKey: StructCodec<SlotKey>;
  readonly #nameserver: StructCodec<Nameserver>;
  readonly #resolverKey: StructCodec<ResolverKey>;
  readonly #portKey: StructCodec<PortKey>;

  constructor(maps: CaptureMaps) {
    this.#nameservers = maps.map('nameservers');
    this.#resolvers = maps.map('resolvers');
    this.#ports = maps.map('resolver_ports');
    this.#heartbeat = maps.map('agent_heartbeat');
    this.#exempt = maps.map('exempt');
    this.#slotKey = structCodec<SlotKey>(maps.keyType('nameservers'), ['podIndex', 'slot']);
    this.#nameserver = structCodec<Nameserver>(maps.valueType('nameservers'), ['address', 'flags']);
    this.#resolverKey = structCodec<ResolverKey>(maps.type('hadal_resolver_key'), [
      'podIndex',
      'slot',
      'protocol',
    ]);
    this.#portKey = structCodec<PortKey>(maps.keyType('resolver_ports'), [
      'podIndex',
      'port',
      'protocol',
      'family',
    ]);
  }

  get exemptMapFd(): number {
    return this.#exempt.fd;
  }

  /**
   * The agent is alive, and has judged every row that leads to a pod of this node: without this for
   * HADAL_HEARTBEAT_DIRECT_STALE_MS nothing new goes directly there.
   */
  beat(): void {
    this.beatForNames();
    this.#heartbeat.set(integerBytes(HEARTBEAT_ROWS, 4), integerBytes(process.hrtime.bigint(), 8));
  }

  /** Without this for HADAL_HEARTBEAT_STALE_MS queries go to their nameservers. */
  beatForNames(): void {
    this.#heartbeat.set(integerBytes(HEARTBEAT_NAMES, 4), integerBytes(process.hrtime.bigint(), 8));
  }

  /** No query comes any more, at once. What goes directly needs nobody for a while. */
  stop(): void {
    this.#heartbeat.set(integerBytes(HEARTBEAT_NAMES, 4), integerBytes(0, 8));
  }

  nameserversOf(podIndex: number): NameserverSlot[] {
    const found: NameserverSlot[] = [];
    for (let slot = 0; slot < 2 * DNS_SLOTS; slot++) {
      const value = this.#nameservers.get(this.#slotKey.encode({ podIndex, slot }));
      if (value === undefined) continue;
      const { address, flags } = this.#nameserver.decode(value);
      found.push({ slot, address, configured: (flags & NAMESERVER_CONFIGURED) !== 0 });
    }
    return found;
  }

  /** Of all pods at once: cheaper than asking for each. */
  nameserversByPod(): ReadonlyMap<number, NameserverSlot[]> {
    const found = new Map<number, NameserverSlot[]>();
    for (const [key, value] of this.#nameservers.entries()) {
      const { podIndex, slot } = this.#slotKey.decode(key);
      const { address, flags } = this.#nameserver.decode(value);
      const entry = { slot, address, configured: (flags & NAMESERVER_CONFIGURED) !== 0 };
      const known = found.get(podIndex);
      if (known === undefined) found.set(podIndex, [entry]);
      else known.push(entry);
    }
    return found;
  }

  nameserverAt(podIndex: number, slot: number): string | undefined {
    const value = this.#nameservers.get(this.#slotKey.encode({ podIndex, slot }));
    return value === undefined ? undefined : this.#nameserver.decode(value).address;
  }

  /** Gives slots to nameservers that the pod is configured with; those without room are left out. Returns all slots taken. */
  configure(
    podIndex: number,
    addresses: readonly string[],
    before: readonly NameserverSlot[] = this.nameserversOf(podIndex),
  ): readonly NameserverSlot[] {
    const known = [...before];
    for (const address of addresses) {
      const same = known.find((entry) => entry.address === address);
      if (same?.configured === true) continue;
      const slot = same?.slot ?? freeSlot(known, address);
      if (slot === undefined) continue;
      const value = this.#nameserver.encode({ address, flags: NAMESERVER_CONFIGURED });
      this.#nameservers.set(this.#slotKey.encode({ podIndex, slot }), value);
      if (same === undefined) known.push({ slot, address, configured: true });
    }
    return known;
  }

  /** Queries to the slot's nameserver come to this socket from now on. */
  setResolver({ podIndex, slot, protocol, fd, port }: ResolverSocket): void {
    const number = protocolNumbers[protocol];
    const family = familyOf(slot);
    this.#ports.set(
      this.#portKey.encode({ podIndex, port, protocol: number, family }),
      integerBytes(slot, 4),
    );
    this.#resolvers.setSocket(this.#resolverKey.encode({ podIndex, slot, protocol: number }), fd);
  }

  /** Where the resolvers of an earlier agent listened. */
  ports(): ResolverPort[] {
    return this.#ports.entries().map(([key, value]) => {
      const { podIndex, port, protocol } = this.#portKey.decode(key);
      const slot = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      return { podIndex, slot, port, protocol: protocol === protocolNumbers.udp ? 'udp' : 'tcp' };
    });
  }

  /** Ports at which nobody of ours listens any more would turn a stranger's answers into a nameserver's. */
  removePort({ podIndex, slot, protocol, port }: ResolverPort): void {
    const key = { podIndex, port, protocol: protocolNumbers[protocol], family: familyOf(slot) };
    this.#ports.delete(this.#portKey.encode(key));
  }

  forget(podIndex: number): void {
    for (let slot = 0; slot < 2 * DNS_SLOTS; slot++) {
      this.#nameservers.delete(this.#slotKey.encode({ podIndex, slot }));
      for (const protocol of Object.values(protocolNumbers))
        this.#resolvers.delete(this.#resolverKey.encode({ podIndex, slot, protocol }));
    }
    for (const key of this.#ports.keys())
      if (this.#portKey.decode(key).podIndex === podIndex) this.#ports.delete(key);
  }
}

/** Slots of IPv4 come first. */
export function familyOf(slot: number): 4 | 6 {
  return slot < DNS_SLOTS ? 4 : 6;
}

function freeSlot(known: readonly NameserverSlot[], address: string): number | undefined {
  const first = address.includes(':') ? DNS_SLOTS : 0;
  const taken = new Set(known.map(({ slot }) => slot));
  for (let slot = first; slot < first + DNS_SLOTS; slot++) if (!taken.has(slot)) return slot;
  return undefined;
}
