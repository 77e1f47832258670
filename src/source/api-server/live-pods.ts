/** Pods read from the API server itself, for the moment in which the watch has not told of one yet. */
import type { KnownPod, PodView } from '../../identity/pod-view.ts';
import type { KnownObject, ObjectKind, ObjectKinds } from '../kubernetes/objects.ts';
import { parseDocument } from '../kubernetes/objects.ts';
import { isTerminal, type PodObject } from '../kubernetes/pod.ts';
import { defaultEnrolmentRules, type EnrolmentRules, enrolmentWish } from '../translate/enrolment.ts';
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';
import { listPages } from './list-pages.ts';
import { apiResources, apiVersionOf, resourcePath } from './resources.ts';
import type { RawObject } from './watch-events.ts';

export function createLivePods(
  api: ApiClient,
  rules: EnrolmentRules = defaultEnrolmentRules,
): NonNullable<PodView['live']> {
  const namespaceOf = (name: string, signal: AbortSignal) => readOne(api, 'Namespace', '', name, signal);
  return {
    async pod(namespace, name, signal) {
      const [pod, within] = await Promise.all([
        readOne(api, 'Pod', namespace, name, signal),
        namespaceOf(namespace, signal),
      ]);
      return pod === undefined ? undefined : knownPod(pod, within, rules);
    },
    async podsOf(namespace, serviceAccount, signal) {
      const found: PodObject[] = [];
      const take = (items: readonly RawObject[]) => {
        for (const item of items) {
          const pod = typed(item, 'Pod');
          if (pod?.spec.serviceAccountName === serviceAccount) found.push(pod);
        }
      };
      const [, within] = await Promise.all([
        listPages(api, {
          path: resourcePath(apiResources.Pod, { namespace }),
          // The server chooses by it, so that a namespace with thousands of pods costs what the account has.
          query: { fieldSelector: `spec.serviceAccountName=${serviceAccount}` },
          pageSize: 500,
          signal,
          onRestart: () => found.splice(0),
          onPage: take,
        }),
        namespaceOf(namespace, signal),
      ]);
      return found.map((pod) => knownPod(pod, within, rules));
    },
  };
}

export function knownPod(
  pod: PodObject,
  namespace: ObjectKinds['Namespace'] | undefined,
  rules: EnrolmentRules,
): KnownPod {
  return {
    namespace: pod.metadata.namespace,
    name: pod.metadata.name,
    uid: pod.metadata.uid,
    node: pod.spec.nodeName,
    serviceAccount: pod.spec.serviceAccountName,
    terminal: isTerminal(pod),
    enrolled: enrolmentWish(pod, namespace, rules).wanted,
  };
}

async function readOne<K extends ObjectKind>(
  api: ApiClient,
  kind: K,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<ObjectKinds[K] | undefined> {
  try {
    const item = await api.request<RawObject>({
      path: resourcePath(apiResources[kind], { namespace, name }),
      signal,
    });
    return typed(item, kind);
  } catch (error) {
    if (isApiError(error, 404)) return undefined;
    throw error;
  }
}

/** Undefined for one that cannot be understood: it proves nothing. */
function typed<K extends ObjectKind>(item: RawObject, kind: K): ObjectKinds[K] | undefined {
  const origin = { file: 'Kubernetes API', document: 1, line: 1 };
  const resource = apiResources[kind];
  const apiVersion = apiVersionOf(resource, resource.versions[0]);
  const parsed = parseDocument({ origin, value: { ...item, apiVersion, kind } });
  const object: KnownObject | undefined = parsed.kind === 'object' ? parsed.object : undefined;
  return object as ObjectKinds[K] | undefined;
}
