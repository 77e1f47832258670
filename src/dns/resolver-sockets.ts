/** The agent's sockets on a pod's loopback for one nameserver: UDP and TCP. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { NativeNet } from '../native/types.ts';
import { FrameReader, framed } from './tcp-frames.ts';

/** Undefined: say nothing. Never rejects. */
export type AnswerMessage = (message: Buffer, protocol: DnsProtocol) => Promise<Buffer | undefined>;

export interface ResolverSocketsOptions {
  readonly native: Pick<NativeNet, 'openPodSocket'>;
  readonly netnsFd: number;
  readonly family: 4 | 6;
  readonly exemptMapFd: number;
  /** Ports of an earlier agent: clients that are connected to them need not notice. */
  readonly wantedPorts: Readonly<Partial<Record<DnsProtocol, number>>>;
  /** Called before a socket is read. */
  readonly onOpen: (protocol: DnsProtocol, fd: number, port: number) => void;
  readonly answer: AnswerMessage;
}

const idleMs = 5_000;
const mostConnections = 64;
/** Of one connection; further queries wait unread. */
const mostPipelined = 32;
const mostUnread = 512 * 1024;

export class ResolverSockets {
  readonly #answer: AnswerMessage;
  readonly #udp: DatagramSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #isClosed = false;

  constructor(options: ResolverSocketsOptions) {
    this.#answer = options.answer;
    this.#udp = createSocket(options.family === 6 ? 'udp6' : 'udp4');
    this.#tcp = createServer((connection) => this.#serve(connection));
    this.#tcp.maxConnections = mostConnections;
    // Nobody could do more about it: the kernel takes the socket out, and queries go to their nameservers.
    this.#udp.on('error', () => {});
    this.#tcp.on('error', () => {});
    this.#udp.on('message', (message, from) => this.#onDatagram(message, from.port, from.address));
    try {
      this.#udp.bind({ fd: open(options, 'udp'), exclusive: true });
      this.#tcp.listen({ fd: open(options, 'tcp'), exclusive: true });
    } catch (error) {
      this.close();
      throw error;
    }
    this.#udp.unref();
    this.#tcp.unref();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.#udp.close();
    } catch {
      // It was never opened.
    }
    this.#tcp.close();
    for (const connection of this.#connections) connection.destroy();
  }

  async #onDatagram(message: Buffer, port: number, address: string): Promise<void> {
    const reply = await this.#answer(message, 'udp');
    if (reply === undefined || this.#isClosed) return;
    this.#udp.send(reply, port, address, () => {}); // a client that is gone is no error of ours
  }

  #serve(connection: Socket): void {
    let waiting = 0;
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    connection.setTimeout(idleMs, () => {
      if (waiting === 0) connection.destroy();
    });
    const frames = new FrameReader((message) => {
      waiting++;
      if (waiting >= mostPipelined) connection.pause();
      void this.#answer(message, 'tcp').then((reply) => {
        waiting--;
        connection.resume();
        if (reply === undefined || connection.destroyed) return;
        connection.write(framed(reply));
        // It asks and does not read.
        if (connection.writableLength > mostUnread) connection.destroy();
      });
    });
    connection.on('data', (bytes) => frames.push(bytes));
  }
}

function open(options: ResolverSocketsOptions, protocol: DnsProtocol): number {
  const { native, netnsFd, family, exemptMapFd, wantedPorts } = options;
  const udp = protocol === 'udp';
  const openAt = (port: number) =>
    native.openPodSocket(netnsFd, {
      udp,
      family,
      exemptMapFd,
      listen: !udp,
      local: { address: family === 6 ? '::1' : '127.0.0.1', port },
    });
  const wanted = wantedPorts[protocol] ?? 0;
  const opened =
    wanted === 0
      ? openAt(0)
      : orElse(
          () => openAt(wanted),
          () => openAt(0),
        );
  options.onOpen(protocol, opened.fd, opened.port);
  return opened.fd;
}

/** Somebody in the pod took the port while no agent ran. */
function orElse<T>(first: () => T, second: () => T): T {
  try {
    return first();
  } catch {
    return second();
  }
}
