import type { Slices } from '../base/slices.ts';
import type { PodSocket, PodSockets } from '../kernel/sockets.ts';

/** Ended with one walk through the sockets: 10 us each, and the walk, which takes 7 ms where the pod has 10,000. */
const most = 512;

/** Those of one kind differ in the client's port alone; one is enough for the log. */
interface Kind {
  readonly socket: PodSocket;
  readonly reason: number;
  readonly count: number;
}

/** Sockets of one namespace that are to be ended, some at a time. */
export class DoomedSockets {
  readonly #sockets: Pick<PodSockets, 'destroy'>;
  readonly #netnsFd: number;
  readonly #cookies: bigint[] = [];
  readonly #kinds = new Map<string, Kind>();

  constructor(sockets: Pick<PodSockets, 'destroy'>, netnsFd: number) {
    this.#sockets = sockets;
    this.#netnsFd = netnsFd;
  }

  add(socket: PodSocket, reason: number): void {
    this.#cookies.push(socket.cookie);
    const { localAddress, remoteAddress, localPort, remotePort } = socket;
    const port = Math.min(localPort, remotePort);
    const key = `${localAddress} ${remoteAddress} ${port} ${reason}`;
    const before = this.#kinds.get(key);
    this.#kinds.set(key, { socket, reason, count: (before?.count ?? 0) + 1 });
  }

  kinds(): Iterable<Kind> {
    return this.#kinds.values();
  }

  /** Resolves with how many there still were. */
  async destroy(slices: Slices): Promise<number> {
    let destroyed = 0;
    while (this.#cookies.length > 0) {
      destroyed += this.#sockets.destroy(this.#netnsFd, this.#cookies.splice(-most));
      await slices.yield();
    }
    return destroyed;
  }
}
