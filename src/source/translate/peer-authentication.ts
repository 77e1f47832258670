/**
 * PeerAuthentication: whether a workload lets in connections that prove no identity. STRICT is said with DENY policies that
 * the workload names; DISABLE means PERMISSIVE, since tunnels are taken in any case; UNSET means what the wider one says.
 */

import type { Match, StringMatch } from '../../model/authorization.ts';
import { type Authorization, createAuthorization, createMatch } from '../../model/authorization.ts';
import { peerAuthenticationPolicy } from '../../model/peer-authentication.ts';
import { objectKey } from '../kubernetes/metadata.ts';
import type { PeerAuthenticationObject } from '../kubernetes/peer-authentication.ts';
import { matchesLabels, peerAuthentications } from './indexes.ts';
import { hasSelector } from './policy-selector.ts';
import { peerAuthenticationWarnings } from './policy-warnings.ts';
import { type TranslatedResources, translated } from './resources.ts';
import type { ClusterView } from './view.ts';

type Selectable = { readonly namespace: string; readonly labels: Readonly<Record<string, string>> };

const anyPrincipal: StringMatch = Object.freeze({ kind: 'presence' });

/** Denies whatever comes without identity; the same for the whole mesh. */
export function strictPolicy(rootNamespace: string): Authorization {
  return denyWithoutIdentity(rootNamespace, peerAuthenticationPolicy.strict, {});
}

/** One policy for its ports when they differ from the rest of the workload; the first of the mesh brings the strict one along. */
export function translatePeerAuthentication(
  object: PeerAuthenticationObject,
  view: ClusterView,
): TranslatedResources {
  const [first] = view.indexed(peerAuthentications, 'mesh');
  const isFirst = first !== undefined && objectKey(first) === objectKey(object);
  const ports = portPolicy(object, view);
  return translated({
    policies: [
      ...(isFirst ? [strictPolicy(view.names.rootNamespace)] : []),
      ...(ports === undefined ? [] : [ports]),
    ],
    warnings: peerAuthenticationWarnings(object, view),
  });
}

/** `namespace/name` of the policy that decides about connections without identity to this workload; undefined lets them in. */
export function peerAuthenticationOf(workload: Selectable, view: ClusterView): string | undefined {
  const own = ownPolicy(workload, view);
  const ports = own === undefined ? undefined : portPolicy(own, view);
  if (ports !== undefined) return `${ports.namespace}/${ports.name}`;
  const mode = own === undefined ? undefined : modeOf(own);
  const isStrict = mode === undefined ? isStrictAround(workload.namespace, view) : mode === 'STRICT';
  return isStrict ? `${view.names.rootNamespace}/${peerAuthenticationPolicy.strict}` : undefined;
}

/** The oldest that selects the workload. In the root namespace selectors mean nothing, as that namespace speaks for the mesh. */
function ownPolicy(
  { namespace, labels }: Selectable,
  view: ClusterView,
): PeerAuthenticationObject | undefined {
  if (namespace === view.names.rootNamespace) return undefined;
  return oldest(
    view
      .list('PeerAuthentication', namespace)
      .filter((object) => hasSelector(object) && matchesLabels(object.spec.selector.matchLabels, labels)),
  );
}

/** What the namespace and, where that says nothing, the mesh demand. */
function isStrictAround(namespace: string, view: ClusterView): boolean {
  const wide = (within: string) =>
    oldest(view.list('PeerAuthentication', within).filter((object) => !hasSelector(object)));
  const mode = [namespace, view.names.rootNamespace]
    .map((within) => wide(within))
    .map((object) => (object === undefined ? undefined : modeOf(object)))
    .find((each) => each !== undefined);
  return mode === 'STRICT';
}

/** For a workload some of whose ports are stricter or laxer than the rest; undefined when no port differs. */
function portPolicy(object: PeerAuthenticationObject, view: ClusterView): Authorization | undefined {
  const { name, namespace } = object.metadata;
  const { portLevelMtls } = object.spec;
  if (namespace === view.names.rootNamespace || Object.keys(portLevelMtls).length === 0) return undefined;
  const mode = modeOf(object);
  const isStrict = mode === undefined ? isStrictAround(namespace, view) : mode === 'STRICT';
  const differing = Object.entries(portLevelMtls)
    .filter(([, { mode: own }]) => own !== 'UNSET' && (own === 'STRICT') !== isStrict)
    .map(([port]) => Number(port))
    .sort((left, right) => left - right);
  if (differing.length === 0) return undefined;
  return denyWithoutIdentity(
    namespace,
    peerAuthenticationPolicy.portLevel(name),
    isStrict ? { notDestinationPorts: differing } : { destinationPorts: differing },
  );
}

function denyWithoutIdentity(namespace: string, name: string, ports: Partial<Match>): Authorization {
  const matches = Object.freeze([createMatch({ notPrincipals: [anyPrincipal], ...ports })]);
  const clauses = Object.freeze([Object.freeze({ matches })]);
  return createAuthorization({
    namespace,
    name,
    scope: 'WORKLOAD_SELECTOR',
    action: 'DENY',
    rules: [Object.freeze({ clauses })],
  });
}

/** Undefined: the wider one counts. */
function modeOf({ spec }: PeerAuthenticationObject): 'STRICT' | 'PERMISSIVE' | undefined {
  if (spec.mtls.mode === 'UNSET') return undefined;
  return spec.mtls.mode === 'STRICT' ? 'STRICT' : 'PERMISSIVE';
}

/** The first by time of creation, then by name; one without a time gives way to those that have one. */
function oldest(objects: readonly PeerAuthenticationObject[]): PeerAuthenticationObject | undefined {
  const age = ({ metadata: { creationTimestamp: time } }: PeerAuthenticationObject) =>
    time === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(time) || 0;
  return objects.toSorted(
    (left, right) => age(left) - age(right) || (left.metadata.name < right.metadata.name ? -1 : 1),
  )[0];
}
