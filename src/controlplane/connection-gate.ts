/**
 * Who may hold a connection to the port for agents. A connection is a stranger's until a call on it has shown a token that holds:
 * then it is a guest's (a pod that asks for its own certificate) or an agent's. Each of the three has room of its own, so nobody
 * takes that of agents without being one; and a stranger has seconds. Bytes of HTTP/2 are not looked at here.
 */
import type { Socket } from 'node:net';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { addressOf, type Caller } from '../identity/caller.ts';
import { RateLimit } from '../identity/rate-limit.ts';
import { type ConnectionLimits, defaultConnectionLimits } from './connection-limits.ts';

export const standings = ['stranger', 'guest', 'agent'] as const;
export type Standing = (typeof standings)[number];

/** Why a connection was refused or ended: too many of its address, too fast, no room, no token in time. */
export const connectionRefusals = ['address', 'rate', 'full', 'silent'] as const;
export type ConnectionRefusal = (typeof connectionRefusals)[number];

export interface ConnectionCounts {
  readonly open: Readonly<Record<Standing, number>>;
  readonly refused: Readonly<Record<ConnectionRefusal, number>>;
}

interface Connection {
  readonly socket: Socket;
  readonly address: string;
  readonly openedAt: number;
  standing: Standing;
  timer: NodeJS.Timeout | undefined;
}

/** By address, in the order in which they came. */
type Crowd = Map<string, Set<Connection>>;

export interface ConnectionGateOptions {
  readonly limits?: Partial<ConnectionLimits>;
  readonly logger: Logger;
}

