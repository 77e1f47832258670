import { status as grpcStatus } from '@grpc/grpc-js';
import type { Rejection } from './client-subscription.ts';
import type { BehindStatus } from './generation-guard.ts';

/** Where the client is between its start and its end. */
export type ClientState =
  | { readonly name: 'idle' }
  | { readonly name: 'connecting'; readonly attempt: number }
  | { readonly name: 'streaming'; readonly since: number }
  | { readonly name: 'waiting'; readonly delayMs: number; readonly error: string | undefined }
  | { readonly name: 'closed' };

/** Why a stream ended, in the words of Istio's metric. */
export type Termination = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete';

export interface RejectedResource extends Rejection {
  readonly typeUrl: string;
  readonly name: string;
}

/** What an operator wants to know of the connection. Times are milliseconds since 1970. */
export interface XdsStatus {
  readonly address: string;
  readonly state: ClientState['name'];
  /** Of the stream that is open. */
  readonly connectedAt: number | undefined;
  readonly lastResponseAt: number | undefined;
  /** Why there is no stream, or why the last one ended. */
  readonly error: string | undefined;
  /** Resources whose newest version is not in force, and why. */
  readonly rejected: readonly RejectedResource[];
  /** As the server names its own state. */
  readonly systemVersion: string;
  /** Resources that were received, and wait for the end of the push that they belong to. */
  readonly held: number;
  /** Only replicas answer that have not seen what is in force; undefined where all is well. */
  readonly behind: BehindStatus | undefined;
  /** On demand: how many names are asked for; undefined where everything is told. */
  readonly names: number | undefined;
}

export interface XdsCounters {
  readonly terminations: ReadonlyMap<Termination, number>;
  /** By type URL. */
  readonly messages: ReadonlyMap<string, number>;
  readonly messageBytes: ReadonlyMap<string, number>;
  /** Versions of resources that were refused. */
  readonly rejected: number;
}

/** Ends that are no fault: servers close streams that are old, and themselves. */
const ordinary: readonly number[] = [grpcStatus.UNKNOWN, grpcStatus.CANCELLED, grpcStatus.DEADLINE_EXCEEDED];
const ordinaryText = /transport is closing|goaway|ECONNRESET|Connection dropped/i;

export function terminationOf(error: unknown, isConnected: boolean): Termination {
  if (error === undefined) return 'Complete';
  if (!isConnected) return 'ConnectionError';
  const { code, message } = error as { readonly code?: unknown; readonly message?: string };
  const isOrdinary = ordinary.includes(code as number) || ordinaryText.test(message ?? '');
  return isOrdinary ? 'Reconnect' : 'Error';
}
