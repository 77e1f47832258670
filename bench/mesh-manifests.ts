/** A mesh of a size, as manifests: pods that are enrolled, in services of ten, over namespaces and nodes as clusters have them. */
export interface MeshSize {
  readonly pods: number;
  readonly services: number;
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const podsPerNode = 100;
const servicesPerNamespace = 50;

/** The same size gives the same manifests. Addresses are in 172.16.0.0/12, names begin with `load`. */
export function meshManifests({ pods, services }: MeshSize): Manifest[] {
  const namespaces = Math.ceil(services / servicesPerNamespace);
  return [
    ...Array.from({ length: namespaces }, (_, n) => namespaceManifest(n)),
    ...Array.from({ length: services }, (_, n) => serviceManifest(n)),
    ...Array.from({ length: pods }, (_, n) => loadPod(n, services)),
  ];
}

/** `number` from 0; `ready` is what most changes of a mesh are about. */
export function loadPod(number: number, services: number, ready = true): Manifest {
  const service = number % services;
  const address = `172.${16 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `load-${service}-${number}`,
      namespace: namespaceOf(service),
      uid: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { app: `load-${service}`, version: 'v1', 'pod-template-hash': '5d9c7b' },
      annotations: { 'ambient.istio.io/redirection': 'enabled' },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `load-${service}-5d9c7b`, controller: true },
      ],
    },
    spec: {
      nodeName: `load-node-${Math.floor(number / podsPerNode)}`,
      serviceAccountName: `load-${service}`,
      containers: [{ name: 'main', image: 'load', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  } as Manifest;
}

function serviceManifest(number: number): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `load-${number}`, namespace: namespaceOf(number) },
    spec: {
      selector: { app: `load-${number}` },
      clusterIP: `172.31.${number >> 8}.${number & 255}`,
      ports: [{ name: 'http', port: 80, targetPort: 'http' }],
    },
  } as Manifest;
}

const namespaceOf = (service: number) => `load-${Math.floor(service / servicesPerNamespace)}`;

function namespaceManifest(number: number): Manifest {
  const metadata = { name: `load-${number}`, labels: { 'istio.io/dataplane-mode': 'ambient' } };
  return { apiVersion: 'v1', kind: 'Namespace', metadata } as Manifest;
}
