/** `istio.v1.auth.IstioCertificateService` for a gRPC server: ztunnel and our own agents ask it for the certificates of their pods. */
import { on } from 'node:events';
import {
  Metadata,
  type Server,
  type ServerReadableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { deadline } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import {
  IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateServiceService,
} from '../proto/certificate.gen.ts';
import type { CertificateCall, CertificateIssuer } from './certificate-issuer.ts';

type Call = ServerReadableStream<Uint8Array, IstioCertificateResponse>;
type Answer = sendUnaryData<IstioCertificateResponse>;

/** How long one call may take: the API server may be asked twice on its way. */
const callTimeoutMs = 15_000;
/** How long a caller that is known may take to send its request. */
const requestTimeoutMs = 5_000;
/** A certificate request has 16 KiB at most, and there is nothing else of size beside it. */
const maxRequestBytes = 64 * 1024;

/** Istio answers a refused impersonation with UNAUTHENTICATED as well, so agents treat the two alike. */
const statuses: Readonly<Record<string, status>> = {
  ERR_IDENTITY_UNAUTHENTICATED: status.UNAUTHENTICATED,
  ERR_IDENTITY_JOIN_KEY: status.UNAUTHENTICATED,
  ERR_IDENTITY_REFUSED: status.UNAUTHENTICATED,
  ERR_IDENTITY_REVIEWER: status.UNAVAILABLE,
  ERR_ABORTED: status.UNAVAILABLE,
  ERR_IDENTITY_CSR: status.INVALID_ARGUMENT,
  ERR_IDENTITY_REQUEST: status.INVALID_ARGUMENT,
  ERR_IDENTITY_RATE: status.RESOURCE_EXHAUSTED,
  ERR_QUEUE_FULL: status.RESOURCE_EXHAUSTED,
};

/**
 * The same on the wire as the unary method. grpc-js reads, inflates and decodes the request of a unary one before anybody can ask
 * who calls; of a stream it reads what is asked for.
 */
const definition = {
  createCertificate: {
    ...IstioCertificateServiceService.createCertificate,
    requestStream: true,
    requestSerialize: (bytes: Uint8Array): Buffer => Buffer.from(bytes),
    requestDeserialize: (bytes: Buffer): Uint8Array => bytes,
  },
} as const;

export function addCertificateService(server: Server, issuer: CertificateIssuer): void {
  server.addService(definition, {
    createCertificate: (call: Call, answer: Answer) => void createCertificate(issuer, call, answer),
  });
}

async function createCertificate(issuer: CertificateIssuer, call: Call, answer: Answer): Promise<void> {
  // Without a listener an error of the wire would be one of the process.
  call.on('error', () => {});
  const gone = new AbortController();
  call.on('cancelled', () => gone.abort(new HadalError('ERR_ABORTED', 'the caller has left')));
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(callTimeoutMs)]);
  try {
    const certChain = await issuer.issue(
      () => readRequest(call, signal),
      call.metadata,
      call.getPeer(),
      signal,
    );
    answer(null, { certChain: [...certChain] });
  } catch (caught) {
    const { code, message } = HadalError.from(caught, 'ERR_IDENTITY_SIGNER');
    const error: Partial<ServiceError> = {
      code: statuses[code] ?? status.INTERNAL,
      details: message,
      metadata: new Metadata(),
    };
    answer(error);
  }
}

/** The first message of the call; what follows it is not read. */
async function readRequest(call: Call, signal: AbortSignal): Promise<CertificateCall> {
  const time = deadline(requestTimeoutMs, 'the request for a certificate', signal);
  try {
    for await (const [bytes] of on(call, 'data', { close: ['end', 'close'], signal: time.signal })) {
      call.pause();
      return decodeRequest(bytes as Uint8Array);
    }
  } finally {
    time.clear();
  }
  throw new HadalError('ERR_IDENTITY_REQUEST', 'the call ended before its request came');
}

function decodeRequest(bytes: Uint8Array): CertificateCall {
  if (bytes.length > maxRequestBytes) {
    const why = `the signing request has ${bytes.length} bytes, more than ${maxRequestBytes}`;
    throw new HadalError('ERR_IDENTITY_REQUEST', why);
  }
  try {
    const { csr, validityDuration, metadata: fields = {} } = IstioCertificateRequest.decode(bytes);
    return { csr, validityDuration, fields };
  } catch (caught) {
    throw new HadalError('ERR_IDENTITY_REQUEST', 'the signing request is no message', { cause: caught });
  }
}
