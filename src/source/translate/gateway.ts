import type { GatewayObject } from '../kubernetes/gateway.ts';
import type { RouteObject } from '../kubernetes/route.ts';
import { eastWestClass, remoteClass } from './gateway-settings.ts';
import { labelField, labels } from './label-names.ts';
import { type TranslatedResources, translated, warning } from './resources.ts';
import type { ClusterView } from './view.ts';
import { settingsOf } from './waypoint.ts';

/** A gateway is nothing by itself: those that name it, and its pods, look at it. What is wrong with it is said here. */
export function translateGateway(gateway: GatewayObject, view: ClusterView): TranslatedResources {
  const settings = settingsOf(view, gateway);
  const warnings = settings.mistakes.map(({ field, reason }) => warning(gateway, field, reason));
  const { gatewayClassName } = gateway.spec;
  const isEdge = gatewayClassName === eastWestClass || gatewayClassName === remoteClass;
  if (isEdge && settings.network === '') {
    const reason = `is missing; a gateway of class ${gatewayClassName} needs it to say at the edge of which network it stands`;
    warnings.push(warning(gateway, labelField(labels.network), reason));
  }
  if ((isEdge || gatewayClassName.endsWith('-waypoint')) && settings.hbonePort === undefined) {
    const reason = 'has none with protocol HBONE; traffic is sent to port 15008 all the same';
    warnings.push(warning(gateway, 'spec.listeners', reason));
  }
  return translated({ warnings });
}

/** Routes are a waypoint's to apply. Without one nothing goes around a rule: what names a waypoint is refused, the rest had none. */
export function translateRoute(route: RouteObject): TranslatedResources {
  const reason =
    'is not applied by this version: services with a waypoint are refused until one runs that applies it, others go without it';
  return translated({ warnings: [warning(route, '', reason)] });
}
