import { clusterDomain } from './mesh-options.ts';
import { option } from './option.ts';
import * as parse from './parsers.ts';

/** Which traffic of its pods an agent takes, and which names it answers. */
export const captureOptions = {
  kubeletCgroup: option({
    env: 'HADAL_KUBELET_CGROUP',
    group: 'Capture',
    parse: parse.optionalPath,
    default: '',
    defaultDoc: 'found by the name kubelet.service',
    unit: 'path',
    doc: 'Cgroup of the kubelet, whose probes reach applications untouched.',
  }),
  allowUnknownDestinations: option({
    env: 'HADAL_ALLOW_UNKNOWN_DESTINATIONS',
    group: 'Capture',
    parse: parse.boolean,
    default: 'false',
    unit: 'true or false',
    doc: 'Pass connections to addresses of the cluster that nobody knows in the clear, instead of refusing them.',
  }),
  olderConnections: option({
    env: 'HADAL_OLDER_CONNECTIONS',
    group: 'Capture',
    parse: parse.oneOf('destroy', 'keep'),
    default: 'destroy',
    unit: 'destroy or keep',
    doc: 'What happens to connections older than enrolment that policy would refuse.',
  }),
  sameNode: option({
    env: 'HADAL_SAME_NODE',
    group: 'Capture',
    parse: parse.oneOf('auto', 'direct', 'tunnel'),
    default: 'auto',
    unit: 'auto, direct or tunnel',
    doc: 'Connections between two pods of this node of which neither a label `hadal.io/same-node` nor the control plane says it: by the kernel alone (direct) or through the tunnel. auto: direct, but for ports that require mutual TLS (PeerAuthentication STRICT).',
  }),
  sameNodeProbeIntervalMs: option({
    env: 'HADAL_SAME_NODE_PROBE_INTERVAL',
    group: 'Capture',
    parse: parse.duration(1_000, 3_600_000),
    default: '30s',
    unit: 'duration',
    doc: 'How often a probe between two pods of the node finds out whether such connections stay in it; also when pods or interfaces change.',
  }),
  keepSourceAddress: option({
    env: 'HADAL_KEEP_SOURCE_ADDRESS',
    group: 'Capture',
    parse: parse.boolean,
    default: 'true',
    unit: 'true or false',
    doc: "Applications see the client's address, and its port when that is free.",
  }),
  dnsCapture: option({
    env: 'HADAL_DNS_CAPTURE',
    group: 'Names',
    parse: parse.boolean,
    default: 'true',
    unit: 'true or false',
    doc: 'Answer the queries of pods for names of the mesh; a pod says otherwise with the annotation `ambient.istio.io/dns-capture`.',
  }),
  clusterDomain,
  clusterDnsService: option({
    env: 'HADAL_CLUSTER_DNS_SERVICE',
    group: 'Names',
    parse: parse.namespacedName,
    default: 'kube-system/kube-dns',
    unit: 'namespace/name',
    doc: "Service of the cluster's DNS. Queries of its own pods are never answered by the agent.",
  }),
  dnsPreferredNamespace: option({
    env: 'HADAL_DNS_PREFERRED_NAMESPACE',
    group: 'Names',
    parse: parse.text,
    default: '',
    unit: 'namespace',
    doc: "When several services have one name: after those of the pod's own namespace, those of this one are meant.",
  }),
  dnsUpstreamTimeoutMs: option({
    env: 'HADAL_DNS_UPSTREAM_TIMEOUT',
    group: 'Names',
    parse: parse.duration(100, 60_000),
    default: '4s',
    unit: 'duration',
    doc: "How long a pod's nameserver may take to answer what the mesh does not know.",
  }),
} as const;
