/** Whose token this is, asked of the API server; what that is worth is decided in src/identity. */
import type { TokenReview, TokenReviewer } from '../../identity/service-account-caller.ts';
import type { ApiClient } from './api-client.ts';

interface TokenReviewAnswer {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly user?: {
      readonly username?: string;
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
    readonly audiences?: readonly string[];
    readonly error?: string;
  };
}

export function createTokenReviewer(api: ApiClient): TokenReviewer {
  return {
    async review(token, audiences, signal): Promise<TokenReview> {
      const { status = {} } = await api.request<TokenReviewAnswer>({
        method: 'POST',
        path: '/apis/authentication.k8s.io/v1/tokenreviews',
        body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } },
        signal,
      });
      return {
        authenticated: status.authenticated === true,
        username: status.user?.username,
        audiences: status.audiences,
        extra: status.user?.extra,
        error: status.error,
      };
    },
  };
}
