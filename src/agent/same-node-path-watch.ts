/** Finds out, again and again, whether connections between pods of this node stay in it. */
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { NativeNet, NetnsWatch } from '../native/types.ts';
import { type PathState, type SameNodePath, unknownPath } from '../routing/same-node-path.ts';
import { type ProbedPod, type ProbeEnds, type ProbeParts, probePath } from './path-probe.ts';
import { worstOf } from './path-verdict.ts';
import { ProbePairs } from './probe-pairs.ts';

export interface SameNodePathWatchOptions extends Omit<ProbeParts, 'nodeNetnsFd' | 'native'> {
  readonly native: ProbeParts['native'] & Pick<NativeNet, 'openNetns' | 'watchNetns'>;
  /** Why nothing may go directly, whatever the way; then nothing is tried. */
  readonly obstacle: string | undefined;
  readonly intervalMs: number;
  readonly logger: Logger;
}

/** Changes come in crowds: of a pod's interfaces several, of a node that starts hundreds. */
const settleMs = 100;

const tooFew = unknownPath('there are no two pods of this node in the mesh to try it between');

export class SameNodePathWatch implements Closeable {
  readonly #options: SameNodePathWatchOptions;
  readonly #nodeNetnsFd: number;
  readonly #interfaces: NetnsWatch;
  readonly #timer: NodeJS.Timeout;
  readonly #listeners: ((path: SameNodePath) => void)[] = [];
  #path: SameNodePath = tooFew;
  readonly #pairs = new ProbePairs<ProbedPod>();
  #soon: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(options: SameNodePathWatchOptions) {
    const { native, intervalMs } = options;
    this.#options = options;
    this.#nodeNetnsFd = native.openNetns('/proc/self/ns/net');
    this.#interfaces = native.watchNetns(this.#nodeNetnsFd, undefined, () => this.probeSoon());
    this.#timer = setInterval(() => this.#probe(), intervalMs);
    this.#timer.unref();
  }

  get path(): SameNodePath {
    return this.#path;
  }

  get state(): PathState {
    return this.#path.state;
  }

  /** Called with each path that differs from the one before. */
  onChange(listener: (path: SameNodePath) => void): void {
    this.#listeners.push(listener);
  }

  /** A pod came or went, or an interface of the node changed. */
  probeSoon(): void {
    if (this.#closed) return;
    if (this.#options.pods().length < 2) this.#set(tooFew);
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#probe();
    }, settleMs);
    this.#soon.unref();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#interfaces.close();
    await this.#round;
    this.#options.native.closeFd(this.#nodeNetnsFd);
  }

  /** One round at a time; what changes meanwhile asks for another. */
  #probe(): void {
    if (this.#closed) return;
    if (this.#round !== undefined) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#round = this.#probeOnce().finally(() => {
      this.#round = undefined;
      if (this.#again) this.probeSoon();
    });
  }

  async #probeOnce(): Promise<void> {
    if (this.#options.obstacle !== undefined) return this.#set(unknownPath(this.#options.obstacle));
    const pods = this.#options.pods();
    if (pods.length < 2) return this.#set(tooFew);
    const found = await this.#pairs.round(pods, (from, to) =>
      this.#closed ? Promise.resolve(tooFew) : this.#probePair(from, to),
    );
    if (!this.#closed && found !== undefined) this.#set(found);
  }

  /** In both families where both pods have both: each has routes of its own. */
  async #probePair(from: ProbedPod, to: ProbedPod): Promise<SameNodePath> {
    const parts: ProbeParts = { ...this.#options, nodeNetnsFd: this.#nodeNetnsFd };
    const found: SameNodePath[] = [];
    for (const ends of endsOf(from, to)) {
      try {
        found.push(await probePath(parts, ends));
      } catch (error) {
        // A pod that went away meanwhile, or no right to watch packets.
        const why = error instanceof Error ? error.message : String(error);
        found.push(unknownPath(`no probe could be made from ${ends.source} to ${ends.destination}: ${why}`));
      }
      if (this.#closed) break;
    }
    return found.length === 0
      ? unknownPath('two pods have no addresses of one family to try it between')
      : worstOf(found);
  }

  #set(path: SameNodePath): void {
    const before = this.#path;
    this.#path = path;
    if (before.state === path.state && before.interfaceName === path.interfaceName) return;
    const { logger } = this.#options;
    const { interfaceName, reason } = path;
    if (path.state === 'leaves')
      logger.warn(
        { interface: interfaceName, reason },
        'path_leaves_node: pods of this node reach one another through the tunnel',
      );
    else logger.info({ state: path.state, reason }, 'the way between pods of this node');
    for (const listener of this.#listeners) listener(path);
  }
}

function endsOf(from: ProbedPod, to: ProbedPod): ProbeEnds[] {
  return [false, true].flatMap((v6) => {
    const first = (pod: ProbedPod) => pod.addresses.find((address) => address.includes(':') === v6);
    const [source, destination] = [first(from), first(to)];
    return source === undefined || destination === undefined ? [] : [{ from, to, source, destination }];
  });
}
