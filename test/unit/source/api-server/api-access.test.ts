import { describe, expect, it } from 'vitest';
import { accessOf } from '../../../../src/source/api-server/api-access.ts';
import { ApiError } from '../../../../src/source/api-server/api-error.ts';
import { apiResources, apiVersionOf, resourcePath } from '../../../../src/source/api-server/resources.ts';
import { parseDocument, readKinds } from '../../../../src/source/kubernetes/objects.ts';

describe('what a request asks permission for', () => {
  it.each([
    ['GET', '/api/v1/pods', false, 'list pods  '],
    ['GET', '/api/v1/pods', true, 'watch pods  '],
    ['GET', '/api/v1/namespaces/shop', false, 'get namespaces  '],
    ['GET', '/api/v1/namespaces/shop/pods/front', false, 'get pods  shop'],
    ['PATCH', '/api/v1/namespaces/shop/pods/front/status', false, 'patch pods/status  shop'],
    [
      'POST',
      '/apis/authentication.k8s.io/v1/tokenreviews',
      false,
      'create tokenreviews authentication.k8s.io ',
    ],
    [
      'PUT',
      '/apis/coordination.k8s.io/v1/namespaces/a/leases/b',
      false,
      'update leases coordination.k8s.io a',
    ],
    ['GET', '/version', false, 'get /version  '],
  ])('%s %s (watch: %s): %s', (method, path, isWatch, expected) => {
    const { verb, resource, group, namespace } = accessOf(method, path, isWatch);
    expect([verb, resource, group, namespace].join(' ')).toBe(expected);
  });
});

describe('a refusal of the API server', () => {
  const access = accessOf('GET', '/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies', true);

  it('names the right that is missing', () => {
    const error = new ApiError(access, { code: 403, message: 'forbidden' });
    expect(error.code).toBe('ERR_KUBERNETES_FORBIDDEN');
    expect(error.message).toBe(
      'Kubernetes API: cannot watch authorizationpolicies in namespace shop: forbidden; add the verb "watch" for the resource "authorizationpolicies" in the API group "security.istio.io" to the role of this user; daemonset/*-rbac.yaml have all that Hadal needs',
    );
  });

  it.each([
    [{ code: 410, message: 'too old' }, true],
    [{ code: 504, message: 'Too large resource version: 12, current: 7' }, true],
    [{ code: 504, message: 'timeout' }, false],
    [{ code: 503, message: 'starting' }, false],
    [{ message: 'connect ECONNREFUSED' }, false],
  ])('%o needs a new list: %s', (status, expected) => {
    expect(new ApiError(access, status).needsRelist).toBe(expected);
  });

  it('keeps how long the server asks to be left alone', () => {
    expect(new ApiError(access, { code: 429, details: { retryAfterSeconds: 3 } }).retryAfterMs).toBe(3_000);
  });
});

describe('the table of resources', () => {
  it.each(readKinds())('has a row for %s whose versions are all understood', (kind) => {
    const resource = apiResources[kind];
    for (const version of resource.versions) {
      const apiVersion = apiVersionOf(resource, version);
      const parsed = parseDocument({
        origin: { file: 'test', document: 1, line: 1 },
        value: { apiVersion, kind, metadata: { name: 'some' } },
      });
      expect(parsed.kind).not.toBe('other');
      const reasons = parsed.kind === 'rejected' ? parsed.rejections.map(({ reason }) => reason) : [];
      expect(reasons.join()).not.toContain('is not understood');
      expect(reasons.join()).not.toMatch(/apiVersion/);
    }
  });

  it('makes the paths of the core group and of others', () => {
    expect(resourcePath(apiResources.Pod, { namespace: 'shop', name: 'front', subresource: 'status' })).toBe(
      '/api/v1/namespaces/shop/pods/front/status',
    );
    expect(resourcePath(apiResources.AuthorizationPolicy, { version: 'v1beta1' })).toBe(
      '/apis/security.istio.io/v1beta1/authorizationpolicies',
    );
  });
});
