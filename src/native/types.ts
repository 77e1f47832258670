/**
 * The whole boundary between TypeScript and the native addon. What is not declared here does not cross.
 *
 * Plain data and file descriptors go in; handles, questions, flow records and counters come out. TypeScript
 * validates with good messages, native re-checks cheaply. Every handle is closeable, safe after close, type-tagged,
 * and never keeps the process alive by itself. Addresses are text (`10.0.0.1`, `fd00::1`), ports host order.
 *
 * Errors are thrown as `Error` with `code` (`ERR_BPF_LOAD`, `ERR_NETNS`, ...), `errno` (number, when the kernel gave one),
 * `syscall` and, for a refused BPF program, `verifierLog`.
 */
import type { NativeNames } from './names.ts';
import type { NativePackets } from './packets.ts';
import type { InboundKey, InboundRow, OutboundKey, OutboundRow, TunnelQuestion } from './rows.ts';

// ------------------------------------------------------------------------------------------------ libbpf

/** One type of a BPF object, as its BTF describes it; sizes and offsets in bytes, bit fields in bits. */
export type BtfType =
  | {
      readonly kind: 'int';
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly bool: boolean;
    }
  | {
      readonly kind: 'enum';
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly values: Readonly<Record<string, number>>;
    }
  | { readonly kind: 'array'; readonly size: number; readonly length: number; readonly element: BtfType }
  | {
      readonly kind: 'struct' | 'union';
      readonly name: string;
      readonly size: number;
      readonly members: readonly BtfMember[];
    }
  | { readonly kind: 'opaque'; readonly name: string; readonly size: number };

export interface BtfMember {
  /** '' for an anonymous struct or union, whose own members are meant. */
  readonly name: string;
  /** In bytes; of a bit field, the byte in which it starts. */
  readonly offset: number;
  /** Bit fields only: first bit, counted from the start of the struct. */
  readonly bitOffset?: number;
  /** Bit fields only: how many bits. */
  readonly bitSize?: number;
  readonly type: BtfType;
}

export interface BpfObjectOptions {
  /** Name used in messages; default: the file name without `.bpf.o`. */
  readonly name?: string;
}

/** An eBPF object file: open, set knobs, share maps, load once. */
export interface BpfObject {
  readonly name: string;
  readonly mapNames: readonly string[];
  readonly programNames: readonly string[];
  /** Sets a `const volatile` variable of .rodata before load, by name; numbers are range-checked against its BTF type. */
  setReadOnly(variable: string, value: number | bigint | boolean | Uint8Array): void;
  /** Uses an existing map instead of creating one; types and sizes must agree. Before load. */
  reuseMap(name: string, map: BpfMap): void;
  setMaxEntries(name: string, entries: number): void;
  /** A program that the loader should leave out (a hook that this kernel lacks). Before load. */
  skipProgram(name: string): void;
  /** Verifies and loads. Throws `ERR_BPF_LOAD` with `verifierLog` (the tail that explains) when the kernel refuses. */
  load(): void;
  map(name: string): BpfMap;
  program(name: string): BpfProgram;
  /** A named type of the object's BTF. */
  type(name: string): BtfType;
  close(): void;
}

