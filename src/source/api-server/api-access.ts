/** What a request asks permission for, in the words of RBAC, so that a refusal can name what is missing. */
export interface ApiAccess {
  readonly verb: string;
  /** `pods`, `pods/status`; a path where the API names no resource (`/version`). */
  readonly resource: string;
  /** Empty for the core group. */
  readonly group: string;
  /** Empty for all namespaces, and for kinds that have none. */
  readonly namespace: string;
}

const verbs: Readonly<Record<string, string>> = {
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** `/api/v1/namespaces/shop/pods/front/status` and its like: core or group, then perhaps a namespace, resource, name, subresource. */
export function accessOf(method: string, path: string, isWatch = false): ApiAccess {
  const parts = path.split('/').filter((part) => part !== '');
  const isCore = parts[0] === 'api';
  if (!isCore && parts[0] !== 'apis') return plainPath(method, path);
  const group = isCore ? '' : (parts[1] ?? '');
  const rest = parts.slice(isCore ? 2 : 3);
  // `/api/v1/namespaces/shop` is the namespace itself.
  const isWithin = rest[0] === 'namespaces' && rest.length > 2;
  const [resource, name, subresource] = isWithin ? rest.slice(2) : rest;
  if (resource === undefined) return plainPath(method, path);
  return {
    verb: verbs[method] ?? (isWatch ? 'watch' : name === undefined ? 'list' : 'get'),
    resource: subresource === undefined ? resource : `${resource}/${subresource}`,
    group,
    namespace: isWithin ? (rest[1] ?? '') : '',
  };
}

function plainPath(method: string, path: string): ApiAccess {
  return { verb: verbs[method] ?? 'get', resource: path, group: '', namespace: '' };
}
