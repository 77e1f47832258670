/** The labels of the traffic metrics, but `reporter`'s siblings that telemetry adds itself: `request_protocol`, `response_flags`. */
export const trafficLabelNames = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'source_canonical_service',
  'source_canonical_revision',
  'source_region',
  'source_zone',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_region',
  'destination_zone',
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'connection_security_policy',
] as const;

export type TrafficLabelName = (typeof trafficLabelNames)[number];

/** Values of the labels; what is not known says `unknown`. */
export type TrafficLabels = Readonly<Record<TrafficLabelName, string>>;
