/**
 * Which waypoint stands before an object. Where a label names one that is not there, or may not be used from here, a waypoint is
 * named all the same, one that nobody can reach: going around it would skip the policy that it applies.
 */
import { canonicalAddress } from '../../model/address.ts';
import type { GatewayAddress } from '../../model/gateway-address.ts';
import type { WeightedWaypoint } from '../../model/service.ts';
import type { ApplicationTunnel } from '../../model/workload.ts';
import type { GatewayObject } from '../kubernetes/gateway.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import { serviceHostname } from './context.ts';
import {
  allowsNamespace,
  type GatewaySettings,
  gatewaySettings,
  hbonePort,
  remoteClass,
} from './gateway-settings.ts';
import { annotationField, annotations, labelField, labels, type Texts } from './label-names.ts';
import { type TranslationWarning, warning } from './resources.ts';
import type { ClusterView } from './view.ts';

export interface WaypointSubject {
  /** What warnings are about. */
  readonly object: KnownObject;
  readonly namespace: string;
  readonly labels: Texts;
  readonly annotations: Texts;
  /** To the addresses of a service, or to those of the workload itself. */
  readonly traffic: 'service' | 'workload';
}

/** Reasons of the condition `istio.io/WaypointBound`. */
export type BindingOutcome =
  | 'WaypointAccepted'
  | 'WaypointIsNotReady'
  | 'AttachmentDenied'
  | 'UnsupportedTrafficType';

export interface WaypointBinding {
  /** `namespace/name` of the waypoint that is named; empty without one. */
  readonly named: string;
  /** What became of it; undefined without one. */
  readonly outcome: BindingOutcome | undefined;
  readonly waypoint: GatewayAddress | undefined;
  /** With a canary: the shares of both. */
  readonly weighted: readonly WeightedWaypoint[];
  readonly ingress: boolean;
  readonly warnings: readonly TranslationWarning[];
}

const unbound: WaypointBinding = Object.freeze({
  named: '',
  outcome: undefined,
  waypoint: undefined,
  weighted: [],
  ingress: false,
  warnings: [],
});

interface Reference {
  readonly name: string;
  readonly namespace: string;
  /** It stands on the object itself, not on its namespace. */
  readonly isOwn: boolean;
  readonly label: string;
}

export function bindWaypoint(view: ClusterView, subject: WaypointSubject): WaypointBinding {
  if (isGatewayInstance(view, subject)) return unbound;
  const ofNamespace = view.get('Namespace', '', subject.namespace)?.metadata;
  const isOwn = subject.labels[labels.useWaypoint] !== undefined;
  const source = isOwn ? subject : ofNamespace;
  const name = source?.labels[labels.useWaypoint];
  if (source === undefined || name === undefined || name === '' || name === 'none') return unbound;
  const reference: Reference = {
    name,
    namespace: source.labels[labels.useWaypointNamespace] ?? subject.namespace,
    isOwn,
    label: labels.useWaypoint,
  };
  const warnings: TranslationWarning[] = [];
  const { waypoint, outcome } = resolve(view, subject, reference, warnings);
  const named = `${reference.namespace}/${name}`;
  if (waypoint === undefined) return { ...unbound, named, outcome, warnings };
  const ingress = subject.labels[labels.ingressUseWaypoint] ?? ofNamespace?.labels[labels.ingressUseWaypoint];
  return {
    named,
    outcome,
    waypoint,
    weighted:
      subject.traffic === 'service' ? canary(view, subject, { source, waypoint, isOwn }, warnings) : [],
    ingress: ingress?.toLowerCase() === 'true',
    warnings,
  };
}

/** The tunnel by which an agent hands traffic to a pod of a gateway. */
export function instanceTunnel(
  view: ClusterView,
  { namespace, labels: own }: Pick<WaypointSubject, 'namespace' | 'labels'>,
): ApplicationTunnel | undefined {
  const gateway = gatewayOf(view, namespace, own);
  return gateway === undefined ? undefined : settingsOf(view, gateway).inboundBinding;
}

export function settingsOf(view: ClusterView, gateway: GatewayObject): GatewaySettings {
  return gatewaySettings(gateway, view.get('GatewayClass', '', gateway.spec.gatewayClassName));
}

function gatewayOf(view: ClusterView, namespace: string, own: Texts): GatewayObject | undefined {
  const name = own[labels.gatewayName];
  return name === undefined ? undefined : view.get('Gateway', namespace, name);
}

/** A waypoint's own pods and service, and those of a gateway between networks: what they get has been through, or is on its way. */
function isGatewayInstance(view: ClusterView, { namespace, labels: own, traffic }: WaypointSubject): boolean {
  const managed = own[labels.gatewayManaged];
  if (managed === 'istio.io-mesh-controller' || managed === 'istio.io-eastwest-controller') return true;
  const gateway = gatewayOf(view, namespace, own);
  if (gateway === undefined) return false;
  return traffic === 'workload' || settingsOf(view, gateway).hbonePort !== undefined;
}

interface Resolution {
  /** Undefined when the waypoint does not take this traffic. */
  readonly waypoint: GatewayAddress | undefined;
  readonly outcome: BindingOutcome;
}