export interface BpfMap {
  readonly name: string;
  readonly type: string;
  readonly id: number;
  /** The descriptor, owned by the handle; pass it to native calls, never close it. */
  readonly fd: number;
  readonly keySize: number;
  /** Size of one value; a per-CPU map returns `cpuCount` of them, each rounded up to 8 bytes. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly keyType: BtfType | undefined;
  readonly valueType: BtfType | undefined;
  get(key: Uint8Array): Uint8Array | undefined;
  set(key: Uint8Array, value: Uint8Array, flags?: 'any' | 'create' | 'replace'): void;
  /** False when there was no such key. */
  delete(key: Uint8Array): boolean;
  /** Puts the socket `socketFd` under `key` of a SOCKMAP, SOCKHASH or REUSEPORT_SOCKARRAY. `delete` takes it out. */
  setSocket(key: Uint8Array, socketFd: number): void;
  /** Value of an SK_STORAGE map for the socket `socketFd`; it goes when the socket goes. */
  setForSocket(socketFd: number, value: Uint8Array): void;
  getForSocket(socketFd: number): Uint8Array | undefined;
  /** False when the socket had no value. */
  deleteForSocket(socketFd: number): boolean;
  /** A snapshot of the keys; entries that change meanwhile may be missed or seen twice, as the kernel gives no better. All are views of one buffer. */
  keys(): Uint8Array[];
  /** Keys and values by batch calls where the kernel has them (5.6), else one by one. */
  entries(): [Uint8Array, Uint8Array][];
  /** Sets many; packed keys and values of equal count. Returns how many were written: fewer than asked when the map got full. */
  setBatch(keys: Uint8Array, values: Uint8Array): number;
  /** Deletes many packed keys; those that do not exist are skipped. Returns how many were there. */
  deleteBatch(keys: Uint8Array): number;
  /** Keeps the map under `path` of a bpf file system whose directory exists; it then outlives every process. */
  pin(path: string): void;
  /** Closes this handle's descriptor. The map lives on while programs, pins or other handles hold it. */
  close(): void;
}

export interface BpfProgram {
  readonly name: string;
  readonly type: string;
  readonly id: number;
  readonly fd: number;
  /** Attaches to a cgroup v2 directory with multi semantics, by a bpf_link. */
  attachCgroup(cgroupPath: string): BpfLink;
  /** sk_lookup: attaches to the network namespace behind `netnsFd`. */
  attachNetns(netnsFd: number): BpfLink;
  /** sk_msg / sk_skb: attaches to a sock map. */
  attachSockMap(map: BpfMap): BpfLink;
  /** iter/*: a link whose `readIterator()` runs it. */
  attachIterator(): BpfLink;
  /** BPF_PROG_TEST_RUN with `packet` (or context) in, what came out. */
  testRun(options: { packet?: Uint8Array; context?: Uint8Array; repeat?: number }): {
    returnValue: number;
    durationNs: number;
    packet?: Uint8Array;
    context?: Uint8Array;
  };
  pin(path: string): void;
  close(): void;
}

export interface BpfLink {
  readonly id: number;
  readonly fd: number;
  /** Replaces the program in place, without a gap. */
  update(program: BpfProgram): void;
  pin(path: string): void;
  /** Runs an iterator to its end and returns all it wrote; in the namespace of `netnsFd` when given (iter/tcp lists only that one). */
  readIterator(options?: { netnsFd?: number }): Uint8Array;
  /** Detaches even when pinned or held elsewhere. */
  detach(): void;
  close(): void;
}

export interface RingBufferOptions {
  /** At most this long after an event JavaScript hears of it, in ms (0 to 60000); sooner when the ring fills. Default 100. */
  readonly intervalMs?: number;
  /** A call ends with the record that reaches this many bytes. Default 1 MiB. */
  readonly maxBatchBytes?: number;
}

/** `records` is one buffer, each record at `offsets[i]` with `offsets[i + 1] - offsets[i]` bytes (one more offset than records). */
export type RingBufferListener = (records: Uint8Array, offsets: Uint32Array) => void;

/**
 * The one consumer of a ringbuf map. It goes on until `close()`, also when nobody holds it. While JavaScript is busy nothing
 * is read, so records wait (and programs find the ring full) in the kernel. Records submitted with BPF_RB_NO_WAKEUP come
 * with the next one that wakes, or by `flush`.
 */
export interface RingBuffer {
  /** Reads what is there now, on this thread, through the listener. Returns the number of records. */
  flush(): number;
  close(): void;
}

