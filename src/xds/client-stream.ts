import type { Metadata } from '@grpc/grpc-js';
import type { Request } from './client-subscription.ts';
import type { NodeIdentity } from './node-identity.ts';

/** A response as it came, before its resources are looked at. */
export interface RawResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly systemVersion: string;
  readonly resources: readonly RawResource[];
  readonly removed: readonly string[];
  /** Names that the server cannot tell of, and why; they are among `removed` too. */
  readonly errors: readonly NameError[];
  /** Length of the message. */
  readonly bytes: number;
}

export interface NameError {
  readonly name: string;
  readonly why: string;
}

export interface RawResource {
  readonly name: string;
  readonly version: string;
  readonly resource: { readonly typeUrl: string; readonly value: Uint8Array } | undefined;
}

/** One stream to a control plane. It ends with its iteration: cleanly, or by the error that is thrown. */
export interface XdsStream {
  readonly responses: AsyncIterable<RawResponse>;
  /** The connection below stands, with its handshake done. */
  readonly isConnected: boolean;
  /** `node` goes with the first request. */
  send(request: Request, node?: NodeIdentity): void;
  cancel(): void;
}

export interface XdsTransport {
  /** Throws what makes a stream impossible before anything is dialled. */
  open(metadata: Metadata, onConnected: () => void): XdsStream;
}
