/** The TCP sockets of one pod's network namespace, and how to end some of them. */
import { reasons } from '../model/reasons.gen.ts';
import type { BpfLink, BpfMap, BpfObject, NativeNet } from '../native/types.ts';
import { integerBytes, type StructCodec, structCodec } from './codec.ts';
import { SOCKET_CAPTURED, SOCKET_DIRECT, SOCKET_EXEMPT, SOCKET_TRACKED } from './constants.gen.ts';

interface RawSocket {
  readonly cookie: bigint;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly flags: number;
  readonly mark: number;
  readonly state: number;
}

export interface PodSocket {
  readonly cookie: bigint;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly state: number;
  /**
   * What the capture knows of it: `direct` the kernel carries between two pods of this node, `untouched` it left alone, `agent` is the agent's own, `captured` carries the mark (the
   * application's end of a carried connection); `older` it has never seen: older than the enrolment, or loopback.
   */
  readonly seenAs: 'direct' | 'untouched' | 'agent' | 'captured' | 'older';
}

/** As many as a namespace has may take longer to decode than others can wait: one at a time. */
export interface SocketList {
  readonly length: number;
  at(index: number): PodSocket;
}

export class PodSockets {
  readonly #native: NativeNet;
  readonly #codec: StructCodec<RawSocket>;
  readonly #list: BpfLink;
  readonly #destroy: BpfLink | undefined;
  readonly #doomed: BpfMap | undefined;

  constructor(native: NativeNet, iterators: BpfObject, destroyer: BpfObject | undefined) {
    this.#native = native;
    this.#codec = structCodec<RawSocket>(iterators.type('hadal_socket_record'), [
      'cookie',
      'localAddress',
      'remoteAddress',
      'localPort',
      'remotePort',
      'flags',
      'mark',
      'state',
    ]);
    this.#list = iterators.program('hadal_tcp_sockets').attachIterator();
    this.#destroy = destroyer?.program('hadal_destroy').attachIterator();
    this.#doomed = destroyer?.map('doomed');
  }

  /** `bpf_sock_destroy` (6.5), or the slower `SOCK_DESTROY` of inet_diag. */
  get destroysBy(): 'bpf_sock_destroy' | 'SOCK_DESTROY' {
    return this.#destroy === undefined ? 'SOCK_DESTROY' : 'bpf_sock_destroy';
  }

  /** All connections of the namespace; listening, closed and TIME_WAIT sockets are left out. */
  list(netnsFd: number): PodSocket[] {
    const sockets = this.read(netnsFd);
    return Array.from({ length: sockets.length }, (_, index) => sockets.at(index));
  }

  /** The same, read now and decoded when asked for. */
  read(netnsFd: number): SocketList {
    const records = this.#list.readIterator({ netnsFd });
    return {
      length: Math.floor(records.byteLength / this.#codec.size),
      at: (index) => {
        const { flags, mark: _mark, ...socket } = this.#codec.decode(records, index * this.#codec.size);
        return { ...socket, seenAs: seenAs(flags) };
      },
    };
  }

  /**
   * Ends the connections with these cookies; their owners see ECONNABORTED, their peers RST. Returns how many there were. Flow
   * records tell the reason, where the kernel has bpf_sock_destroy.
   */
  destroy(netnsFd: number, cookies: readonly bigint[], reason: number = reasons.NONE): number {
    if (cookies.length === 0) return 0;
    return this.#destroy === undefined || this.#doomed === undefined
      ? this.#destroyByDiag(netnsFd, new Set(cookies))
      : this.#destroyByIterator(netnsFd, cookies, reason, { link: this.#destroy, doomed: this.#doomed });
  }

  close(): void {
    this.#list.close();
    this.#destroy?.close();
  }

  #destroyByIterator(
    netnsFd: number,
    cookies: readonly bigint[],
    reason: number,
    { link, doomed }: { readonly link: BpfLink; readonly doomed: BpfMap },
  ): number {
    const keys = cookies.map((cookie) => integerBytes(cookie, 8));
    for (const key of keys) doomed.set(key, integerBytes(reason, 4));
    try {
      return link.readIterator({ netnsFd }).byteLength / 8;
    } finally {
      for (const key of keys) doomed.delete(key);
    }
  }

  #destroyByDiag(netnsFd: number, cookies: ReadonlySet<bigint>): number {
    const found = this.#native.tcpSockets(netnsFd).filter(({ cookie }) => cookies.has(cookie));
    return found.filter((socket) => this.#native.destroyTcpSocket(netnsFd, socket)).length;
  }
}

function seenAs(flags: number): PodSocket['seenAs'] {
  if (flags & SOCKET_EXEMPT) return 'agent';
  if (flags & SOCKET_CAPTURED) return 'captured';
  if (flags & SOCKET_DIRECT) return 'direct';
  return flags & SOCKET_TRACKED ? 'untouched' : 'older';
}
