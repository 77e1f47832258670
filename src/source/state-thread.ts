/** The thread that reads a large state file: YAML of ten thousand workloads takes seconds, in which an agent must answer. */
import { hash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { HadalError } from '../base/errors.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { nameOfResource, parseStateFile, resourceKinds, type StateFileContent } from './state-file.ts';

/** What the thread is started with: the text, and the digest of each resource that the agent has, by kind and name. */
export interface ThreadTask {
  readonly text: string;
  readonly known: Readonly<Record<keyof MeshResources, ReadonlyMap<string, string>>>;
}

export interface ResourceEntry {
  readonly name: string;
  readonly digest: string;
  /** Absent: the one that the agent has. */
  readonly value?: unknown;
}

/** In this order: parts, each asked for, then the rest; or `broken` alone. */
export type ThreadMessage =
  | { readonly what: 'part'; readonly kind: keyof MeshResources; readonly entries: readonly ResourceEntry[] }
  | { readonly what: 'end'; readonly content: Omit<StateFileContent, 'resources'> }
  | {
      readonly what: 'broken';
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };

/** So many cross at a time that the agent's thread takes them in within a few milliseconds. */
const partSize = 500;

function* messages({ text, known }: ThreadTask): Generator<ThreadMessage> {
  let content: StateFileContent;
  try {
    content = parseStateFile(text);
  } catch (caught) {
    const { message, details } = HadalError.from(caught, 'ERR_STATE_FILE');
    yield { what: 'broken', message, details };
    return;
  }
  const { resources, ...rest } = content;
  for (const kind of resourceKinds) {
    const all: readonly unknown[] = resources[kind];
    for (let at = 0; at < all.length; at += partSize) {
      const entries = all.slice(at, at + partSize).map((value) => entryOf(kind, value, known[kind]));
      yield { what: 'part', kind, entries };
    }
  }
  yield { what: 'end', content: rest };
}

function entryOf(
  kind: keyof MeshResources,
  value: unknown,
  known: ReadonlyMap<string, string>,
): ResourceEntry {
  const name = nameOfResource(kind, value);
  const digest = hash('sha256', JSON.stringify(value), 'base64');
  return known.get(name) === digest ? { name, digest } : { name, digest, value };
}

const port = parentPort;
if (port !== null) {
  const all = messages(workerData as ThreadTask);
  // One at a time, when the agent asks: each is taken in on a turn of its own.
  port.on('message', () => {
    const { value, done } = all.next();
    if (done === true) port.close();
    else port.postMessage(value);
  });
}