export interface NativeBpf {
  openObject(path: string, options?: BpfObjectOptions): BpfObject;
  openPinnedMap(path: string): BpfMap;
  openPinnedLink(path: string): BpfLink;
  openPinnedProgram(path: string): BpfProgram;
  openRingBuffer(map: BpfMap, listener: RingBufferListener, options?: RingBufferOptions): RingBuffer;
  /** Whether this kernel knows the program type / map type / helper; names as in bpf.h without prefix, lower case (`sk_lookup`, `ringbuf`). */
  probeProgramType(name: string): boolean;
  probeMapType(name: string): boolean;
  probeHelper(programType: string, helper: string): boolean;
  readonly cpuCount: number;
  readonly libbpfVersion: string;
}

// ------------------------------------------------------------------------------------------------ network namespaces

export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly interfaceIndex: number;
  readonly address: string;
  readonly prefixLength: number;
}

/** The mark's rule and the table it leads to. The table is the capture's own: other routes in it are removed. */
export interface CaptureRouting {
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
  readonly priority: number;
}

/** Interfaces of a pod behind which a machine runs that the pod holds; their TCP is brought to the capture's table. */
export interface VirtualInterfaces {
  /** They need not exist; what a name sends before its program is there is held back. Empty: none any more. */
  readonly names: readonly string[];
  /** Under the routing's mask, on packets that a program has given to a socket. */
  readonly mark: number;
  /** Programs of bpf/virtual_interface.bpf.c; their descriptors are duplicated. Missing only without names. */
  readonly fromMachine?: Pick<BpfProgram, 'fd' | 'id'>;
  readonly toMachine?: Pick<BpfProgram, 'fd' | 'id'>;
  /** At an interface that is a port of another, whose packets never reach the pod itself. */
  readonly refuse?: Pick<BpfProgram, 'fd' | 'id'>;
}

export interface VirtualInterfaceState {
  readonly name: string;
  /** 0 while there is none. */
  readonly index: number;
  /** `uplink`: a default route leads by it, so it is no machine's, and left as it was. */
  readonly standing: 'captured' | 'missing' | 'port' | 'uplink' | 'failed';
  /** Why it failed; its TCP is held back. */
  readonly problem: string;
}

export type NetnsChange =
  /** All addresses of the namespace, `lo` included: once at the start, then whenever they differ. Tentative ones are left out. */
  | { readonly kind: 'addresses'; readonly addresses: readonly InterfaceAddress[] }
  /** A rule or route of the capture was missing and was put back, `afterMs` after the loss was noticed. */
  | {
      readonly kind: 'restored';
      readonly what: 'rule' | 'route' | 'filter';
      readonly detail: string;
      readonly afterMs: number;
    }
  /** How virtual interfaces stand: after `captureInterfaces`, then whenever that differs. */
  | { readonly kind: 'interfaces'; readonly interfaces: readonly VirtualInterfaceState[] }
  /** A repair failed; it is tried again every second, and told again only when the message differs. */
  | { readonly kind: 'failed'; readonly message: string };

/**
 * Keeps the capture's rule and routes of one network namespace in place by rtnetlink, and tells its addresses. It goes on
 * until `close()`, also when nobody holds it; the namespace stays alive as long. New interfaces get their routes.
 */
export interface NetnsWatch {
  /** Rules and routes that were lost and put back; what was new (an interface, a changed address) does not count. */
  readonly restoredCount: number;
  /** Captures these and no others from now on, also when they appear later. Before the first call what stands is left as it is. */
  captureInterfaces(interfaces: VirtualInterfaces): void;
  close(): void;
}

export interface TcpSocketEntry {
  readonly family: 4 | 6;
  readonly state: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** SO_BINDTODEVICE, 0: none. */
  readonly interfaceIndex: number;
  readonly mark: number;
  readonly uid: number;
  readonly inode: number;
  /** inet_diag's cookie, needed to destroy exactly this socket. */
  readonly cookie: bigint;
}

