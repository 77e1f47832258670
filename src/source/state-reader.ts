/** Reads the text of a state file: a small one at once, a large one in a thread, so that the event loop goes on meanwhile. */
import { Worker } from 'node:worker_threads';
import { HadalError } from '../base/errors.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { resourceKinds, type StateFileContent } from './state-file.ts';
import type { ResourceEntry, ThreadMessage, ThreadTask } from './state-thread.ts';

/** Up to here reading takes some 20 ms, which is less than it takes to start a thread. */
const readAtOnceBytes = 32 * 1024;

type Known = Map<string, { readonly digest: string; readonly value: unknown }>;
type KnownKinds = Record<keyof MeshResources, Known>;

const noneKnown = (): KnownKinds => ({ workloads: new Map(), services: new Map(), policies: new Map() });

export class StateReader {
  /** What the thread told last: of a large state little changes at a time, and what is the same is the same object. */
  #known = noneKnown();

  /** Throws `ERR_STATE_FILE` as `parseStateFile` does. Calls must not overlap. */
  async read(text: string, signal: AbortSignal): Promise<StateFileContent> {
    if (text.length > readAtOnceBytes) return this.#readInThread(text, signal);
    this.#known = noneKnown();
    const { parseStateFile } = await import('./state-file.ts');
    return parseStateFile(text);
  }

  async #readInThread(text: string, signal: AbortSignal): Promise<StateFileContent> {
    const digests = (known: Known) => new Map(Array.from(known, ([name, { digest }]) => [name, digest]));
    const { workloads, services, policies } = this.#known;
    const known = { workloads: digests(workloads), services: digests(services), policies: digests(policies) };
    const next = noneKnown();
    const take = (kind: keyof MeshResources, entries: readonly ResourceEntry[]) => {
      for (const { name, digest, ...own } of entries) {
        const value = 'value' in own ? deepFreeze(own.value) : this.#known[kind].get(name)?.value;
        next[kind].set(name, { digest, value });
      }
    };
    const rest = await runThread({ text, known }, take, signal);
    this.#known = next;
    const values = resourceKinds.map((kind) => [kind, Array.from(next[kind].values(), ({ value }) => value)]);
    return Object.freeze({ ...rest, resources: Object.freeze(Object.fromEntries(values)) as MeshResources });
  }
}

function runThread(
  task: ThreadTask,
  take: (kind: keyof MeshResources, entries: readonly ResourceEntry[]) => void,
  signal: AbortSignal,
): Promise<Omit<StateFileContent, 'resources'>> {
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown) =>
      reject(HadalError.from(cause, 'ERR_STATE_FILE', 'reading the state file in a thread'));
    const thread = new Worker(threadFile(), { workerData: task, execArgv: [], name: 'state file' });
    const end = () => void thread.terminate();
    // An agent that ends does not wait for a file.
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
    thread.on('error', failed);
    thread.on('exit', (code) => {
      signal.removeEventListener('abort', end);
      failed(new Error(`the thread ended with ${code}`));
    });
    thread.on('message', (message: ThreadMessage) => {
      if (message.what === 'end') resolve(message.content);
      if (message.what === 'broken')
        reject(new HadalError('ERR_STATE_FILE', message.message, { details: message.details }));
      if (message.what !== 'part') return end();
      take(message.kind, message.entries);
      thread.postMessage('next');
    });
    thread.postMessage('next');
  });
}

/** Beside this file, in the checkout as in what is built. */
function threadFile(): URL {
  return new URL(
    import.meta.url.endsWith('.ts') ? './state-thread.ts' : './state-thread.js',
    import.meta.url,
  );
}

/** What crosses between threads is a copy, and copies are not frozen. */
function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const each of Object.values(value)) deepFreeze(each);
    Object.freeze(value);
  }
  return value;
}
