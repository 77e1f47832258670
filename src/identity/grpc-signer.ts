/** Asks the certificate service of a control plane, ours or istiod, over TLS. */
import { type ClientOptions, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { abortedError } from '../base/abort.ts';
import { type ErrorCode, HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import { type IstioCertificateRequest, IstioCertificateServiceClient } from '../proto/certificate.gen.ts';
import {
  type ControlPlaneAccess,
  callMetadata,
  controlPlaneCredentials,
  readToken,
} from './control-plane-channel.ts';
import { expiryOf } from './join-token.ts';
import type { CertificateSigner, SignedCertificate, SigningRequest } from './signer.ts';

export interface GrpcSignerOptions extends ControlPlaneAccess {
  /** `host:port`. */
  readonly address: string;
  /** Name in the control plane's certificate, where it is not the host of the address. */
  readonly serverName?: string;
  /** One call, end to end. Default 10 s. */
  readonly timeoutMs?: number;
}

const maxAnswerBytes = 1024 * 1024;
const channelOptions: ClientOptions = {
  'grpc.max_receive_message_length': maxAnswerBytes,
  // A pod without a certificate reaches nobody: not gRPC's two minutes once the authority is back.
  'grpc.initial_reconnect_backoff_ms': 250,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

export class GrpcSigner implements CertificateSigner, Closeable {
  readonly name: string;
  readonly #options: GrpcSignerOptions;
  /** Made with the first request: the file of roots may come later than the agent. */
  #client: IstioCertificateServiceClient | undefined;

  constructor(options: GrpcSignerOptions) {
    this.#options = options;
    this.name = options.address;
  }

  async sign({ csr, identity, lifetimeMs }: SigningRequest, signal: AbortSignal): Promise<SignedCertificate> {
    const metadata = await callMetadata(this.#options);
    const request = {
      csr,
      validityDuration: Math.ceil(lifetimeMs / 1000),
      metadata: { ImpersonatedIdentity: identity },
    };
    const certChain = await this.#call(request, metadata, signal);
    const roots = certChain.at(-1);
    if (certChain.length < 2 || roots === undefined || certChain.includes('')) {
      throw new HadalError(
        'ERR_IDENTITY_ANSWER',
        `${this.name} answered something that is no certificate chain`,
      );
    }
    return { chain: certChain.slice(0, -1), roots };
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #call(request: IstioCertificateRequest, metadata: Metadata, signal: AbortSignal): Promise<string[]> {
    const { timeoutMs = 10_000 } = this.#options;
    const client = this.#connect();
    const outcome = await new Promise<string[] | ServiceError>((resolve, reject) => {
      const call = client.createCertificate(
        request,
        metadata,
        { deadline: Date.now() + timeoutMs },
        (error, answer) => {
          signal.removeEventListener('abort', cancel);
          resolve(error ?? answer.certChain);
        },
      );
      const cancel = () => {
        call.cancel();
        reject(abortedError(signal, `asking the certificate authority at ${this.name}`));
      };
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel, { once: true });
    });
    if (Array.isArray(outcome)) return outcome;
    throw await this.#failure(outcome);
  }

  #connect(): IstioCertificateServiceClient {
    const { address, serverName } = this.#options;
    this.#client ??= new IstioCertificateServiceClient(address, controlPlaneCredentials(this.#options), {
      ...channelOptions,
      ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
    });
    return this.#client;
  }

  async #failure({ code, details }: ServiceError): Promise<HadalError> {
    const refused = `the certificate authority at ${this.name} refused: ${details}`;
    switch (code) {
      case status.UNAUTHENTICATED:
      case status.PERMISSION_DENIED:
        return new HadalError('ERR_IDENTITY_REFUSED', `${refused}${await this.#tokenHint()}`);
      case status.INVALID_ARGUMENT:
        return new HadalError('ERR_IDENTITY_REQUEST', refused);
      case status.RESOURCE_EXHAUSTED:
      case status.INTERNAL:
        return new HadalError('ERR_IDENTITY_SIGNER', refused);
      default:
        return unreachable(this.name, this.#options.rootFile, details);
    }
  }

  /** The authority tells strangers nothing, so what this side knows itself is worth saying. */
  async #tokenHint(): Promise<string> {
    const { tokenFile } = this.#options;
    const expiry = await readToken(tokenFile).then(expiryOf, () => undefined);
    if (expiry === undefined || expiry > Date.now()) return '';
    return `; the token in ${tokenFile} expired at ${new Date(expiry).toISOString()}`;
  }
}

const untrusted =
  /self[- ]signed certificate|unable to (?:get|verify)[a-z ]* certificate|certificate signature failure/;

function unreachable(name: string, rootFile: string, details: string): HadalError {
  const code: ErrorCode = 'ERR_IDENTITY_SIGNER';
  const message = `asking the certificate authority at ${name}: ${details}`;
  if (untrusted.test(details)) {
    return new HadalError(code, `${message}; does ${rootFile} hold the root of its authority?`);
  }
  return new HadalError(
    code,
    /ECONNREFUSED/.test(details) ? `${message}; is the control plane running?` : message,
  );
}
