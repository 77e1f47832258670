import { constants } from 'node:os';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import { VERDICT_REFUSE } from '../kernel/constants.gen.ts';
import type { OutboundKey } from '../native/types.ts';
import type { KernelRow, KernelRows } from '../tunnel/kernel-rows.ts';

/** Of one pod; the map is shared by all. What goes beyond meets the tunnel, which has a row of its own. */
const mostPerPod = 4096;

/** Writes rows where connect() meets them. */
export class CaptureRows implements KernelRows {
  readonly #capture: Pick<BpfCapture, 'putRows' | 'removeRows'>;
  readonly #logger: Logger;
  readonly #pods = new Map<number, Map<string, KernelRow['kind']>>();

  constructor(capture: Pick<BpfCapture, 'putRows' | 'removeRows'>, logger: Logger) {
    this.#capture = capture;
    this.#logger = logger;
  }

  get size(): number {
    return [...this.#pods.values()].reduce((sum, { size }) => sum + size, 0);
  }

  count(kind: KernelRow['kind']): number {
    return [...this.#pods.values()].flatMap((rows) => [...rows.values()]).filter((each) => each === kind)
      .length;
  }

  put(key: OutboundKey, row: KernelRow): void {
    const { podIndex, address, port } = key;
    const written = this.#pods.get(podIndex) ?? new Map();
    const text = `${address} ${port}`;
    if (written.size >= mostPerPod && !written.has(text)) return;
    if (row.kind === 'direct') return;
    const entry = {
      verdict: VERDICT_REFUSE,
      reason: row.reason,
      error: constants.errno[row.error],
      edge: row.edge,
    };
    try {
      this.#capture.putRows([[{ podIndex, address, port }, entry]]);
    } catch (err) {
      // A full map: the tunnel has a row of its own. What stood here says something else.
      this.#logger.warn({ err, address, port }, 'a row could not be written into the kernel');
      this.remove(key);
      return;
    }
    written.set(text, row.kind);
    this.#pods.set(podIndex, written);
  }

  remove({ podIndex, address, port }: OutboundKey): void {
    const written = this.#pods.get(podIndex);
    if (written === undefined || !written.delete(`${address} ${port}`)) return;
    if (written.size === 0) this.#pods.delete(podIndex);
    try {
      this.#capture.removeRows([{ podIndex, address, port }]);
    } catch (err) {
      this.#logger.error(
        { err, podIndex, address, port },
        'a row could not be taken out of the kernel; restart the agent to remove it',
      );
    }
  }
}
