import { parseAddress } from '../../../../src/model/address.ts';
import { type Authorization, createMatch, type MatchFields } from '../../../../src/model/authorization.ts';
import { createSnapshot } from '../../../../src/model/snapshot.ts';
import { parseSpiffeId } from '../../../../src/model/spiffe-id.ts';
import { createWorkload } from '../../../../src/model/workload.ts';
import { evaluate } from '../../../../src/policy/evaluate.ts';
import {
  type AuthorizationPolicyObject,
  authorizationPolicyObject,
} from '../../../../src/source/kubernetes/authorization-policy.ts';
import { gatewayObject } from '../../../../src/source/kubernetes/gateway.ts';
import { namespaceObject } from '../../../../src/source/kubernetes/namespace.ts';
import type { KnownObject } from '../../../../src/source/kubernetes/objects.ts';
import {
  type PeerAuthenticationObject,
  peerAuthenticationObject,
} from '../../../../src/source/kubernetes/peer-authentication.ts';
import { serviceObject } from '../../../../src/source/kubernetes/service.ts';
import { translateAuthorizationPolicy } from '../../../../src/source/translate/authorization-policy.ts';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import { translateObject } from '../../../../src/source/translate/translators.ts';
import { policiesOf } from '../../../../src/source/translate/workload-policies.ts';

export type Json = Record<string, unknown>;

export function document(kind: string, spec: unknown, metadata: Json = {}, version = 'v1'): Json {
  return {
    apiVersion: `security.istio.io/${version}`,
    kind,
    metadata: { name: 'p', namespace: 'shop', ...metadata },
    ...(spec === undefined ? {} : { spec }),
  };
}

export function authorizationPolicy(spec: unknown, metadata: Json = {}): AuthorizationPolicyObject {
  return authorizationPolicyObject.parse(document('AuthorizationPolicy', spec, metadata));
}

export function peerAuthentication(spec: unknown, metadata: Json = {}): PeerAuthenticationObject {
  return peerAuthenticationObject.parse(document('PeerAuthentication', spec, metadata));
}

export function namespace(labels: Json = {}): KnownObject {
  return namespaceObject.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels } });
}

export function service(name: string, labels: Json = {}): KnownObject {
  return serviceObject.parse({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop', labels },
    spec: { ports: [{ port: 80 }] },
  });
}

export function waypoint(name: string): KnownObject {
  return gatewayObject.parse({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name, namespace: 'shop' },
    spec: {
      gatewayClassName: 'hadal-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  });
}

/** The one Authorization that the policy becomes. */
export function enforced(spec: unknown, metadata: Json = {}): Authorization | undefined {
  const policy = authorizationPolicy(spec, metadata);
  return translateAuthorizationPolicy(policy, viewOf([policy])).policies[0];
}

/** Rules as lists of clauses as lists of matches, with only the fields that say something. */
export function outline(policy: Authorization | undefined): unknown {
  return policy?.rules.map(({ clauses }) =>
    clauses.map(({ matches }) =>
      matches.map((match) =>
        Object.fromEntries(
          Object.entries(match).filter(([, values]: [string, readonly unknown[]]) => values.length > 0),
        ),
      ),
    ),
  );
}

/** What `outline` gives for a match. */
export const fields = (match: MatchFields) =>
  Object.fromEntries(
    Object.entries(createMatch(match)).filter(
      ([, values]: [string, readonly unknown[]]) => values.length > 0,
    ),
  );

export interface Peer {
  /** `namespace/account`; undefined without identity. */
  readonly who?: string;
  readonly from?: string;
  readonly port?: number;
}

/** Whether the objects let a connection into a pod of namespace shop with these labels. */
export function admits(
  objects: readonly KnownObject[],
  { who, from = '10.0.0.9', port = 80 }: Peer,
  pod: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> } = {
    namespace: 'shop',
    labels: { app: 'front' },
  },
): boolean {
  const view = viewOf(objects);
  const workload = createWorkload({
    uid: 'pod',
    namespace: pod.namespace,
    authorizationPolicies: policiesOf(view, pod),
  });
  const policies = objects.flatMap((object) => translateObject(object, view).policies);
  const snapshot = createSnapshot({ workloads: [workload], services: [], policies });
  const [source, destination] = [parseAddress(from), parseAddress('10.0.0.1')];
  if (source === undefined || destination === undefined) throw new Error(`${from} is no address`);
  const [peerNamespace, account] = who?.split('/') ?? [];
  const identity =
    who === undefined ? undefined : parseSpiffeId(`spiffe://cluster.local/ns/${peerNamespace}/sa/${account}`);
  const verdict = evaluate(snapshot, workload, {
    identity,
    sourceAddress: source,
    destinationAddress: destination,
    destinationPort: port,
  });
  return verdict.reason === 0;
}
