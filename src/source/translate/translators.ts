/** What each kind becomes. Kinds that are only looked at by others (Node, ServiceAccount) have no row. */
import type { KnownObject, ObjectKind, ObjectKinds } from '../kubernetes/objects.ts';
import { translateAuthorizationPolicy } from './authorization-policy.ts';
import { translateEndpointSlice } from './endpoint-slice.ts';
import { translateGateway, translateRoute } from './gateway.ts';
import { translatePeerAuthentication } from './peer-authentication.ts';
import { translatePod } from './pod.ts';
import { noResources, type TranslatedResources, translated } from './resources.ts';
import { translateNamespace } from './same-node.ts';
import { translateService } from './service.ts';
import { translateServiceEntry } from './service-entry.ts';
import { translateSidecar } from './sidecar.ts';
import type { ClusterView } from './view.ts';
import { translateWorkloadEntry } from './workload-entry.ts';

/** Pure: what it returns follows from the object and from what it looked at in the view. Never throws. */
export type Translator<K extends ObjectKind> = (
  object: ObjectKinds[K],
  view: ClusterView,
) => Partial<TranslatedResources>;

export type Translators = { readonly [K in ObjectKind]?: Translator<K> };

export const translators: Translators = Object.freeze({
  Namespace: translateNamespace,
  Pod: translatePod,
  Service: translateService,
  AuthorizationPolicy: translateAuthorizationPolicy,
  PeerAuthentication: translatePeerAuthentication,
  EndpointSlice: translateEndpointSlice,
  WorkloadEntry: translateWorkloadEntry,
  ServiceEntry: translateServiceEntry,
  Sidecar: translateSidecar,
  Gateway: translateGateway,
  HTTPRoute: translateRoute,
  GRPCRoute: translateRoute,
  TLSRoute: translateRoute,
  TCPRoute: translateRoute,
});

export function translateObject(object: KnownObject, view: ClusterView): TranslatedResources {
  // The table pairs each kind with a translator of that kind, which the type of a lookup by kind cannot say.
  const translator = translators[object.kind] as Translator<ObjectKind> | undefined;
  return translator === undefined ? noResources : translated(translator(object, view));
}
