import { outboundTrafficPolicies } from '../model/outbound-policy.ts';
import { option } from './option.ts';
import * as parse from './parsers.ts';

/** What every role of one mesh must be told alike. */
export const meshOptions = {
  clusterId: option({
    env: 'HADAL_CLUSTER_ID',
    group: 'Mesh',
    parse: parse.text,
    default: 'Kubernetes',
    unit: 'name',
    doc: 'Name of the cluster, as in the uids of workloads.',
  }),
  network: option({
    env: 'HADAL_NETWORK',
    group: 'Mesh',
    parse: parse.text,
    default: '',
    unit: 'name',
    doc: "Network of this node. Addresses of other networks are not dialled. Empty is a network's name too.",
  }),
  trustDomain: option({
    env: 'HADAL_TRUST_DOMAIN',
    group: 'Mesh',
    parse: parse.trustDomain,
    default: 'cluster.local',
    unit: 'SPIFFE trust domain',
    doc: 'Trust domain of the identities of this mesh.',
  }),
  trustDomainAliases: option({
    env: 'HADAL_TRUST_DOMAIN_ALIASES',
    group: 'Mesh',
    parse: parse.list(parse.trustDomain),
    default: '',
    unit: 'list',
    doc: 'Further trust domains whose identities are accepted, for instance during a change of name.',
  }),
  podRanges: option({
    env: 'HADAL_POD_RANGES',
    group: 'Mesh',
    parse: parse.list(parse.cidr),
    default: '',
    unit: 'list of CIDR',
    doc: 'Ranges of pod addresses. A destination inside that nobody knows is refused, outside it is left untouched.',
  }),
  serviceRanges: option({
    env: 'HADAL_SERVICE_RANGES',
    group: 'Mesh',
    parse: parse.list(parse.cidr),
    default: '',
    unit: 'list of CIDR',
    doc: 'Ranges of service addresses; as the ranges of pods.',
  }),
  outboundTrafficPolicy: option({
    env: 'HADAL_OUTBOUND_TRAFFIC_POLICY',
    group: 'Mesh',
    parse: parse.optional(parse.oneOf(...outboundTrafficPolicies)),
    default: '',
    defaultDoc: 'what the control plane says, else `ALLOW_ANY`',
    unit: outboundTrafficPolicies.join(', '),
    doc: 'Connections of pods to where neither the mesh nor the cluster is: left alone, or refused at connect(). Of an agent and its control plane the stricter counts; a Sidecar says otherwise for a namespace or for pods.',
  }),
  rootNamespace: option({
    env: 'HADAL_ROOT_NAMESPACE',
    group: 'Mesh',
    parse: parse.text,
    default: 'istio-system',
    unit: 'name',
    doc: 'Policies of this namespace without a selector hold for the whole mesh.',
  }),
} as const;

/** Not a row of `meshOptions`, as the two roles list it in different groups. */
export const clusterDomain = option({
  env: 'HADAL_CLUSTER_DOMAIN',
  group: 'Names',
  parse: parse.domain,
  default: 'cluster.local',
  unit: 'domain',
  doc: 'Domain below which services have their names.',
});

/** The API server, where a role needs one. */
export const kubeconfig = option({
  env: 'HADAL_KUBECONFIG',
  group: 'Control plane',
  parse: parse.optionalPath,
  default: '',
  defaultDoc: "the pod's service account, else KUBECONFIG, else ~/.kube/config",
  unit: 'path',
  doc: 'The API server for these annotations, and the credentials.',
});
