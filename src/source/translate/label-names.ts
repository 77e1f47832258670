/** Labels and annotations of Istio and Kubernetes that the mesh reads, under the words used for them here. */

export const labels = Object.freeze({
  dataplaneMode: 'istio.io/dataplane-mode',
  useWaypoint: 'istio.io/use-waypoint',
  useWaypointNamespace: 'istio.io/use-waypoint-namespace',
  useWaypointCanary: 'istio.io/use-waypoint-canary',
  useWaypointCanaryNamespace: 'istio.io/use-waypoint-canary-namespace',
  ingressUseWaypoint: 'istio.io/ingress-use-waypoint',
  waypointFor: 'istio.io/waypoint-for',
  global: 'istio.io/global',
  revision: 'istio.io/rev',
  network: 'topology.istio.io/network',
  region: 'topology.kubernetes.io/region',
  zone: 'topology.kubernetes.io/zone',
  subzone: 'topology.istio.io/subzone',
  tunnel: 'networking.istio.io/tunnel',
  tlsMode: 'security.istio.io/tlsMode',
  autoallocate: 'networking.istio.io/enable-autoallocate-ip',
  gatewayManaged: 'gateway.istio.io/managed',
  gatewayName: 'gateway.networking.k8s.io/gateway-name',
  sameNode: 'hadal.io/same-node',
});

export const annotations = Object.freeze({
  redirection: 'ambient.istio.io/redirection',
  bypassInboundCapture: 'ambient.istio.io/bypass-inbound-capture',
  dnsCapture: 'ambient.istio.io/dns-capture',
  waypointInboundBinding: 'ambient.istio.io/waypoint-inbound-binding',
  xfccIncludeClientIdentity: 'ambient.istio.io/xfcc-include-client-identity',
  rerouteVirtualInterfaces: 'istio.io/reroute-virtual-interfaces',
  kubevirtInterfaces: 'traffic.sidecar.istio.io/kubevirtInterfaces',
  turbo: 'hadal.io/turbo',
  canaryWeight: 'istio.io/use-waypoint-canary-weight',
  trafficDistribution: 'networking.istio.io/traffic-distribution',
  exportTo: 'networking.istio.io/exportTo',
  sidecarStatus: 'sidecar.istio.io/status',
  sameNode: 'hadal.io/same-node',
});

/** Of Istio's sidecars; ambient mode of Istio does not read them. */
export const exclusionAnnotations = Object.freeze({
  excludeOutboundPorts: 'traffic.sidecar.istio.io/excludeOutboundPorts',
  includeOutboundPorts: 'traffic.sidecar.istio.io/includeOutboundPorts',
  excludeOutboundRanges: 'traffic.sidecar.istio.io/excludeOutboundIPRanges',
  includeOutboundRanges: 'traffic.sidecar.istio.io/includeOutboundIPRanges',
  excludeInboundPorts: 'traffic.sidecar.istio.io/excludeInboundPorts',
  includeInboundPorts: 'traffic.sidecar.istio.io/includeInboundPorts',
});

export type Texts = Readonly<Record<string, string>>;

/** Where it stands, as a field of a warning. */
export const labelField = (label: string) => `metadata.labels["${label}"]`;
export const annotationField = (annotation: string) => `metadata.annotations["${annotation}"]`;
