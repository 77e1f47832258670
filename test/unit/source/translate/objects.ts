/** Objects made through the real parser, and what becomes of them among others. */
import type { Service } from '../../../../src/model/service.ts';
import type { Workload } from '../../../../src/model/workload.ts';
import {
  type KnownObject,
  type ObjectKinds,
  parseDocument,
} from '../../../../src/source/kubernetes/objects.ts';
import { defaultMeshNames, type MeshNames } from '../../../../src/source/translate/context.ts';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import type { TranslatedResources } from '../../../../src/source/translate/resources.ts';
import { translateObject } from '../../../../src/source/translate/translators.ts';

export type Json = Record<string, unknown>;
export type Texts = Record<string, string>;

export const origin = { file: 'test', document: 1, line: 1 };

export function typed<K extends keyof ObjectKinds>(value: Json): ObjectKinds[K] {
  const parsed = parseDocument({ origin, value });
  if (parsed.kind !== 'object') throw new Error(`not an object: ${JSON.stringify(parsed)}`);
  return parsed.object as ObjectKinds[K];
}

const named = (name: string, metadata: Json): Json => ({ name, namespace: 'shop', ...metadata });

export function pod(metadata: Json = {}, spec: Json = {}, status: Json = {}) {
  return typed<'Pod'>({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: named('front-1', { labels: { app: 'front' }, ...metadata }),
    spec: {
      nodeName: 'a',
      containers: [{ name: 'web', ports: [{ name: 'http', containerPort: 8080 }] }],
      ...spec,
    },
    status: {
      phase: 'Running',
      podIPs: [{ ip: '10.0.0.1' }],
      conditions: [{ type: 'Ready', status: 'True' }],
      ...status,
    },
  });
}

export function service(metadata: Json = {}, spec: Json = {}) {
  return typed<'Service'>({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: named('front', metadata),
    spec: {
      selector: { app: 'front' },
      clusterIP: '10.96.0.1',
      ports: [{ port: 80, targetPort: 'http' }],
      ...spec,
    },
  });
}

export function namespace(labels: Texts = {}, name = 'shop', annotations: Texts = {}) {
  return typed<'Namespace'>({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels, annotations } });
}

export function node(labels: Texts = {}, spec: Json = {}, name = 'a') {
  return typed<'Node'>({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, spec });
}

export function slice(fields: Json = {}, metadata: Json = {}) {
  return typed<'EndpointSlice'>({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: named('front-abc', { labels: { 'kubernetes.io/service-name': 'front' }, ...metadata }),
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.168.0.1'] }],
    ports: [{ name: '', port: 9000 }],
    ...fields,
  });
}

export function machine(spec: Json = {}, metadata: Json = {}, status: Json = {}) {
  return typed<'WorkloadEntry'>({
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: named('vm-1', metadata),
    spec: { address: '172.16.0.1', ...spec },
    status,
  });
}

export function serviceEntry(spec: Json = {}, metadata: Json = {}, status: Json = {}) {
  return typed<'ServiceEntry'>({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: named('outside', metadata),
    spec: {
      hosts: ['db.example.com'],
      ports: [{ number: 5432, name: 'tcp-db', protocol: 'TCP' }],
      resolution: 'STATIC',
      ...spec,
    },
    status,
  });
}

export const hboneListener = { name: 'mesh', port: 15008, protocol: 'HBONE' };

export function gateway(metadata: Json = {}, spec: Json = {}, status: Json = {}) {
  return typed<'Gateway'>({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: named('w', metadata),
    spec: { gatewayClassName: 'istio-waypoint', listeners: [hboneListener], ...spec },
    status,
  });
}

export function gatewayClass(metadata: Json = {}) {
  return typed<'GatewayClass'>({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'GatewayClass',
    metadata: { name: 'istio-waypoint', ...metadata },
    spec: { controllerName: 'istio.io/mesh-controller' },
  });
}

export const mesh = (names: Partial<MeshNames>): MeshNames => ({ ...defaultMeshNames, ...names });

/** What the first object becomes among the others. */
export function among(object: KnownObject, others: readonly KnownObject[] = [], names = defaultMeshNames) {
  return translateObject(object, viewOf([object, ...others], names));
}

export function workloadOf(
  object: KnownObject,
  others: readonly KnownObject[] = [],
  names = defaultMeshNames,
): Workload {
  return only(among(object, others, names), 'workloads');
}

export function serviceOf(
  object: KnownObject,
  others: readonly KnownObject[] = [],
  names = defaultMeshNames,
): Service {
  return only(among(object, others, names), 'services');
}

function only<K extends 'workloads' | 'services'>(
  resources: TranslatedResources,
  kind: K,
): TranslatedResources[K][number] {
  const [first, second] = resources[kind];
  if (first === undefined || second !== undefined) throw new Error(`${resources[kind].length} ${kind}`);
  return first;
}

/** `field: reason` of each warning. */
export function warningsOf(object: KnownObject, others: readonly KnownObject[] = []): string[] {
  return among(object, others).warnings.map(({ field, reason }) => `${field} ${reason}`);
}

/** Where a waypoint's name leads, as text. */
export function waypointText(bound: Pick<Workload, 'waypoint'>): string | undefined {
  const destination = bound.waypoint?.destination;
  if (destination === undefined) return undefined;
  return destination.kind === 'hostname' ? destination.hostname : destination.address;
}
