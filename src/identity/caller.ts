/** Who asks a control plane for something: a certificate, or the mesh. */
import { HadalError } from '../base/errors.ts';

export interface Caller {
  /** The one node that it speaks for. */
  readonly node: string;
  /**
   * It is the agent of its node: it may have the mesh, and the certificates of that node's pods. Decided once, where it is
   * authenticated. Anybody else may have a certificate for itself and nothing more.
   */
  readonly isAgent: boolean;
  /** For logs and limits: `join token 3f2a… of node a`, `hadal-system/hadal-agent in pod hadal-agent-x2v`. Holds no secret. */
  readonly name: string;
  /** Of a service account token; a join token has none. */
  readonly account: CallerAccount | undefined;
  /** When what it showed ends, in milliseconds since 1970; streams that were opened with it need not outlive it. */
  readonly expiresAt: number | undefined;
}

export interface CallerAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
}

/** gRPC's Metadata, as far as it is needed here. */
export interface CallMetadata {
  get(key: string): readonly (string | Buffer)[];
}

/** Rejects with ERR_IDENTITY_UNAUTHENTICATED, whose message is for the log and never for the caller. */
export type Authenticate = (
  metadata: CallMetadata,
  signal: AbortSignal,
  /** Where it comes from, as gRPC names it: with its port. */
  peer: string,
) => Promise<Caller>;

/** Both kinds of tokens have about 1 KiB. */
const maxTokenBytes = 8 * 1024;
/** RFC 6750: what a bearer token may be made of. */
const bearer = /^Bearer ([A-Za-z0-9._~+/-]+=*)$/i;

/** The bearer token of a call. Throws ERR_IDENTITY_UNAUTHENTICATED, whose message never holds what was sent. */
export function bearerToken(metadata: CallMetadata): string {
  const values = metadata.get('authorization');
  const [value] = values;
  if (value === undefined) throw unauthenticated('the call has no authorization');
  if (values.length > 1) throw unauthenticated('the call has more than one authorization');
  if (value.length > maxTokenBytes) throw unauthenticated(`the authorization has ${value.length} bytes`);
  const token = typeof value === 'string' ? bearer.exec(value)?.[1] : undefined;
  if (token === undefined) throw unauthenticated('the authorization is no bearer token');
  return token;
}

export function unauthenticated(why: string, cause?: unknown): HadalError<'ERR_IDENTITY_UNAUTHENTICATED'> {
  return new HadalError('ERR_IDENTITY_UNAUTHENTICATED', why, { cause });
}

/** gRPC's `ipv4:10.0.0.1:4711`, `fd00::1:4711` or `::ffff:10.0.0.1:4711` without the port, which is another each time. */
export function addressOf(peer: string): string {
  return peer
    .replace(/^ipv[46]:/, '')
    .replace(/:\d+$/, '')
    .replace(/^::ffff:(?=\d+\.)/, '');
}
