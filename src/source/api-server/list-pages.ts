/** A list in pages, so that neither side has to hold a big one in one piece. */
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';
import type { RawObject } from './watch-events.ts';

interface ListAnswer {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly RawObject[] | null;
}

export interface ListOptions {
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly pageSize: number;
  readonly signal?: AbortSignal | undefined;
  /** The list begins anew: forget the pages so far. */
  readonly onRestart: () => void;
  readonly onPage: (items: readonly RawObject[]) => void;
}

/** Returns the resource version at which to watch on. */
export async function listPages(
  api: ApiClient,
  { path, query, pageSize, signal, onRestart, onPage }: ListOptions,
): Promise<string> {
  let limit: number | undefined = pageSize;
  let token: string | undefined;
  for (;;) {
    let answer: ListAnswer;
    try {
      answer = await api.request<ListAnswer>({ path, query: { ...query, limit, continue: token }, signal });
    } catch (error) {
      // The pages outlived what etcd keeps. In one piece it cannot happen again.
      if (!isApiError(error, 410) || token === undefined) throw error;
      token = undefined;
      limit = undefined;
      onRestart();
      continue;
    }
    onPage(answer.items ?? []);
    token = answer.metadata?.continue;
    if (token === undefined || token === '') return answer.metadata?.resourceVersion ?? '';
  }
}