/** A socket of the agent's in a pod's network namespace, which Node serves. */
export interface PodSocketOptions {
  readonly udp: boolean;
  readonly family: 4 | 6;
  /** Bound to it; port 0 lets the kernel choose. */
  readonly local?: { readonly address: string; readonly port: number };
  /** TCP: connects without waiting; errors are told when the socket is read or written. */
  readonly remote?: { readonly address: string; readonly port: number };
  readonly listen?: boolean;
  /** See `TunnelSettings.exemptMapFd`. */
  readonly exemptMapFd: number;
}

export type PodFile = { readonly text: string } | { readonly code: string; readonly message: string };

export interface NativeNet {
  /** Opens `/proc/<pid>/ns/net`, `/run/netns/<name>` or any other path to a network namespace. The caller closes with `closeFd`. */
  openNetns(path: string): number;
  closeFd(fd: number): void;
  /** The kernel's cookie (SO_NETNS_COOKIE, 5.14) and inode of the namespace. */
  netnsIdentity(netnsFd: number): { cookie: bigint; device: bigint; inode: bigint };
  addresses(netnsFd: number): InterfaceAddress[];
  /** Reads or writes `/proc/sys/net/...` as the namespace sees it, e.g. `ipv4/tcp_fwmark_accept`. */
  readSysctl(netnsFd: number, name: string): string;
  writeSysctl(netnsFd: number, name: string, value: string): void;
  /** Adds the mark's rule and a local default route for each interface that is up, IPv4 and IPv6 (where there is). Idempotent. */
  addCaptureRouting(netnsFd: number, routing: CaptureRouting): void;
  /** Captures these interfaces and no others, once; `NetnsWatch.captureInterfaces` keeps them so. */
  captureInterfaces(
    netnsFd: number,
    routing: CaptureRouting,
    interfaces: VirtualInterfaces,
  ): VirtualInterfaceState[];
  /** Removes the rules and what captures interfaces, then empties the table. Idempotent. Close the watch first, or it puts them back. */
  removeCaptureRouting(netnsFd: number, routing: CaptureRouting): void;
  /** One thread watches all. `netnsFd` is duplicated. Without `routing` it only tells addresses. */
  watchNetns(
    netnsFd: number,
    routing: CaptureRouting | undefined,
    listener: (change: NetnsChange) => void,
  ): NetnsWatch;
  tcpSockets(netnsFd: number, onlyListening?: boolean): TcpSocketEntry[];
  /** SOCK_DESTROY (4.5, CONFIG_INET_DIAG_DESTROY). False when the socket is gone already. */
  destroyTcpSocket(netnsFd: number, socket: TcpSocketEntry): boolean;
  /** `port` is 0 for a socket that was not bound. The caller owns the descriptor. */
  openPodSocket(netnsFd: number, options: PodSocketOptions): { readonly fd: number; readonly port: number };
  /**
   * The first 64 KiB of a regular file as the first process below the cgroup that has it would open it: symbolic links lead to
   * nowhere outside its root (openat2, 5.6). Read on a thread of its own, since a pod can make the file one that never
   * answers: after a second `ERR_NATIVE_STUCK`, as long as that read has not returned, and for all once four have not.
   * `ERR_NET_POD_EMPTY`: no process runs yet. Never rejects.
   */
  readPodFile(cgroup: string, path: string): Promise<PodFile>;
}

// ------------------------------------------------------------------------------------------------ tunnel

