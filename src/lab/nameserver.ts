/** Stands in for the cluster's DNS: a nameserver on each node, by UDP and TCP, which knows services, pods and outside hosts. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import dnsPacket, { type Answer } from 'dns-packet';
import { nativeAddon } from '../native/addon.ts';
import { netnsPath } from './layout.ts';
import type { NameTable } from './name-table.ts';
import type { LabNode } from './node.ts';
import { FrameReader, framed } from './tcp-frames.ts';

export const nameserverPort = 53;
const ttl = 5;
const mostUdpBytes = 1232;
const nameError = 3;
const answerFlags =
  dnsPacket.AUTHORITATIVE_ANSWER | dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE;

interface Listening {
  readonly udp: DatagramSocket;
  readonly tcp: Server;
}

export class LabNameserver {
  readonly #listening: Listening[] = [];
  readonly #connections = new Set<Socket>();
  /** What an asker is told, by its address. */
  readonly #tableFor: (asker: string) => NameTable;

  constructor(tableFor: (asker: string) => NameTable) {
    this.#tableFor = tableFor;
  }

  /** Answers on the node's own address. */
  serve(node: LabNode): void {
    const native = nativeAddon();
    const netnsFd = native.openNetns(netnsPath(node.netns));
    const local = { address: node.address.v4, port: nameserverPort };
    const open = (udp: boolean) =>
      native.openPodSocket(netnsFd, { udp, family: 4, listen: !udp, local, exemptMapFd: -1 }).fd;
    try {
      const udp = createSocket('udp4');
      udp.on('error', () => {});
      udp.on('message', (message, from) => {
        const reply = this.#reply(message, from.address, mostUdpBytes);
        if (reply !== undefined) udp.send(reply, from.port, from.address, () => {});
      });
      udp.bind({ fd: open(true), exclusive: true });
      const tcp = createServer((connection) => this.#converse(connection));
      tcp.on('error', () => {});
      tcp.listen({ fd: open(false), exclusive: true });
      this.#listening.push({ udp, tcp });
    } finally {
      native.closeFd(netnsFd);
    }
  }

  close(): void {
    for (const { udp, tcp } of this.#listening.splice(0)) {
      udp.close();
      tcp.close();
    }
    for (const connection of this.#connections) connection.destroy();
  }

  #converse(connection: Socket): void {
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    const frames = new FrameReader((message) => {
      const reply = this.#reply(message, connection.remoteAddress ?? '', Number.POSITIVE_INFINITY);
      if (reply !== undefined && !connection.destroyed) connection.write(framed(reply));
    });
    connection.on('data', (bytes) => frames.push(bytes));
  }

  #reply(message: Buffer, asker: string, room: number): Buffer | undefined {
    let query: dnsPacket.DecodedPacket;
    try {
      query = dnsPacket.decode(message);
    } catch {
      return undefined;
    }
    const { id = 0, questions = [] } = query;
    const [question] = questions;
    if (question === undefined) return undefined;
    const known = this.#tableFor(asker).get(question.name.toLowerCase());
    const answers = known === undefined ? [] : answersTo(question, known);
    const flags = answerFlags | (known === undefined ? nameError : 0);
    const reply = dnsPacket.encode({ type: 'response', id, flags, questions, answers });
    if (reply.length <= room) return reply;
    return dnsPacket.encode({ type: 'response', id, flags: flags | dnsPacket.TRUNCATED_RESPONSE, questions });
  }
}

function answersTo(
  { name, type }: dnsPacket.Question,
  known: NonNullable<ReturnType<NameTable['get']>>,
): Answer[] {
  if (known.alias !== undefined) return [{ type: 'CNAME', name, ttl, data: known.alias }];
  if (type === 'SRV')
    return known.ports.map(({ target, port }) => ({
      type,
      name,
      ttl,
      data: { priority: 0, weight: 100, port, target },
    }));
  if (type !== 'A' && type !== 'AAAA') return [];
  return known.addresses
    .filter((address) => address.includes(':') === (type === 'AAAA'))
    .map((data) => ({ type, name, ttl, data }));
}
