import { parseSpiffeId } from '../spiffe-id.ts';
import {
  applicationTunnelProtocols,
  createWorkload,
  networkModes,
  type ServiceMembership,
  tunnelProtocols,
  type Workload,
  workloadIdentity,
  workloadStatuses,
  workloadTypes,
} from '../workload.ts';
import {
  anyText,
  type Decoder,
  entries,
  enumeration,
  flag,
  integer,
  list,
  message,
  text,
} from './decoder.ts';
import { address, extensionNames, gatewayAddress, portOrZero, ports } from './shared-messages.ts';

const slashedPattern = /^[^/\s]+\/[^/\s]+$/;

const policyName = text('namespace/name', (given) => (slashedPattern.test(given) ? given : undefined));

const serviceKeyProblem = (key: string) =>
  slashedPattern.test(key) ? undefined : `expected namespace/hostname as key, got ${JSON.stringify(key)}`;

const portList = message({ ports }, { name: 'PortList' }, ({ ports: given = [] }) => given);

const locality = message(
  { region: anyText, zone: anyText, subzone: anyText },
  { name: 'Locality' },
  ({ region = '', zone = '', subzone = '' }) => Object.freeze({ region, zone, subzone }),
);

const applicationTunnel = message(
  { protocol: enumeration(applicationTunnelProtocols), port: portOrZero },
  { name: 'ApplicationTunnel' },
  ({ protocol = 'NONE', port = 0 }) => Object.freeze({ protocol, port }),
);

/** `istio.workload.Workload`. */
export const workloadMessage: Decoder<Workload> = message(
  {
    uid: text('a uid without spaces', (given) => (/^[^\s]{1,1024}$/.test(given) ? given : undefined)),
    name: anyText,
    namespace: text('a namespace', (given) => (/^[a-z0-9.-]{0,253}$/.test(given) ? given : undefined)),
    addresses: list(address),
    hostname: anyText,
    network: anyText,
    networkMode: enumeration(networkModes),
    tunnelProtocol: enumeration(tunnelProtocols),
    nativeTunnel: flag,
    trustDomain: anyText,
    serviceAccount: anyText,
    node: anyText,
    canonicalName: anyText,
    canonicalRevision: anyText,
    workloadType: enumeration(workloadTypes),
    workloadName: anyText,
    status: enumeration(workloadStatuses),
    clusterId: anyText,
    locality,
    capacity: integer(0, 4_294_967_295),
    waypoint: gatewayAddress,
    networkGateway: gatewayAddress,
    applicationTunnel,
    services: entries(serviceKeyProblem, portList),
    authorizationPolicies: list(policyName),
    extensions: extensionNames,
  },
  { name: 'Workload', required: ['uid'], description: 'A pod, a machine or an external endpoint.' },
  ({ uid = '', services = [], addresses = [], ...given }, wrong) => {
    const memberships = services.map(
      ([service, own]): ServiceMembership => Object.freeze({ service, ports: own }),
    );
    const unique = [...new Set(addresses)];
    const workload = createWorkload({ ...given, uid, addresses: unique, services: memberships });
    // Its identity is written into certificates and compared with them: a name that no certificate can carry is a mistake.
    const isTunnelled = workload.tunnelProtocol !== 'NONE' || workload.nativeTunnel;
    if (isTunnelled && parseSpiffeId(workloadIdentity(workload)) === undefined) {
      return wrong(
        'namespace',
        `trust domain, namespace and service account make no SPIFFE id: ${workloadIdentity(workload)}`,
      );
    }
    return workload;
  },
);
