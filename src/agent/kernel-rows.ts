import { constants } from 'node:os';
import type { Logger } from '../base/logger.ts';
import type { BpfCapture } from '../kernel/capture.ts';
import { VERDICT_DIRECT, VERDICT_REFUSE } from '../kernel/constants.gen.ts';
import type { RowEntry, RowKey } from '../kernel/row-table.ts';
import type { OutboundKey } from '../native/types.ts';
import type { EarlierRow, KernelRow, KernelRows } from '../tunnel/kernel-rows.ts';

/** Of one pod; the map is shared by all. What goes beyond meets the tunnel, which has a row of its own. */
const mostPerPod = 4096;

type Capture = Pick<BpfCapture, 'putRows' | 'removeRows' | 'directRows'>;

/** Writes rows where connect() meets them. */
export class CaptureRows implements KernelRows {
  readonly #capture: Capture;
  readonly #logger: Logger;
  readonly #pods = new Map<number, Map<string, KernelRow['kind']>>();

  constructor(capture: Capture, logger: Logger) {
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

  /** The direct rows that an earlier agent left: they hold until somebody writes or removes them. */
  takeOver(): readonly EarlierRow[] {
    const earlier = this.#capture.directRows();
    for (const { key } of earlier) this.#note(key, 'direct');
    return earlier;
  }

  put(key: OutboundKey, row: KernelRow): boolean {
    const { podIndex, address, port } = key;
    const written = this.#pods.get(podIndex);
    if (written !== undefined && written.size >= mostPerPod && !written.has(textOf(key))) return false;
    try {
      this.#capture.putRows([[{ podIndex, address, port }, entryOf(row)]]);
    } catch (err) {
      // A full map: the tunnel has a row of its own. What stood here says something else.
      this.#logger.warn({ err, address, port }, 'a row could not be written into the kernel');
      this.remove(key);
      return false;
    }
    this.#note(key, row.kind);
    return true;
  }

  remove(key: OutboundKey): void {
    const { podIndex, address, port } = key;
    const written = this.#pods.get(podIndex);
    if (written === undefined || !written.delete(textOf(key))) return;
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

  #note(key: RowKey, kind: KernelRow['kind']): void {
    const written = this.#pods.get(key.podIndex) ?? new Map<string, KernelRow['kind']>();
    written.set(textOf(key), kind);
    this.#pods.set(key.podIndex, written);
  }
}

function entryOf(row: KernelRow): RowEntry {
  if (row.kind === 'direct') return { verdict: VERDICT_DIRECT, edge: row.edge, slots: row.slots };
  const { reason, error, edge } = row;
  return { verdict: VERDICT_REFUSE, reason, error: constants.errno[error], edge };
}

function textOf({ address, port }: Pick<RowKey, 'address' | 'port'>): string {
  return `${address} ${port}`;
}
