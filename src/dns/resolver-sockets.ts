/** The agent's sockets on a pod's loopback for one nameserver: UDP and TCP. */
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { NativeNet } from '../native/types.ts';

export interface ResolverSocketsOptions {
  readonly native: Pick<NativeNet, 'openPodSocket' | 'closeFd'>;
  readonly netnsFd: number;
  readonly family: 4 | 6;
  readonly exemptMapFd: number;
  /** Ports of an earlier agent: clients that are connected to them need not notice. */
  readonly wantedPorts: Readonly<Partial<Record<DnsProtocol, number>>>;
  /** Called before a socket is read. */
  readonly onOpen: (protocol: DnsProtocol, fd: number, port: number) => void;
}

/** The caller owns both descriptors. */
export function openResolverSockets(options: ResolverSocketsOptions): Readonly<Record<DnsProtocol, number>> {
  const udp = open(options, 'udp');
  try {
    return { udp, tcp: open(options, 'tcp') };
  } catch (error) {
    options.native.closeFd(udp);
    throw error;
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
  try {
    options.onOpen(protocol, opened.fd, opened.port);
  } catch (error) {
    native.closeFd(opened.fd);
    throw error;
  }
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
