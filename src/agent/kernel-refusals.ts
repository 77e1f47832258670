import { constants } from 'node:os';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import { VERDICT_REFUSE } from '../kernel/constants.gen.ts';
import type { OutboundKey } from '../native/types.ts';
import type { ConnectRefusals } from '../tunnel/connect-refusals.ts';

/** Of one pod; the map is shared by all. What goes beyond is refused by the tunnel alone. */
const mostPerPod = 4096;

/** Writes refusals where connect() meets them. */
export class KernelRefusals implements ConnectRefusals {
  readonly #capture: Pick<BpfCapture, 'putRows' | 'removeRows'>;
  readonly #logger: Logger;
  readonly #pods = new Map<number, Set<string>>();

  constructor(capture: Pick<BpfCapture, 'putRows' | 'removeRows'>, logger: Logger) {
    this.#capture = capture;
    this.#logger = logger;
  }

  get size(): number {
    return [...this.#pods.values()].reduce((sum, { size }) => sum + size, 0);
  }

  refuse(key: OutboundKey, reason: number, edge: number): void {
    const { podIndex, address, port } = key;
    const written = this.#pods.get(podIndex) ?? new Set();
    const text = `${address} ${port}`;
    if (written.size >= mostPerPod && !written.has(text)) return;
    const row = { verdict: VERDICT_REFUSE, reason, error: constants.errno.ECONNREFUSED, edge };
    try {
      this.#capture.putRows([[{ podIndex, address, port }, row]]);
    } catch (err) {
      // A full map: the tunnel refuses by its own row.
      this.#logger.warn({ err, address, port }, 'a refusal could not be written into the kernel');
      return;
    }
    written.add(text);
    this.#pods.set(podIndex, written);
  }

  lift({ podIndex, address, port }: OutboundKey): void {
    const written = this.#pods.get(podIndex);
    if (written === undefined || !written.delete(`${address} ${port}`)) return;
    if (written.size === 0) this.#pods.delete(podIndex);
    try {
      this.#capture.removeRows([{ podIndex, address, port }]);
    } catch (err) {
      this.#logger.error(
        { err, podIndex, address, port },
        'a refusal could not be taken out of the kernel; restart the agent to lift it',
      );
    }
  }
}
