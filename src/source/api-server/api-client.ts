/**
 * Requests to one API server. Addresses, certificates and credentials are client-node's (kubeconfig, service account,
 * exec plugins); the connections are ours: client-node opens a new one for each request, and its informers ask for no
 * bookmarks, read a list in one piece and stop at the first error.
 */

import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { deadline } from '../../base/abort.ts';
import { HadalError } from '../../base/errors.ts';
import type { Closeable } from '../../base/lifecycle.ts';
import { type ApiAccess, accessOf } from './api-access.ts';
import { ApiError, type ApiStatus } from './api-error.ts';

export type PatchType = 'merge' | 'json' | 'apply';

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  /** With PATCH. Default `merge`. */
  readonly patchType?: PatchType;
  readonly signal?: AbortSignal | undefined;
}

export interface ApiClientOptions {
  /** For an answer as a whole; a watch has only this long to begin. Default 30,000. */
  readonly requestTimeoutMs?: number;
}

const patchTypes: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

/** A peer that vanished without a word is noticed 10 probes, one second each, after this. */
const keepAliveMs = 30_000;
/**
 * Connections to the API server. A watch has one for each kind, all the time; the rest is for lists, tokens that are looked at and
 * status that is written, which wait for one another: whoever makes this client ask much must not use up the server's.
 */
const maxSockets = 64;
/** Kept for the next request. */
const maxFreeSockets = 8;

export class ApiClient implements Closeable {
  readonly #config: KubeConfig;
  readonly #server: string;
  readonly #requestTimeoutMs: number;
  #agent: { readonly key: string; readonly agent: Agent } | undefined;

  constructor(config: KubeConfig, { requestTimeoutMs = 30_000 }: ApiClientOptions = {}) {
    const cluster = config.getCurrentCluster();
    if (cluster === null) {
      throw new HadalError(
        'ERR_KUBERNETES_CONFIG',
        `the kubeconfig has no cluster for its current context "${config.getCurrentContext()}"; name a context that is in it`,
      );
    }
    this.#config = config;
    this.#server = cluster.server.replace(/\/$/, '');
    this.#requestTimeoutMs = requestTimeoutMs;
  }

  /** `https://10.96.0.1`. */
  get server(): string {
    return this.#server;
  }

  /** The answer's JSON. An answer other than 2xx, or none, is an ApiError. */
  async request<T>(request: ApiRequest): Promise<T> {
    const access = accessOf(request.method ?? 'GET', request.path);
    const time = deadline(this.#requestTimeoutMs, `${access.verb} ${access.resource}`, request.signal);
    try {
      const response = await this.#send(request, access, time.signal);
      return (await readJson(response, access)) as T;
    } finally {
      time.clear();
    }
  }

  /** Begins a watch: what the server sends until it ends the answer, in pieces as they come. `signal` ends it early. */
  async watch(request: ApiRequest & { readonly signal: AbortSignal }): Promise<AsyncIterable<Buffer>> {
    const access = accessOf('GET', request.path, true);
    const start = new AbortController();
    const timer = setTimeout(
      () => start.abort(new Error(`no answer within ${this.#requestTimeoutMs} ms`)),
      this.#requestTimeoutMs,
    );
    try {
      const signal = AbortSignal.any([start.signal, request.signal]);
      return await this.#send({ ...request, query: { ...request.query, watch: true } }, access, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  /** The response once its head is there and says 2xx. */
  async #send(request: ApiRequest, access: ApiAccess, signal: AbortSignal): Promise<IncomingMessage> {
    const options = await this.#options();
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const url = new URL(this.#server + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = {
      Accept: 'application/json',
      'User-Agent': 'hadal',
      ...options.headers,
    };
    if (body !== undefined) {
      headers['Content-Type'] =
        request.method === 'PATCH' ? patchTypes[request.patchType ?? 'merge'] : 'application/json';
      headers['Content-Length'] = String(Buffer.byteLength(body));
    }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = httpsRequest(url, {
        method: request.method ?? 'GET',
        agent: options.agent,
        headers,
        signal,
      });
      // The agent's own setting is for connections that nobody uses; a watch is one that is in use and silent.
      sent.on('socket', (socket) => socket.setKeepAlive(true, keepAliveMs));
      sent.on('response', resolve);
      sent.on('error', reject);
      sent.end(body);
    }).catch((cause: unknown) => {
      throw unreachable(access, cause, signal);
    });
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw await refusal(response, status, access);
  }

  async #options(): Promise<{ readonly agent: Agent; readonly headers: Record<string, string> }> {
    const options: RequestOptions = { headers: {} };
    try {
      await this.#config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw HadalError.from(cause, 'ERR_KUBERNETES_CONFIG', 'reading the credentials for the Kubernetes API');
    }
    return { agent: this.#agentFor(options), headers: options.headers as Record<string, string> };
  }

  /** One pool for as long as the certificates are the same. */
  #agentFor(options: RequestOptions): Agent {
    // client-node's own knows the ways through proxies.
    if (this.#config.getCurrentCluster()?.proxyUrl !== undefined) return options.agent as Agent;
    const { ca, cert, key, servername, rejectUnauthorized } = options;
    const id = JSON.stringify(
      [ca, cert, key, servername, rejectUnauthorized].map((part) => part?.toString()),
    );
    if (this.#agent?.key === id) return this.#agent.agent;
    const tls = Object.fromEntries(
      Object.entries({ ca, cert, key, servername, rejectUnauthorized }).filter(
        ([, value]) => value !== undefined,
      ),
    );
    const agent = new Agent({
      ...tls,
      keepAlive: true,
      keepAliveMsecs: keepAliveMs,
      maxSockets,
      maxFreeSockets,
    });
    this.#agent = { key: id, agent };
    return agent;
  }
}

async function readAll(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

async function readJson(response: IncomingMessage, access: ApiAccess): Promise<unknown> {
  let text: string;
  try {
    text = await readAll(response);
  } catch (cause) {
    throw unreachable(access, cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError(access, { code: 500, message: `the answer is not JSON: ${text.slice(0, 80)}` }, cause);
  }
}

async function refusal(response: IncomingMessage, code: number, access: ApiAccess): Promise<ApiError> {
  const text = await readAll(response).catch(() => '');
  const after = Number(response.headers['retry-after']);
  const details = Number.isFinite(after) ? { retryAfterSeconds: after } : {};
  try {
    const status = JSON.parse(text) as ApiStatus;
    return new ApiError(access, { ...status, code, details: { ...details, ...status.details } });
  } catch {
    // A proxy on the way, or a server that is only starting, answers in words of its own.
    return new ApiError(access, { code, message: `${code} ${text.slice(0, 200).trim()}`.trim(), details });
  }
}

export function unreachable(access: ApiAccess, cause: unknown, signal?: AbortSignal): ApiError {
  const reason: unknown = signal?.aborted === true ? signal.reason : cause;
  const message =
    reason instanceof AggregateError
      ? String(reason.errors[0])
      : reason instanceof Error
        ? reason.message
        : String(reason);
  return new ApiError(access, { message }, cause);
}
