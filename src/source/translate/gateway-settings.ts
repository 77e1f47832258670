/** What a Gateway and its class say to the parts of the mesh that carry traffic to it. */

import { selectorMatches } from '../../model/label-selector.ts';
import type { ApplicationTunnel } from '../../model/workload.ts';
import type { GatewayClassObject, GatewayObject } from '../kubernetes/gateway.ts';
import { annotationField, annotations, labelField, labels, type Texts } from './label-names.ts';

const waypointTraffic = ['service', 'workload', 'all', 'none'] as const;
export type WaypointTraffic = (typeof waypointTraffic)[number];

/** Classes whose gateways stand between networks: one of our own, and one of somebody else's cluster. */
export const eastWestClass = 'istio-east-west';
export const remoteClass = 'istio-remote';
/** Where HBONE is listened for unless a listener says otherwise. */
export const hbonePort = 15_008;

export interface GatewaySettings {
  /** Which traffic it takes as a waypoint. */
  readonly waypointFor: WaypointTraffic;
  /** Undefined when no listener speaks HBONE. */
  readonly hbonePort: number | undefined;
  /** How the agent hands traffic to its pods; undefined as to any pod. */
  readonly inboundBinding: ApplicationTunnel | undefined;
  /** It writes the caller's identity into the header x-forwarded-client-cert. */
  readonly writesClientIdentity: boolean;
  /** The network it stands at the edge of; '' when it does not. */
  readonly network: string;
  readonly mistakes: readonly { readonly field: string; readonly reason: string }[];
}

export function gatewaySettings(
  gateway: GatewayObject,
  gatewayClass: GatewayClassObject | undefined,
): GatewaySettings {
  const mistakes: { field: string; reason: string }[] = [];
  const own = gateway.metadata;
  const shared = gatewayClass?.metadata;
  const wanted = own.labels[labels.waypointFor] ?? shared?.labels[labels.waypointFor] ?? 'service';
  const waypointFor = waypointTraffic.find((traffic) => traffic === wanted);
  if (waypointFor === undefined) {
    const reason = `is "${wanted}"; one of ${waypointTraffic.join(', ')} is meant, and until it says so the waypoint gets all traffic`;
    mistakes.push({ field: labelField(labels.waypointFor), reason });
  }
  const binding =
    own.annotations[annotations.waypointInboundBinding] ??
    shared?.annotations[annotations.waypointInboundBinding];
  const inboundBinding = binding === undefined ? undefined : parseBinding(binding);
  if (binding !== undefined && inboundBinding === undefined) {
    const reason = `is "${binding}"; PROXY, NONE, PROXY/15088 or the like is meant, and until then its pods get plain connections`;
    mistakes.push({ field: annotationField(annotations.waypointInboundBinding), reason });
  }
  return {
    // Whoever wanted less than all must say so in a word that is known.
    waypointFor: waypointFor ?? 'all',
    hbonePort: gateway.spec.listeners.find(({ protocol }) => protocol === 'HBONE')?.port,
    inboundBinding,
    writesClientIdentity: own.annotations[annotations.xfccIncludeClientIdentity]?.toLowerCase() === 'true',
    network: own.labels[labels.network] ?? '',
    mistakes,
  };
}

/** `PROTOCOL` or `PROTOCOL/port`. */
function parseBinding(text: string): ApplicationTunnel | undefined {
  const [, protocol, port] = /^(PROXY|NONE)(?:\/(\d{1,5}))?$/.exec(text) ?? [];
  const number = port === undefined ? 0 : Number(port);
  if (protocol === undefined || number > 65_535) return undefined;
  return Object.freeze({ protocol: protocol === 'PROXY' ? 'PROXY' : 'NONE', port: number });
}

/** Whether objects of a namespace may name the gateway as their waypoint: its HBONE listener's `allowedRoutes`. */
export function allowsNamespace(
  gateway: GatewayObject,
  settings: GatewaySettings,
  namespace: { readonly name: string; readonly labels: Texts },
): boolean {
  const { listeners } = gateway.spec;
  const bound = settings.inboundBinding;
  const listener =
    listeners.find(({ port, protocol }) =>
      bound === undefined
        ? false
        : bound.port === 0
          ? bound.protocol === 'PROXY' && protocol === 'istio.io/PROXY'
          : port === bound.port,
    ) ?? listeners.find(({ protocol }) => protocol === 'HBONE');
  const rule = listener?.allowedRoutes?.namespaces;
  switch (rule?.from ?? 'Same') {
    case 'All':
      return true;
    case 'None':
      return false;
    case 'Selector':
      return rule?.selector !== undefined && selectorMatches(rule.selector, namespace.labels);
    default:
      return gateway.metadata.namespace === namespace.name;
  }
}
