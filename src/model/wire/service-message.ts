import {
  createService,
  healthPolicies,
  ipFamilySettings,
  loadBalancingModes,
  loadBalancingScopes,
  type Service,
  visibilities,
} from '../service.ts';
import { anyText, type Decoder, enumeration, flag, integer, list, message } from './decoder.ts';
import {
  extensionNames,
  gatewayAddress,
  hostname,
  networkAddress,
  ports,
  resourceName,
} from './shared-messages.ts';

const loadBalancing = message(
  {
    // A scope that is not told would match every endpoint or none; nobody can have meant it.
    routingPreference: list(enumeration(loadBalancingScopes, ['UNSPECIFIED_SCOPE'])),
    mode: enumeration(loadBalancingModes),
    healthPolicy: enumeration(healthPolicies),
  },
  { name: 'LoadBalancing' },
  ({ routingPreference = Object.freeze([]), mode = 'UNSPECIFIED_MODE', healthPolicy = 'ONLY_HEALTHY' }) =>
    Object.freeze({ routingPreference, mode, healthPolicy }),
);

const weightedWaypoint = message(
  { destination: gatewayAddress, weight: integer(0, 4_294_967_295) },
  { name: 'WeightedWaypoint', required: ['destination'] },
  ({ destination, weight = 0 }) => destination && Object.freeze({ destination, weight }),
);

/** `istio.workload.Service`. */
export const serviceMessage: Decoder<Service> = message(
  {
    name: anyText,
    namespace: resourceName,
    hostname,
    addresses: list(networkAddress),
    ports,
    subjectAltNames: list(anyText),
    waypoint: gatewayAddress,
    weightedWaypoints: list(weightedWaypoint),
    loadBalancing,
    ipFamilies: enumeration(ipFamilySettings),
    canonical: flag,
    ingressUseWaypoint: flag,
    visibility: enumeration(visibilities),
    extensions: extensionNames,
  },
  {
    name: 'Service',
    required: ['namespace', 'hostname'],
    description: 'A host name with virtual addresses in front of workloads.',
  },
  ({ namespace = '', hostname: host = '', ...given }) =>
    createService({ ...given, namespace, hostname: host }),
);
