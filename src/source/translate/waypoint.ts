import type { GatewayAddress } from '../../model/gateway-address.ts';
import { type MeshNames, serviceHostname } from './context.ts';

type Labels = Readonly<Record<string, string>>;

const hbonePort = 15008;

/**
 * The waypoint that labels name, the object's own before its namespace's. A mesh that cannot reach the waypoint refuses
 * the traffic; dropping the label here would let it pass without the policy that the waypoint applies.
 */
export function namedWaypoint(
  names: MeshNames,
  namespace: string,
  own: Labels,
  ofNamespace: Labels = {},
): GatewayAddress | undefined {
  const labels = own['istio.io/use-waypoint'] === undefined ? ofNamespace : own;
  const name = labels['istio.io/use-waypoint'];
  if (name === undefined || name === '' || name === 'none') return undefined;
  const waypointNamespace = labels['istio.io/use-waypoint-namespace'] ?? namespace;
  return Object.freeze({
    destination: Object.freeze({
      kind: 'hostname',
      namespace: waypointNamespace,
      hostname: serviceHostname(names, waypointNamespace, name),
    }),
    hboneMtlsPort: hbonePort,
  });
}
