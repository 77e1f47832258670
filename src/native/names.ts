/** The part of the boundary between TypeScript and native that is about names; `types.ts` has the rest. */

export interface NameServiceSettings {
  /** See `TunnelSettings.exemptMapFd`. */
  readonly exemptMapFd: number;
  readonly upstreamTimeoutMs: number;
}

/** What waits for TypeScript: a query of a pod, or what came of a question that TypeScript had passed on for one. */
export interface AskedName {
  readonly kind: 'query' | 'answer' | 'failure';
  /** Of the query. Each is decided on once. */
  readonly id: number;
  readonly podIndex: number;
  /** These two of a query only. */
  readonly slot: number;
  readonly protocol: 'udp' | 'tcp';
  /** The query, the nameserver's answer, or in words why there is none. */
  readonly message: Buffer;
}

/**
 * One native thread that serves the sockets of all pods for names, and asks nameservers. What has been decided once with `keep`
 * it repeats by itself, for the same bytes from the same pod, until `forgetAnswers`. What is not decided waits here: of each
 * pod a bounded number, in turns by the time that TypeScript has spent on each; behind it the pod's sockets are not read.
 */
export interface NameService {
  /** `netnsFd` is duplicated. */
  addPod(podIndex: number, netnsFd: number): void;
  /** Closes its sockets. */
  removePod(podIndex: number): void;
  /** Both descriptors are the service's from now on. */
  serve(podIndex: number, slot: number, udpFd: number, tcpFd: number): void;
  /** Whom the pod means at this slot. */
  setNameserver(podIndex: number, slot: number, address: string): void;
  /** Under which queries are counted that are dropped unread. */
  setLabels(podIndex: number, labels: number): void;
  /** 0: those of all pods. */
  forgetAnswers(podIndex: number): void;
  /** `spentMicroseconds`: what the one taken before has cost. Undefined: nothing waits, the listener is called for the next. */
  take(spentMicroseconds: number): AskedName | undefined;
  /** `addresses`: offsets in the message, of `addressBytes` each, whose order varies from answer to answer. */
  answer(
    query: number,
    message: Uint8Array,
    labels: number,
    keep: boolean,
    addressBytes: number,
    addresses: readonly number[],
  ): void;
  /** Its nameserver answers; when it does not, `failure` is said. */
  forward(query: number, failure: Uint8Array, labels: number, keep: boolean): void;
  /** Asks the query's nameserver something else; what comes of it is taken later, under the same id. */
  ask(query: number, message: Uint8Array, labels: number): void;
  drop(query: number): void;
  /** Rows of twelve: labels, requests, upstream requests, failures, seconds, then answers within 0.5, 1, 10, 100 ms, 1, 5 s, later. */
  answers(): Float64Array;
  /** Rows of four: labels, queries beyond the pod's share of time, beyond its rate, too late. */
  drops(): Float64Array;
  close(): void;
}

export interface NativeNames {
  createNameService(settings: NameServiceSettings, onAsked: () => void): NameService;
}
