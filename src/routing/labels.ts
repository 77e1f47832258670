import type { Service } from '../model/service.ts';
import type { Workload } from '../model/workload.ts';
import type { Baggage } from './baggage.ts';

/** The labels of the traffic metrics; telemetry adds `request_protocol` and `response_flags` by itself. */
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

/** One end of a connection as labels tell it. */
export interface Party {
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  readonly cluster: string;
  readonly region: string;
  readonly zone: string;
}

export interface LabelFacts {
  readonly reporter: 'source' | 'destination';
  readonly source: Party | undefined;
  readonly destination: Party | undefined;
  readonly service: Service | undefined;
  /** Both ends proved who they are: only then a principal is told. */
  readonly mutualTls: Principals | undefined;
  /** The kernel knows both ends as pods of its own, and nobody encrypts what never leaves its memory. */
  readonly nodeLocal?: Principals;
}

export interface Principals {
  readonly source: string;
  readonly destination: string;
}

export function partyOfWorkload(workload: Workload): Party {
  return {
    workload: workload.workloadName,
    namespace: workload.namespace,
    app: workload.canonicalName,
    version: workload.canonicalRevision,
    cluster: workload.clusterId,
    region: workload.locality.region,
    zone: workload.locality.zone,
  };
}

/** What the other side says of itself: good enough for a label, never for a decision. */
export function partyOfBaggage(baggage: Baggage): Party {
  return { ...baggage, app: baggage.service };
}

export function createLabels(facts: LabelFacts): TrafficLabels {
  const { source, destination, service, mutualTls, nodeLocal } = facts;
  const principals = mutualTls ?? nodeLocal;
  return Object.freeze({
    reporter: facts.reporter,
    source_workload: known(source?.workload),
    source_workload_namespace: known(source?.namespace),
    source_principal: known(principals?.source),
    source_app: known(source?.app),
    source_version: known(source?.version),
    source_cluster: known(source?.cluster),
    source_canonical_service: known(source?.app),
    source_canonical_revision: known(source?.version),
    source_region: known(source?.region),
    source_zone: known(source?.zone),
    destination_workload: known(destination?.workload),
    destination_workload_namespace: known(destination?.namespace),
    destination_principal: known(principals?.destination),
    destination_app: known(destination?.app),
    destination_version: known(destination?.version),
    destination_cluster: known(destination?.cluster),
    destination_canonical_service: known(destination?.app),
    destination_canonical_revision: known(destination?.version),
    destination_region: known(destination?.region),
    destination_zone: known(destination?.zone),
    destination_service: known(service?.hostname),
    destination_service_name: known(service?.name),
    destination_service_namespace: known(service?.namespace),
    connection_security_policy: securityPolicy(facts),
  });
}

/** `node_local` is never called `mutual_tls`: nothing is encrypted. */
function securityPolicy({ mutualTls, nodeLocal }: LabelFacts): string {
  if (mutualTls !== undefined) return 'mutual_tls';
  return nodeLocal === undefined ? 'unknown' : 'node_local';
}

/** Equal labels have equal keys: edges with one key share their counters. */
export function labelsKey(labels: TrafficLabels): string {
  return JSON.stringify(trafficLabelNames.map((name) => labels[name]));
}

function known(value: string | undefined): string {
  return value === undefined || value === '' ? 'unknown' : value;
}
