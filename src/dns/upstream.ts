/**
 * Passes queries on to the nameserver that the pod asked, from the pod's own namespace and address. Each query has a socket of
 * its own, so a random port, and a random id; only an answer from there, with that id and this question, counts.
 */
import { randomInt } from 'node:crypto';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { Socket } from 'node:net';
import { HadalError } from '../base/errors.ts';
import { DNS_PORT } from '../kernel/constants.gen.ts';
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { NativeNet } from '../native/types.ts';
import { headerBytes, type Question, readQuestion, responseCodes } from './query.ts';
import { FrameReader, framed } from './tcp-frames.ts';

export interface UpstreamOptions {
  readonly native: Pick<NativeNet, 'openPodSocket'>;
  readonly netnsFd: number;
  readonly exemptMapFd: number;
  readonly timeoutMs: number;
  /** Queries on their way at a time. */
  readonly limit: number;
}

export interface UpstreamAsk {
  /** The whole message; its id is replaced. */
  readonly message: Buffer;
  readonly question: Question;
  readonly nameserver: string;
  readonly protocol: DnsProtocol;
}

export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #open = new Set<(error: Error) => void>();
  #isClosed = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** The nameserver's answer under the asker's own id. */
  async ask(ask: UpstreamAsk): Promise<Buffer> {
    if (this.#isClosed || this.#open.size >= this.#options.limit)
      throw new HadalError(
        'ERR_DNS_BUSY',
        `${this.#open.size} queries of the pod wait for their nameservers; ${this.#options.limit} may`,
      );
    const id = randomInt(0x1_0000);
    const message = Buffer.from(ask.message);
    message.writeUInt16BE(id, 0);
    const answer = await (ask.protocol === 'udp'
      ? this.#byUdp(ask, message, id)
      : this.#byTcp(ask, message, id));
    ask.message.copy(answer, 0, 0, 2);
    return answer;
  }

  close(): void {
    this.#isClosed = true;
    const error = new HadalError('ERR_DNS_CLOSED', 'the pod is gone, or the agent ends');
    for (const fail of this.#open) fail(error);
  }

  #byUdp({ nameserver, question }: UpstreamAsk, message: Buffer, id: number): Promise<Buffer> {
    const family = nameserver.includes(':') ? 6 : 4;
    const { native, netnsFd, exemptMapFd } = this.#options;
    const { fd } = native.openPodSocket(netnsFd, { udp: true, family, exemptMapFd });
    const socket: DatagramSocket = createSocket(family === 6 ? 'udp6' : 'udp4');
    return this.#wait(
      nameserver,
      () => socket.close(),
      (done, fail) => {
        socket.on('error', fail);
        socket.on('message', (bytes) => {
          if (isAnswerTo(bytes, id, question)) done(bytes);
        });
        socket.bind({ fd, exclusive: true });
        // Connected: the kernel drops what others send, and tells when nobody listens there.
        socket.connect(DNS_PORT, nameserver, () => socket.send(message));
      },
    );
  }

  #byTcp({ nameserver, question }: UpstreamAsk, message: Buffer, id: number): Promise<Buffer> {
    const { native, netnsFd, exemptMapFd } = this.#options;
    const { fd } = native.openPodSocket(netnsFd, {
      udp: false,
      family: nameserver.includes(':') ? 6 : 4,
      remote: { address: nameserver, port: DNS_PORT },
      exemptMapFd,
    });
    const socket = new Socket({ fd });
    return this.#wait(
      nameserver,
      () => socket.destroy(),
      (done, fail) => {
        const frames = new FrameReader((bytes) => {
          if (isAnswerTo(bytes, id, question)) done(bytes);
        });
        socket.on('error', fail);
        socket.on('close', () =>
          fail(new HadalError('ERR_DNS_UPSTREAM', `${nameserver} closed the connection`)),
        );
        socket.on('data', (bytes) => frames.push(bytes));
        socket.write(framed(message));
      },
    );
  }

  #wait(
    nameserver: string,
    close: () => void,
    begin: (done: (answer: Buffer) => void, fail: (error: Error) => void) => void,
  ): Promise<Buffer> {
    const { timeoutMs } = this.#options;
    return new Promise<Buffer>((resolve, reject) => {
      let isOver = false;
      const end = (settle: () => void) => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        this.#open.delete(fail);
        close();
        settle();
      };
      const fail = (error: Error) => end(() => reject(error));
      const late = () =>
        fail(new HadalError('ERR_DNS_TIMEOUT', `${nameserver} did not answer within ${timeoutMs} ms`));
      const timer = setTimeout(late, timeoutMs);
      timer.unref();
      this.#open.add(fail);
      try {
        begin((answer) => end(() => resolve(answer)), fail);
      } catch (caught) {
        fail(HadalError.from(caught, 'ERR_DNS_UPSTREAM', `asking ${nameserver}`));
      }
    });
  }
}

/** A server that does not understand the question may leave it out. */
export function isAnswerTo(bytes: Buffer, id: number, asked: Question): boolean {
  if (bytes.length < headerBytes || bytes.readUInt16BE(0) !== id) return false;
  const flags = bytes.readUInt16BE(2);
  if ((flags & 0x8000) === 0) return false;
  const code = flags & 15;
  const questions = bytes.readUInt16BE(4);
  if (questions === 0) return code === responseCodes.FORMERR || code === responseCodes.NOTIMP;
  const answered = questions === 1 ? readQuestion(bytes) : undefined;
  return (
    answered !== undefined &&
    answered.type === asked.type &&
    answered.class === asked.class &&
    answered.labels.length === asked.labels.length &&
    answered.labels.every((label, index) => label === asked.labels[index])
  );
}