export interface TunnelSettings {
  /** Native worker threads, each with its own epoll loop, listeners, TLS contexts, pool and tables. */
  readonly workers: number;
  /** Descriptor of the SK_STORAGE map whose value 1 exempts a socket from the connect hook; -1: none (standalone tests). */
  readonly exemptMapFd: number;
  readonly mark: number;
  readonly hbonePort: number;
  readonly trustDomains: readonly string[];
  readonly http2: {
    readonly streamWindowBytes: number;
    readonly connectionWindowBytes: number;
    readonly maxFrameBytes: number;
    readonly maxConcurrentStreams: number;
    readonly headerListBytes: number;
    readonly pingIntervalMs: number;
    readonly pingTimeoutMs: number;
  };
  readonly pool: {
    readonly maxStreamsPerConnection: number;
    /** A further connection for a hot key once one carries this many streams or its send buffer stays full. */
    readonly busyStreamsPerConnection: number;
    /** Bounds the further ones only: where all streams are taken there must be one more. */
    readonly maxConnectionsPerKey: number;
    readonly idleReleaseMs: number;
  };
  readonly limits: {
    /** Parked connections that wait for a row, per pod; beyond it they are refused with `quota`. */
    readonly parkedPerPod: number;
    readonly connectionsPerPod: number;
    readonly rowsPerPod: number;
    readonly resetsPerSecond: number;
    readonly resetBurst: number;
    readonly controlFramesPerSecond: number;
  };
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly questionTimeoutMs: number;
  /** Live flows are reported this often; 0: never. */
  readonly flowIntervalMs: number;
  /** Bound of busy polling before sleep, in microseconds; 0: off. */
  readonly spinMicroseconds: number;
  /** TCP_CONGESTION on legs inside the node; '' leaves the system's. */
  readonly localCongestionControl: string;
  readonly keepSourceAddress: boolean;
  /** Test switch: tunnels carry HTTP/2 without TLS. The demo's negative control uses it; never a user's option. */
  readonly unsafePlaintextTunnels?: boolean;
}

export interface PodSettings {
  readonly podIndex: number;
  readonly netnsFd: number;
  /** Addresses of the pod; the first of each family is its main one. */
  readonly addresses: readonly string[];
  /** SPIFFE id; the certificate is looked up in the identities set by `setIdentity`. */
  readonly identity: string;
}

/** Listener descriptors per worker, for the pod's sock map. Owned by native, open until `removePod`. */
export interface PodListeners {
  readonly outbound: readonly number[];
  readonly hbone: readonly number[];
  readonly plaintext: readonly number[];
}

export interface TlsIdentity {
  readonly identity: string;
  /** PEM, leaf first, then intermediates. */
  readonly certificateChain: string;
  /** PEM, PKCS#8. */
  readonly privateKey: string;
  /** PEM bundle; several roots during a rotation. */
  readonly roots: string;
  /** Trust domains of peers that this identity accepts: its own and configured aliases. */
  readonly trustDomains: readonly string[];
}

export type {
  InboundKey,
  InboundRow,
  OutboundEndpoint,
  OutboundKey,
  OutboundRow,
  TunnelQuestion,
} from './rows.ts';

export interface TunnelEvents {
  readonly questions: readonly TunnelQuestion[];
  /** Packed flow records of `flowRecordBytes` each (native/tunnel/flow_record.h). */
  readonly flows: Uint8Array;
  /** Flow records that were dropped because TypeScript did not keep up. */
  readonly flowsLost: number;
  /** Pods removed with `keepConnections` whose last connection has ended. */
  readonly drainedPods: readonly number[];
  readonly log: readonly {
    readonly level: 'debug' | 'info' | 'warn' | 'error';
    readonly message: string;
    readonly podIndex?: number;
  }[];
}

/** Columns of one edge in `EdgeCounters.values`, summed over workers. */
export const edgeColumns = ['opened', 'closed', 'failed', 'bytesSent', 'bytesReceived'] as const;

/** `values[i * edgeColumns.length + c]` belongs to `edges[i]`; sent = from source towards destination. */
export interface EdgeCounters {
  readonly edges: Uint32Array;
  readonly values: Float64Array;
  /** `[edge, reason, count]` triples of failures and refusals. */
  readonly failures: Float64Array;
}

export interface TunnelTotals {
  readonly questions: number;
  readonly questionsTimedOut: number;
  readonly rowHits: number;
  readonly connectionsOpen: number;
  readonly tunnelsOpened: number;
  readonly tunnelsOpen: number;
  readonly streamsOpen: number;
  readonly parked: number;
  readonly workerCpuMicroseconds: readonly number[];
  /** `[reason, count]` pairs: connections that were open and ended early, by an RST for example. */
  readonly earlyEnds: Float64Array;
}

