import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { type AddRequest, parseAddRequest, parseRemoveRequest, type RemoveRequest } from './request.ts';

/** What the socket's requests become. */
export interface EnrolmentService {
  enrol(request: AddRequest): Promise<Readonly<Record<string, unknown>>>;
  remove(request: RemoveRequest): Promise<Readonly<Record<string, unknown>>>;
  /** The enrolled pods, for `GET /pods`. */
  list(): readonly Readonly<Record<string, unknown>>[];
}

export interface EnrolmentServerOptions {
  readonly socketPath: string;
  readonly service: EnrolmentService;
  readonly logger: Logger;
}

/** A pod with all its annotations fits many times; more is not a request of a CNI plugin. */
const mostBodyBytes = 64 * 1024;

/**
 * `POST /cmdadd` and `/cmddel` on a unix socket that only root may open. The answer to /cmdadd is sent when the pod is
 * captured: who waits for it, as a CNI plugin does, lets no byte of the pod escape.
 */
export async function serveEnrolment(options: EnrolmentServerOptions): Promise<Closeable> {
  const { socketPath, service, logger } = options;
  const server = createServer({ keepAlive: false, requestTimeout: 10_000 }, (request, response) => {
    answer(service, request)
      .catch((caught: unknown) => failure(caught, request, logger))
      .then(({ status, body }) => send(response, status, body));
  });
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  // The agent holds the instance's lock: a socket that lies here has no owner.
  rmSync(socketPath, { force: true });
  await listen(server, socketPath);
  chmodSync(socketPath, 0o600);
  return {
    close: async (force) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const closeAll = () => server.closeAllConnections();
      if (force?.aborted === true) closeAll();
      else force?.addEventListener('abort', closeAll, { once: true });
      await closed;
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function answer(service: EnrolmentService, request: IncomingMessage): Promise<Answer> {
  const path = request.url?.split('?', 1)[0] ?? '';
  if (path === '/pods' && request.method === 'GET') return { status: 200, body: { pods: service.list() } };
  const action = { '/cmdadd': addPod, '/cmddel': removePod }[path];
  if (action === undefined) {
    return {
      status: 404,
      body: { error: `${path} is unknown; POST /cmdadd, POST /cmddel and GET /pods are served here` },
    };
  }
  if (request.method !== 'POST')
    return { status: 405, body: { error: `${path} takes POST, not ${request.method}` } };
  return { status: 200, body: await action(service, await readJson(request)) };
}

async function addPod(service: EnrolmentService, body: unknown): Promise<unknown> {
  return service.enrol(parseAddRequest(body));
}

async function removePod(service: EnrolmentService, body: unknown): Promise<unknown> {
  return service.remove(parseRemoveRequest(body));
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > mostBodyBytes) {
      throw new HadalError('ERR_ENROLMENT_REQUEST', `the body is larger than ${mostBodyBytes} bytes`);
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (caught) {
    throw new HadalError('ERR_ENROLMENT_REQUEST', `the body is not JSON: ${(caught as Error).message}`, {
      cause: caught,
    });
  }
}

function failure(caught: unknown, request: IncomingMessage, logger: Logger): Answer {
  const error = HadalError.from(caught, 'ERR_ENROLMENT');
  const status = error.code === 'ERR_ENROLMENT_REQUEST' ? 400 : error.code === 'ERR_DRAINING' ? 503 : 500;
  logger.warn({ err: error, path: request.url, status }, 'enrolment request failed');
  return { status, body: { error: error.message, code: error.code, ...error.details } };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (caught) =>
      reject(HadalError.from(caught, 'ERR_ENROLMENT_SOCKET', `listening on ${path}`)),
    );
    server.listen(path, resolve);
  });
}
