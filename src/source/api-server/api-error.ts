/** What an API server answers when it refuses, in words that say what to do. */
import { HadalError } from '../../base/errors.ts';
import type { ApiAccess } from './api-access.ts';

type ApiErrorCode =
  | 'ERR_KUBERNETES_UNREACHABLE'
  | 'ERR_KUBERNETES_UNAUTHENTICATED'
  | 'ERR_KUBERNETES_FORBIDDEN'
  | 'ERR_KUBERNETES_NOT_FOUND'
  | 'ERR_KUBERNETES_CONFLICT'
  | 'ERR_KUBERNETES_EXPIRED'
  | 'ERR_KUBERNETES_BUSY'
  | 'ERR_KUBERNETES_REFUSED';

/** The fields that are read of a `Status` of the API. */
export interface ApiStatus {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { readonly reason?: string }[];
  };
}

export class ApiError extends HadalError<ApiErrorCode> {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What the server said, or why there was no answer: without what was asked. */
  readonly said: string;
  /** The API's own word for it: `AlreadyExists`, `Expired`. */
  readonly reason: string;
  /** The server asks to be left alone for so long. */
  readonly retryAfterMs: number | undefined;

  constructor(access: ApiAccess, status: ApiStatus, cause?: unknown) {
    const code = status.code ?? 0;
    super(codeOf(code), sentence(access, status), { cause, details: { ...access, status: code } });
    this.status = code;
    this.said = status.message ?? '';
    this.reason = status.reason ?? '';
    const seconds = status.details?.retryAfterSeconds;
    this.retryAfterMs = seconds === undefined ? undefined : seconds * 1_000;
  }

  /** The resource version asked for is no longer kept, or, after a restore of etcd, not there yet: only a new list helps. */
  get needsRelist(): boolean {
    return this.status === 410 || (this.status === 504 && /too large resource version/i.test(this.said));
  }
}

export function isApiError(caught: unknown, status?: number): caught is ApiError {
  return caught instanceof ApiError && (status === undefined || caught.status === status);
}

function codeOf(status: number): ApiErrorCode {
  switch (status) {
    case 0:
      return 'ERR_KUBERNETES_UNREACHABLE';
    case 401:
      return 'ERR_KUBERNETES_UNAUTHENTICATED';
    case 403:
      return 'ERR_KUBERNETES_FORBIDDEN';
    case 404:
      return 'ERR_KUBERNETES_NOT_FOUND';
    case 409:
      return 'ERR_KUBERNETES_CONFLICT';
    case 410:
      return 'ERR_KUBERNETES_EXPIRED';
    case 429:
    case 503:
    case 504:
      return 'ERR_KUBERNETES_BUSY';
    default:
      return 'ERR_KUBERNETES_REFUSED';
  }
}

function sentence(access: ApiAccess, { code = 0, message = '' }: ApiStatus): string {
  const doing = `cannot ${access.verb} ${access.resource}${access.namespace === '' ? '' : ` in namespace ${access.namespace}`}`;
  const said = message === '' ? '' : `: ${message}`;
  const next = nextStep(access, code);
  return `Kubernetes API: ${doing}${said}${next === '' ? '' : `; ${next}`}`;
}

function nextStep({ verb, resource, group }: ApiAccess, status: number): string {
  switch (status) {
    case 0:
      return 'is the API server running, and is there a way to it?';
    case 401:
      return 'the token is not valid (any more); is the service account token mounted, and for this cluster?';
    case 403:
      return `add the verb "${verb}" for the resource "${resource}" in the API group "${group}" to the role of this user; daemonset/*-rbac.yaml have all that Hadal needs`;
    default:
      return '';
  }
}
