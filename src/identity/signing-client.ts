/** Asks the authority behind a unix socket. */
import { request } from 'node:http';
import { type ErrorCode, HadalError } from '../base/errors.ts';
import type { CertificateSigner, SignedCertificate, SigningRequest } from './signer.ts';
import { parseObject, parseWireAnswer, signingPath, type WireRequest } from './signing-wire.ts';

const maxAnswerBytes = 1024 * 1024;

export class SocketSigner implements CertificateSigner {
  readonly name: string;
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
    this.name = `unix:${socketPath}`;
  }

  async sign({ csr, identity, lifetimeMs }: SigningRequest, signal: AbortSignal): Promise<SignedCertificate> {
    const body: WireRequest = {
      csr,
      validityDuration: Math.ceil(lifetimeMs / 1000),
      impersonatedIdentity: identity,
    };
    const { status, text } = await this.#post(JSON.stringify(body), signal);
    if (status !== 200) throw this.#refusal(status, text);
    const answer = parseWireAnswer(text);
    if (answer === undefined) {
      throw new HadalError(
        'ERR_IDENTITY_ANSWER',
        `${this.name} answered something that is no certificate chain`,
      );
    }
    return { chain: answer.certChain.slice(0, -1), roots: answer.certChain.at(-1) ?? '' };
  }

  #post(body: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const failed = (error: unknown) => {
        reject(
          HadalError.from(error, 'ERR_IDENTITY_SIGNER', `asking the certificate authority at ${this.name}`),
        );
      };
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const call = request(
        { socketPath: this.#socketPath, path: signingPath, method: 'POST', headers, signal, agent: false },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (part: string) => {
            text += part;
            if (text.length > maxAnswerBytes)
              response.destroy(new Error(`the answer is longer than ${maxAnswerBytes} bytes`));
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
          response.on('error', failed);
        },
      );
      call.on('error', failed);
      call.end(body);
    });
  }

  #refusal(status: number, text: string): HadalError {
    const { code, message } = parseObject(text) ?? {};
    const ours = typeof code === 'string' && code.startsWith('ERR_IDENTITY_');
    const why = typeof message === 'string' ? message : `status ${status}`;
    return new HadalError(
      ours ? (code as ErrorCode) : 'ERR_IDENTITY_SIGNER',
      `the certificate authority at ${this.name} refused: ${why}`,
    );
  }
}