export class ConnectionGate implements Closeable {
  readonly #limits: ConnectionLimits;
  readonly #logger: Logger;
  /** By remote address and port, as gRPC names the peer of a call. */
  readonly #byPeer = new Map<string, Connection>();
  readonly #ofAddress = new Map<string, number>();
  readonly #crowds: Readonly<Record<Standing, Crowd>> = {
    stranger: new Map(),
    guest: new Map(),
    agent: new Map(),
  };
  readonly #open: Record<Standing, number> = { stranger: 0, guest: 0, agent: 0 };
  readonly #refused: Record<ConnectionRefusal, number> = { address: 0, rate: 0, full: 0, silent: 0 };
  readonly #arrivals: RateLimit;
  readonly #newcomers: RateLimit;
  /** Where agents have come from; those that were quiet longest are forgotten. */
  readonly #homes = new Set<string>();
  /** Whoever dials without end must not fill the log with it. */
  readonly #lines = new RateLimit({ perSecond: 0.1, burst: 1, maxNames: 1_000 });
  readonly #allLines = new RateLimit({ perSecond: 1, burst: 10 });
  #untold = 0;

  constructor({ limits, logger }: ConnectionGateOptions) {
    this.#limits = Object.freeze({ ...defaultConnectionLimits, ...limits });
    this.#logger = logger;
    const { perAddress, newcomerBurst, newcomersPerSecond } = this.#limits;
    this.#arrivals = new RateLimit({ burst: 2 * perAddress, perSecond: perAddress / 4 });
    this.#newcomers = new RateLimit({ burst: newcomerBurst, perSecond: newcomersPerSecond });
  }

  counts(): ConnectionCounts {
    return { open: { ...this.#open }, refused: { ...this.#refused } };
  }

  /** Takes a new connection in, or ends it: then nothing may be done with it. */
  admit(socket: Socket): boolean {
    const { remoteAddress, remotePort } = socket;
    // One that has gone already has no address any more.
    if (remoteAddress === undefined) return refuse(socket);
    const peer = `${remoteAddress}:${remotePort}`;
    const address = addressOf(peer);
    const connection: Connection = {
      socket,
      address,
      openedAt: performance.now(),
      standing: 'stranger',
      timer: undefined,
    };
    const why = this.#makePlace(connection, peer);
    if (why !== undefined) {
      this.#count(address, why);
      return refuse(socket);
    }
    this.#byPeer.set(peer, connection);
    this.#ofAddress.set(address, (this.#ofAddress.get(address) ?? 0) + 1);
    this.#join(connection, 'stranger');
    this.#giveTime(connection, this.#limits.strangerMs);
    socket.once('close', () => this.#forget(peer, connection));
    return true;
  }

  /** A call of this peer has shown who it is. */
  recognise(peer: string, { isAgent }: Pick<Caller, 'isAgent'>): void {
    const connection = this.#byPeer.get(peer);
    if (connection === undefined) return;
    const standing = isAgent ? 'agent' : 'guest';
    if (isAgent) this.#remember(connection.address);
    if (standing === 'agent') this.#giveTime(connection, undefined);
    else if (connection.standing !== 'agent') this.#giveTime(connection, this.#limits.guestMs);
    if (standings.indexOf(standing) <= standings.indexOf(connection.standing)) return;
    if (this.#open[standing] >= this.#limits[roomOf[standing]] && !this.#makeRoom(standing)) {
      this.#end(connection, 'full');
      return;
    }
    this.#leave(connection);
    this.#join(connection, standing);
  }

  close(): void {
    for (const { socket } of [...this.#byPeer.values()]) socket.destroy();
  }

  /** Why there is no place for a new one; undefined once there is. */
  #makePlace({ address }: Connection, peer: string): ConnectionRefusal | undefined {
    if (!this.#arrivals.take(address)) return 'rate';
    if (!this.#homes.has(address) && !this.#newcomers.take('')) return 'rate';
    // The same port of the same address, to another of our addresses: whose call it is could not be told.
    if (this.#byPeer.has(peer)) return 'address';
    if ((this.#ofAddress.get(address) ?? 0) >= this.#limits.perAddress) {
      // An agent may share its address with somebody who only dials: the newest has its chance.
      const [oldest] = this.#crowds.stranger.get(address) ?? [];
      if (oldest === undefined) return 'address';
      this.#end(oldest, 'address');
    }
    const isFull = this.#open.stranger >= this.#limits.strangers;
    // Where agents live the next one is an agent too: for it any stranger has had time enough.
    const promptMs = this.#homes.has(address) ? 0 : this.#limits.promptMs;
    return isFull && !this.#makeRoom('stranger', promptMs) ? 'full' : undefined;
  }

  /**
   * Ends one of this standing: the oldest of the address that has most of them, if those are more than anybody needs, else the
   * oldest of all, if it had the time that an agent needs. So a crowd from few addresses takes from itself.
   */
  #makeRoom(standing: Standing, promptMs = this.#limits.promptMs): boolean {
    if (standing === 'agent') return false;
    let most: Set<Connection> = new Set();
    let oldest: Connection | undefined;
    for (const crowd of this.#crowds[standing].values()) {
      if (crowd.size > most.size) most = crowd;
      const [first] = crowd;
      if (first !== undefined && first.openedAt < (oldest?.openedAt ?? Number.POSITIVE_INFINITY))
        oldest = first;
    }
    const { crowd } = this.#limits;
    const isSlow = oldest !== undefined && performance.now() - oldest.openedAt > promptMs;
    const [victim] = most.size > crowd ? most : isSlow ? [oldest] : [];
    if (victim === undefined) return false;
    this.#end(victim, 'full');
    return true;
  }

  #remember(address: string): void {
    this.#homes.delete(address);
    this.#homes.add(address);
    for (const oldest of this.#homes) {
      if (this.#homes.size <= this.#limits.agents) break;
      this.#homes.delete(oldest);
    }
  }

  #giveTime(connection: Connection, ms: number | undefined): void {
    clearTimeout(connection.timer);
    connection.timer = undefined;
    if (ms === undefined) return;
    connection.timer = setTimeout(() => this.#end(connection, 'silent'), ms);
    connection.timer.unref();
  }

  #end(connection: Connection, why: ConnectionRefusal): void {
    // A guest that has nothing more to ask has done no wrong.
    if (why !== 'silent' || connection.standing === 'stranger') this.#count(connection.address, why);
    // Its place is free now, not when the socket has closed.
    this.#leave(connection);
    refuse(connection.socket);
  }

  #count(address: string, reason: ConnectionRefusal): void {
    this.#refused[reason] += 1;
    this.#untold += 1;
    if (!this.#lines.take(address) || !this.#allLines.take('')) return;
    const [refused, wording] = [this.#untold, refusalText[reason]];
    this.#untold = 0;
    this.#logger.warn({ audit: true, address, reason, refused }, wording);
  }

  #join(connection: Connection, standing: Standing): void {
    connection.standing = standing;
    this.#open[standing] += 1;
    const crowd = this.#crowds[standing].get(connection.address);
    if (crowd === undefined) this.#crowds[standing].set(connection.address, new Set([connection]));
    else crowd.add(connection);
  }

  #leave(connection: Connection): void {
    const crowds = this.#crowds[connection.standing];
    const crowd = crowds.get(connection.address);
    if (crowd?.delete(connection) !== true) return;
    this.#open[connection.standing] -= 1;
    if (crowd.size === 0) crowds.delete(connection.address);
  }

  #forget(peer: string, connection: Connection): void {
    clearTimeout(connection.timer);
    this.#leave(connection);
    this.#byPeer.delete(peer);
    const left = (this.#ofAddress.get(connection.address) ?? 1) - 1;
    if (left === 0) this.#ofAddress.delete(connection.address);
    else this.#ofAddress.set(connection.address, left);
  }
}

const roomOf = { stranger: 'strangers', guest: 'guests', agent: 'agents' } as const;

const refusalText: Readonly<Record<ConnectionRefusal, string>> = {
  address:
    'an address has more connections to the port for agents than it may; raise HADAL_MAX_CONNECTIONS_PER_ADDRESS if agents share it',
  rate: 'connections to the port for agents are opened faster than they may, by an address or by all where no agent was seen; raise HADAL_MAX_CONNECTIONS_PER_ADDRESS if agents share one',
  full: 'there is no room for more connections to the port for agents; raise HADAL_MAX_CONNECTIONS if they are agents',
  silent: 'a connection to the port for agents has shown no token in time',
};

/** With a reset: the state of an ended connection would stay in this kernel for a minute, for each of them. */
function refuse(socket: Socket): false {
  socket.on('error', () => {});
  socket.resetAndDestroy();
  return false;
}
