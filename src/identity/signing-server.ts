/**
 * The authority behind a unix socket: `POST /v1/certificates` with the fields of Istio's CreateCertificate as JSON. The socket is
 * the caller's credential: each caller (a node) gets one of its own, that nobody else can reach.
 */
import { chmod, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { type ErrorCode, HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { CertificateSigner } from './signer.ts';
import { parseWireRequest, signingPath, type WireAnswer } from './signing-wire.ts';

const maxBodyBytes = 32 * 1024;
const maxConnections = 256;

/** `true`, or why not. `retry`: the answer may change soon, as for a pod that was made a moment ago. */
export type IssueVerdict = boolean | { readonly why: string; readonly retry?: boolean };

export interface SigningServerOptions {
  readonly authority: CertificateSigner;
  readonly socketPath: string;
  /** Who reaches this socket: the node's name. */
  readonly caller: string;
  /** Whether `caller` may have a certificate for `identity`. Called for every request; nothing is signed by default. */
  readonly mayIssue: (identity: string, caller: string) => IssueVerdict | Promise<IssueVerdict>;
  readonly logger: Logger;
}

export interface SigningServer extends Closeable {
  readonly socketPath: string;
  close(): Promise<void>;
}

export async function startSigningServer(options: SigningServerOptions): Promise<SigningServer> {
  const { socketPath, logger } = options;
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 8 * 1024 },
    (request, response) => {
      handle(options, request, response).catch((error: unknown) => {
        logger.error({ err: error, caller: options.caller }, 'answering a signing request failed');
        response.destroy();
      });
    },
  );
  server.maxConnections = maxConnections;
  server.on('clientError', (_, socket) => socket.destroy());
  await listen(server, socketPath);
  await chmod(socketPath, 0o600);
  server.unref();
  return {
    socketPath,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function handle(
  options: SigningServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { authority, caller, mayIssue, logger } = options;
  let identity: string | undefined;
  try {
    if (request.url !== signingPath)
      return fail(response, 404, 'ERR_IDENTITY_PATH', `only ${signingPath} is served`);
    if (request.method !== 'POST') return fail(response, 405, 'ERR_IDENTITY_METHOD', 'only POST is served');
    const { csr, validityDuration, impersonatedIdentity } = parseWireRequest(await readBody(request));
    identity = impersonatedIdentity;
    const verdict = await mayIssue(identity, caller);
    if (verdict !== true) {
      const { why = 'not permitted', retry = false } = verdict === false ? {} : verdict;
      logger.warn({ audit: true, caller, identity, why, retry }, 'refused to sign a certificate');
      const hint = retry ? '; a retry may help' : '';
      return fail(
        response,
        403,
        'ERR_IDENTITY_REFUSED',
        `${caller} may not have a certificate for ${identity}: ${why}${hint}`,
      );
    }
    const abort = new AbortController();
    const signed = await authority.sign({ csr, identity, lifetimeMs: validityDuration * 1000 }, abort.signal);
    logger.info({ audit: true, caller, identity }, 'signed a certificate');
    const body: WireAnswer = { certChain: [...signed.chain, signed.roots] };
    answer(response, 200, body);
  } catch (caught) {
    const error = HadalError.from(caught, 'ERR_IDENTITY_SIGNER');
    const status = statusOf(error.code);
    logger.warn({ audit: true, caller, identity, err: error }, 'refused to sign a certificate');
    fail(
      response,
      status,
      error.code,
      status === 500 ? 'the authority failed; its log says why' : error.message,
    );
  }
}

function statusOf(code: ErrorCode): number {
  if (code === 'ERR_IDENTITY_REFUSED') return 403;
  return code === 'ERR_IDENTITY_CSR' || code === 'ERR_IDENTITY_REQUEST' ? 400 : 500;
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

function fail(response: ServerResponse, status: number, code: ErrorCode, message: string): void {
  // A request whose body was not read to its end cannot be followed by another.
  response.setHeader('connection', 'close');
  answer(response, status, { code, message });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maxBodyBytes) {
      throw new HadalError(
        'ERR_IDENTITY_REQUEST',
        `the signing request is longer than ${maxBodyBytes} bytes`,
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

async function listen(server: Server, path: string): Promise<void> {
  try {
    await listenOnce(server, path);
  } catch (caught) {
    const error = HadalError.from(caught, 'ERR_IDENTITY_SOCKET', `listening on ${path}`);
    if (error.systemCode !== 'EADDRINUSE' || (await answers(path))) throw error;
    // Left over by a process that was killed.
    await unlink(path);
    await listenOnce(server, path);
  }
}

function listenOnce(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => done(true));
    const done = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.on('error', () => done(false));
  });
}
