/** Service accounts with a token and just the rights that a test gives them. */
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { create, uniqueName } from './world.ts';

export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

export interface TokenWish {
  readonly audiences?: readonly string[];
  readonly expirationSeconds?: number;
  readonly boundObjectRef?: {
    readonly kind: 'Pod';
    readonly apiVersion: 'v1';
    readonly name: string;
    readonly uid: string;
  };
}

/** TokenRequest: what a kubelet does for a projected token. */
export async function requestToken(
  api: ApiClient,
  namespace: string,
  account: string,
  wish: TokenWish = {},
): Promise<string> {
  const answer = await api.request<{ readonly status: { readonly token: string } }>({
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [], ...wish } },
  });
  return answer.status.token;
}

/** A service account that may do what `rules` say in all namespaces, and its token. */
export async function accountWith(
  api: ApiClient,
  namespace: string,
  rules: readonly PolicyRule[],
): Promise<{
  readonly name: string;
  readonly token: string;
  setRules(rules: readonly PolicyRule[]): Promise<void>;
}> {
  const name = uniqueName('account');
  await create(api, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
  const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name } };
  await create(api, { ...role, rules });
  await create(api, {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace }],
  });
  const path = `/apis/rbac.authorization.k8s.io/v1/clusterroles/${name}`;
  return {
    name,
    token: await requestToken(api, namespace, name),
    setRules: async (next) => {
      await api.request({ method: 'PUT', path, body: { ...role, rules: next } });
    },
  };
}
