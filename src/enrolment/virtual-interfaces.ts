import { isDeepStrictEqual } from 'node:util';
import type { BpfCapture } from '../kernel/capture.ts';
import { VIRTUAL_MARK } from '../kernel/constants.gen.ts';
import type { PodCapture } from '../kernel/pod-capture.ts';
import { isLocalOnly, parseAddress } from '../model/address.ts';
import type { CaptureRouting, NativeNet, NetnsWatch, VirtualInterfaceState } from '../native/types.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';

export interface VirtualInterfacesParts {
  readonly native: NativeNet;
  readonly sockets: Pick<BpfCapture['sockets'], 'list' | 'destroy'>;
  readonly capture: PodCapture;
  readonly watch: NetnsWatch;
  readonly tunnel: Pick<Tunnel, 'setPodHoldsMachine'>;
  readonly routing: CaptureRouting;
  readonly podIndex: number;
  readonly netnsFd: number;
  readonly addresses: () => readonly string[];
}

/**
 * Interfaces of a pod behind which a machine runs that the pod holds (annotation `istio.io/reroute-virtual-interfaces`):
 * connections that it makes are the pod's, and go where the pod's go.
 */
export class VirtualInterfaces {
  readonly #parts: VirtualInterfacesParts;
  #names: readonly string[] = [];
  #states: readonly VirtualInterfaceState[] = [];

  constructor(parts: VirtualInterfacesParts) {
    this.#parts = parts;
  }

  get states(): readonly VirtualInterfaceState[] {
    return this.#states;
  }

  /** These and no others. Returns when they are captured, or why one is not stands in `states`. */
  become(names: readonly string[]): void {
    if (isDeepStrictEqual(names, this.#names)) return;
    const isFewer = this.#names.some((name) => !names.includes(name));
    this.#names = names;
    const { native, capture, watch, tunnel, routing, podIndex, netnsFd } = this.#parts;
    if (isFewer) this.#endConnections();
    // The agent takes what comes before anything is sent to it.
    tunnel.setPodHoldsMachine(podIndex, names.length > 0);
    const programs = names.length === 0 ? undefined : capture.openVirtualPrograms();
    try {
      const { close: _close, ...handles } = programs ?? { close: () => {} };
      const wanted = { names, mark: VIRTUAL_MARK, ...handles };
      // First: it would take what is changed here for a loss, and put it back.
      watch.captureInterfaces(wanted);
      this.follow(native.captureInterfaces(netnsFd, routing, wanted));
    } finally {
      programs?.close();
    }
  }

  /** Interfaces came, went, or became ports of others. */
  follow(states: readonly VirtualInterfaceState[]): void {
    this.#states = states.filter(({ name }) => this.#names.includes(name));
    const captured = this.#states.filter(({ standing }) => standing === 'captured');
    this.#parts.capture.setVirtualInterfaces(captured.map(({ index }) => index));
  }

  /** The pod leaves the mesh: what its machine has open would go on in clear, so it ends. */
  end(): void {
    this.become([]);
  }

  /** Neither end of such a connection is the pod's. */
  #endConnections(): void {
    const { sockets, netnsFd, addresses } = this.#parts;
    const own = new Set(addresses());
    const isForeign = (text: string) => {
      const address = parseAddress(text);
      return address !== undefined && !own.has(address.text) && !isLocalOnly(address);
    };
    const doomed = sockets
      .list(netnsFd)
      .filter(({ seenAs }) => seenAs === 'agent')
      .filter(({ localAddress, remoteAddress }) => isForeign(localAddress) && isForeign(remoteAddress));
    sockets.destroy(
      netnsFd,
      doomed.map(({ cookie }) => cookie),
    );
  }
}

/** What an operator should know of one that is not captured as was wished. */
export function virtualInterfaceProblem({
  name,
  standing,
  problem,
}: VirtualInterfaceState): string | undefined {
  switch (standing) {
    case 'captured':
      return undefined;
    case 'missing':
      return `the pod has no interface ${name} yet, which its annotation names; it is captured when it appears`;
    case 'port':
      return `its interface ${name} is a port of another and is refused TCP; let the annotation name the bridge instead`;
    case 'uplink':
      return `its interface ${name} leads out of the pod, so what comes by it is no machine's of the pod; take the name out of its annotation`;
    case 'failed':
      return `its interface ${name} cannot be captured, and TCP from it is held back: ${problem}`;
  }
}
