/**
 * The small HTTP servers of an agent: a table of routes, limits on everything a client can send, plain answers. Bodies are not
 * read: no route needs one.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { describeAddress, type ListenAddress, listen } from './listen.ts';

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status?: number;
  readonly contentType: string;
  /** A stream for what is too large to hold. */
  readonly body: string | Readable;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Answered on a unix socket alone, which its owner's permissions guard; a port is open to every process of the node. */
  readonly socketOnly?: boolean;
  readonly handle: (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;
}

export interface HttpServerOptions {
  /** Named in messages: `the admin server`. */
  readonly name: string;
  readonly routes: readonly Route[];
  /** Each is listened on. */
  readonly listen: readonly ListenAddress[];
  readonly logger: Logger;
  /** Refuse requests whose Host names another machine: a web page in somebody's browser must not reach a loopback server. */
  readonly loopbackHostOnly?: boolean;
  readonly maxConnections?: number;
}

export interface HttpListener extends Closeable {
  /** Ports and paths, in the order of `listen`. */
  readonly addresses: readonly string[];
  readonly port: number;
  close(force?: AbortSignal): Promise<void>;
}

const maxHeaderBytes = 8 * 1024;
const requestTimeoutMs = 10_000;

export async function startHttpServer(options: HttpServerOptions): Promise<HttpListener> {
  const servers: Server[] = [];
  try {
    for (const address of options.listen) servers.push(await startOne(options, address));
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  const addresses = servers.map((server) => describeAddress(server.address()));
  const ports = servers
    .map((server) => server.address())
    .filter((address): address is AddressInfo => typeof address === 'object');
  return {
    addresses,
    port: ports[0]?.port ?? 0,
    close: async (force) => {
      await Promise.all(servers.map((server) => closeServer(server, force)));
    },
  };
}

async function startOne(options: HttpServerOptions, address: ListenAddress): Promise<Server> {
  const limits = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: 30_000,
    connectionsCheckingInterval: 5_000,
  };
  const server = createServer(limits, (request, response) => {
    void answer(options, request, response);
  });
  server.maxConnections = options.maxConnections ?? 128;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  });
  await listen(server, options.name, address);
  server.unref();
  return server;
}

async function answer(
  options: HttpServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort(new HadalError('ERR_ABORTED', 'the client went away')));
  // A body would otherwise wait for a reader that never comes.
  request.resume();
  try {
    await send(request, response, await find(options, request, gone.signal));
  } catch (caught) {
    if (gone.signal.aborted) return;
    const error = HadalError.from(caught, 'ERR_HTTP');
    const status = error.code === 'ERR_REQUEST' ? 400 : error.code === 'ERR_BUSY' ? 409 : 500;
    if (status === 500)
      options.logger.warn({ err: error, path: request.url }, `${options.name} could not answer`);
    if (response.headersSent) response.destroy();
    else
      await send(request, response, plain(status, `${error.code}: ${error.message}\n`)).catch(() =>
        response.destroy(),
      );
  }
}

async function find(
  options: HttpServerOptions,
  request: IncomingMessage,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const host = request.headers.host ?? '';
  if (options.loopbackHostOnly === true && !isLoopbackHost(host)) {
    return plain(403, `host ${JSON.stringify(host)} is not this machine; use localhost\n`);
  }
  // A web page may send a POST to localhost, though it cannot read the answer.
  const { origin } = request.headers;
  if (options.loopbackHostOnly === true && origin !== undefined) {
    return plain(403, `requests of web pages (origin ${JSON.stringify(origin)}) are not answered\n`);
  }
  const [path = '', search = ''] = (request.url ?? '').split('?', 2);
  const here = options.routes.filter((route) => route.path === path);
  if (here.length === 0) {
    const known = [...new Set(options.routes.map((route) => route.path))].join(' ');
    return plain(404, `nothing at ${path.slice(0, 200)}; there is ${known}\n`);
  }
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '');
  const route = here.find((candidate) => candidate.method === method);
  if (route === undefined) {
    const allow = here.map((candidate) => candidate.method).join(', ');
    return { ...plain(405, `${path} takes ${allow}\n`), headers: { allow } };
  }
  if (route.socketOnly === true && request.socket.remoteAddress !== undefined) {
    const sockets = options.listen.flatMap((each) => ('socketPath' in each ? [each.socketPath] : []));
    const how = sockets.map((at) => `curl --unix-socket ${at} http://localhost${path}`).join(' or ');
    return plain(
      403,
      `${path} holds secrets and is answered on a unix socket alone: ${how || 'there is none'}\n`,
    );
  }
  return route.handle({ method, path, query: new URLSearchParams(search), signal });
}

const gzipFrom = 1_024;

async function send(request: IncomingMessage, response: ServerResponse, reply: HttpAnswer): Promise<void> {
  const { status = 200, contentType, body, headers = {} } = reply;
  const isText = typeof body === 'string';
  const compress = takesGzip(request) && (!isText || body.length >= gzipFrom);
  response.writeHead(status, {
    'content-type': contentType,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
    ...(compress ? { 'content-encoding': 'gzip', vary: 'accept-encoding' } : {}),
    ...(isText && !compress ? { 'content-length': Buffer.byteLength(body) } : {}),
  });
  if (request.method === 'HEAD') {
    response.end();
    if (!isText) body.destroy();
  } else if (compress) {
    await pipeline(isText ? Readable.from([body]) : body, createGzip({ level: 1 }), response);
  } else if (isText) {
    response.end(body);
  } else {
    await pipeline(body, response);
  }
}

function takesGzip(request: IncomingMessage): boolean {
  return /\bgzip\b(?!\s*;\s*q=0(?:\.0+)?\b)/.test(String(request.headers['accept-encoding'] ?? ''));
}

export function plain(status: number, body: string): HttpAnswer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

export function json(value: unknown, status = 200): HttpAnswer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value, undefined, 2)}\n` };
}

/** Names and addresses of the loopback, with or without port. */
function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:\d{1,5}$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name);
}

function closeServer(server: Server, force: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => server.closeAllConnections();
    force?.addEventListener('abort', end, { once: true });
    server.close(() => {
      force?.removeEventListener('abort', end);
      resolve();
    });
    server.closeIdleConnections();
    if (force?.aborted === true || force === undefined) end();
  });
}