export interface TunnelDescription {
  readonly worker: number;
  readonly direction: 'outbound' | 'inbound';
  readonly podIndex: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly peerIdentity: string;
  readonly tlsVersion: string;
  readonly cipher: string;
  readonly keyExchangeGroup: string;
  readonly streams: number;
  readonly streamsTotal: number;
  readonly ageMs: number;
  readonly rttMicroseconds: number;
}

export interface TunnelHandle {
  /** Creates the listeners in the pod's namespace on every worker. Throws `ERR_TUNNEL_POD` with errno. */
  addPod(pod: PodSettings): PodListeners;
  setPodAddresses(podIndex: number, addresses: readonly string[]): void;
  /** Whether a machine inside the pod makes connections: their sources are not the pod's, others are told the pod's. */
  setPodHoldsMachine(podIndex: number, holds: boolean): void;
  /** Closes listeners; live connections end too, or run to their own end with `keepConnections` (then `drainedPods` tells). */
  removePod(podIndex: number, options: { keepConnections: boolean }): void;
  /** New or renewed certificate; open tunnels keep theirs, new handshakes take this one. */
  setIdentity(identity: TlsIdentity): void;
  removeIdentity(identity: string): void;
  /**
   * Revocation lists, PEM; empty for none. Peers whose certificate, or one above it, is on a list of its issuer are refused, and
   * their open tunnels end, as `CERT_REVOKED`. Throws `ERR_TUNNEL_REVOCATION` for text that is no list; then the ones before hold.
   */
  setRevocations(pem: string): void;
  putOutboundRows(rows: readonly OutboundRow[]): void;
  removeOutboundRows(keys: readonly OutboundKey[]): void;
  putInboundRows(rows: readonly InboundRow[]): void;
  removeInboundRows(keys: readonly InboundKey[]): void;
  /** Open connections without a row become questions (`open`); call it when the mesh has changed. */
  askAboutForgotten(): void;
  /** Forgets the counters of edges that TypeScript no longer knows. */
  removeEdges(edges: readonly number[]): void;
  readCounters(): EdgeCounters;
  readTotals(): TunnelTotals;
  /** Live flows, packed like `TunnelEvents.flows`. */
  readLiveFlows(): Promise<Uint8Array>;
  describeTunnels(): Promise<TunnelDescription[]>;
  /** GOAWAY on tunnels, listeners closed, resolves when all ended or the deadline passed and the rest was closed. */
  drain(deadlineMs: number): Promise<{ ended: number; forced: number }>;
  close(): void;
}

export interface NativeTunnel {
  createTunnel(settings: TunnelSettings, onEvents: (events: TunnelEvents) => void): TunnelHandle;
  readonly flowRecordBytes: number;
  readonly opensslVersion: string;
  readonly nghttp2Version: string;
  /** The file in which the dynamic linker finds a symbol for the addon, Node's own executable among them; undefined when in none. */
  symbolOrigin(symbol: string): string | undefined;
}

// ------------------------------------------------------------------------------------------------ process

export interface NativeProcess {
  /**
   * Takes an exclusive flock(2) on the file, made when missing; undefined when another process holds it. The kernel gives
   * it back when the process ends, however it ends; `closeFd` does earlier.
   */
  lockFile(path: string): number | undefined;
  /** Gives free memory of all threads' heaps back to the system (malloc_trim). False when there was none. */
  trimMemory(): boolean;
}

export type { AskedName, NameService, NameServiceSettings, NativeNames } from './names.ts';
export type { NativePackets, NetworkLink, PacketWatch, SeenPacket } from './packets.ts';

export interface NativeAddon
  extends NativeBpf,
    NativeNet,
    NativeTunnel,
    NativeNames,
    NativePackets,
    NativeProcess {}