function resolve(
  view: ClusterView,
  subject: WaypointSubject,
  reference: Reference,
  warnings: TranslationWarning[],
): Resolution {
  const { name, namespace, isOwn, label } = reference;
  const warn = (reason: string) => warnings.push(warning(subject.object, labelField(label), reason));
  if (!isGatewayName(name) || !isGatewayName(namespace)) {
    warn(
      `names waypoint ${namespace}/${name}, which is no name that a Gateway can have; the traffic is refused`,
    );
    return { waypoint: unreachable(reference, 'no-such-name'), outcome: 'WaypointIsNotReady' };
  }
  const gateway = view.get('Gateway', namespace, name);
  if (gateway === undefined) {
    warn(
      `names waypoint ${namespace}/${name}, and there is no such Gateway; the traffic is refused until there is`,
    );
    return { waypoint: atService(view, reference, hbonePort), outcome: 'WaypointIsNotReady' };
  }
  const settings = settingsOf(view, gateway);
  if (settings.waypointFor !== 'all' && settings.waypointFor !== subject.traffic) {
    if (isOwn && settings.waypointFor !== 'none' && subject.object.kind !== 'Namespace') {
      warn(
        `names waypoint ${namespace}/${name}, which takes ${settings.waypointFor} traffic only; this goes without it`,
      );
    }
    return { waypoint: undefined, outcome: 'UnsupportedTrafficType' };
  }
  const from = view.get('Namespace', '', subject.namespace)?.metadata;
  if (!allowsNamespace(gateway, settings, { name: subject.namespace, labels: from?.labels ?? {} })) {
    warn(
      `names waypoint ${namespace}/${name}, whose listener does not allow namespace ${subject.namespace} (allowedRoutes.namespaces); the traffic is refused`,
    );
    return { waypoint: unreachable(reference, 'not-allowed'), outcome: 'AttachmentDenied' };
  }
  const address = gatewayAddress(view, gateway, settings);
  if (address !== undefined) return { waypoint: address, outcome: 'WaypointAccepted' };
  const port = settings.hbonePort ?? hbonePort;
  return { waypoint: atService(view, reference, port), outcome: 'WaypointIsNotReady' };
}

/** Where the gateway says that it is; undefined when it does not yet. */
export function gatewayAddress(
  view: ClusterView,
  gateway: GatewayObject,
  settings: GatewaySettings,
): GatewayAddress | undefined {
  // A gateway of somebody else's cluster has no status here; elsewhere the field in the spec is a wish.
  const isRemote = gateway.spec.gatewayClassName === remoteClass;
  const known = [...gateway.status.addresses, ...(isRemote ? gateway.spec.addresses : [])];
  const port = settings.hbonePort ?? hbonePort;
  const host = known.find(({ type, value }) => type === 'Hostname' && isHostname(value.toLowerCase()));
  if (host !== undefined) {
    const { namespace } = gateway.metadata;
    return at({ kind: 'hostname', namespace, hostname: host.value.toLowerCase() }, port);
  }
  const address = known.map(({ value }) => canonicalAddress(value)).find((each) => each !== undefined);
  if (address === undefined) return undefined;
  return at({ kind: 'address', network: settings.network || view.names.network, address }, port);
}

/** The service that is made for a waypoint has its name. */
function atService(view: ClusterView, { namespace, name }: Reference, port: number): GatewayAddress {
  return at({ kind: 'hostname', namespace, hostname: serviceHostname(view.names, namespace, name) }, port);
}

/** A name under a domain that can never exist, so that the refusal says what was wanted and why not. */
function unreachable({ name, namespace }: Reference, why: string): GatewayAddress {
  const readable = (text: string) =>
    text
      .toLowerCase()
      .replace(/[^a-z0-9-]/g, '-')
      .slice(0, 63);
  const hostname = `x-${readable(name)}.x-${readable(namespace)}.${why}.invalid`;
  return at({ kind: 'hostname', namespace: 'invalid', hostname }, hbonePort);
}

function at(destination: GatewayAddress['destination'], port: number): GatewayAddress {
  return Object.freeze({ destination: Object.freeze(destination), hboneMtlsPort: port });
}

interface Bound {
  readonly source: { readonly labels: Texts; readonly annotations: Texts };
  readonly waypoint: GatewayAddress;
  readonly isOwn: boolean;
}

/** Beside the object's own waypoint, or its namespace's, whichever label counts. */
function canary(
  view: ClusterView,
  subject: WaypointSubject,
  { source, waypoint, isOwn }: Bound,
  warnings: TranslationWarning[],
): readonly WeightedWaypoint[] {
  const name = source.labels[labels.useWaypointCanary];
  if (name === undefined || name === '' || name === 'none') return [];
  const namespace = source.labels[labels.useWaypointCanaryNamespace] ?? subject.namespace;
  const text = source.annotations[annotations.canaryWeight];
  const weight =
    text !== undefined && /^\d{1,3}$/.test(text) && Number(text) <= 100 ? Number(text) : undefined;
  if (weight === undefined) {
    const reason = `is ${text === undefined ? 'missing' : `"${text}"`}; a number from 0 to 100 is meant, and until then the canary gets nothing`;
    warnings.push(warning(subject.object, annotationField(annotations.canaryWeight), reason));
    return [];
  }
  if (weight === 0) return [];
  const reference = { name, namespace, isOwn, label: labels.useWaypointCanary };
  const { waypoint: destination } = resolve(view, subject, reference, warnings);
  if (destination === undefined) return [];
  const shares = [
    { destination: waypoint, weight: 100 - weight },
    { destination, weight },
  ];
  return Object.freeze(shares.filter((share) => share.weight > 0).map((share) => Object.freeze(share)));
}

const isGatewayName = (text: string) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
const isHostname = (text: string) => /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(text);
