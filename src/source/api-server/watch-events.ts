/** One watch: the server's lines as events, those that came together in one batch. */
import { StringDecoder } from 'node:string_decoder';
import { accessOf } from './api-access.ts';
import { type ApiClient, unreachable } from './api-client.ts';
import { ApiError, type ApiStatus } from './api-error.ts';

export interface RawObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: RawObject }
  /** Nothing happened up to this resource version. */
  | { readonly type: 'BOOKMARK'; readonly object: RawObject };

export interface WatchOptions {
  readonly path: string;
  readonly query: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly signal: AbortSignal;
  /** The server has accepted the watch. */
  readonly onOpen: () => void;
}

/** Ends when the server ends the watch. An ApiError otherwise: what was yielded before it holds. */
export async function* watchEvents(
  api: ApiClient,
  { path, query, signal, onOpen }: WatchOptions,
): AsyncGenerator<readonly WatchEvent[]> {
  const access = accessOf('GET', path, true);
  const pieces = await api.watch({ path, query, signal });
  onOpen();
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const incoming = pieces[Symbol.asyncIterator]();
  for (;;) {
    const next = await incoming.next().catch((cause: unknown) => {
      throw unreachable(access, cause, signal);
    });
    if (next.done === true) return;
    const lines = (rest + decoder.write(next.value)).split('\n');
    rest = lines.pop() ?? '';
    const batch: WatchEvent[] = [];
    for (const line of lines) {
      if (line === '') continue;
      const event = parseLine(line, path);
      if (event instanceof ApiError) {
        if (batch.length > 0) yield batch;
        throw event;
      }
      batch.push(event);
    }
    if (batch.length > 0) yield batch;
  }
}

function parseLine(line: string, path: string): WatchEvent | ApiError {
  const access = accessOf('GET', path, true);
  let event: { readonly type: string; readonly object: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (cause) {
    return new ApiError(access, { code: 500, message: `an event is not JSON: ${line.slice(0, 80)}` }, cause);
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'BOOKMARK':
      return { type: event.type, object: event.object as RawObject };
    case 'ERROR':
      return new ApiError(access, event.object as ApiStatus);
    default:
      return new ApiError(access, { code: 500, message: `an event is of the unknown type ${event.type}` });
  }
}
