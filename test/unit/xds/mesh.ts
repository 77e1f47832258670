// Small resources of a mesh, by number.
import { type Authorization, createAuthorization } from '../../../src/model/authorization.ts';
import { createChange, type MeshChange, type MeshChangeFields } from '../../../src/model/change.ts';
import { createService, type Service } from '../../../src/model/service.ts';
import { createWorkload, type Workload, type WorkloadFields } from '../../../src/model/workload.ts';

export const uid = (name: string): string => `Kubernetes//Pod/shop/${name}`;

export function pod(name: string, fields: Partial<WorkloadFields> = {}): Workload {
  return createWorkload({
    uid: uid(name),
    name,
    namespace: 'shop',
    addresses: ['10.0.0.1'],
    tunnelProtocol: 'HBONE',
    serviceAccount: name,
    node: 'a',
    ...fields,
  });
}

export const endpointOf = (...names: string[]) =>
  names.map((name) => ({ service: `shop/${name}.shop.svc`, ports: [] }));

export function service(name: string, address = '10.96.0.1', length?: number): Service {
  return createService({
    name,
    namespace: 'shop',
    hostname: `${name}.shop.svc`,
    addresses: [{ network: '', address, length }],
    ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' }],
  });
}

export const serviceName = (name: string): string => `shop/${name}.shop.svc`;

export function policy(name: string, fields: Partial<Authorization> = {}): Authorization {
  return createAuthorization({ name, namespace: 'shop', ...fields });
}

export function change(fields: MeshChangeFields): MeshChange {
  return createChange(fields);
}

/** A mesh of a size, with names as long as they are in clusters. */
export function largeMesh(pods: number, services: number): MeshChange {
  const two = (number: number) => String(number).padStart(2, '0');
  const host = (index: number) =>
    `service-${index % services}.namespace-${two(index % 50)}.svc.cluster.local`;
  return createChange({
    services: {
      upserts: Array.from({ length: services }, (_, index) =>
        createService({
          name: `service-${index}`,
          namespace: `namespace-${two(index % 50)}`,
          hostname: host(index),
          addresses: [{ network: '', address: `10.96.${index >> 8}.${index & 255}`, length: undefined }],
          ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' }],
        }),
      ),
    },
    workloads: {
      upserts: Array.from({ length: pods }, (_, index) => {
        const namespace = `namespace-${two(index % 50)}`;
        const name = `service-${index % services}-7d4b9c6f5-${index.toString(36).padStart(5, 'x')}`;
        return createWorkload({
          uid: `Kubernetes//Pod/${namespace}/${name}`,
          name,
          namespace,
          addresses: [`10.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`],
          tunnelProtocol: 'HBONE',
          serviceAccount: `service-${index % services}`,
          node: `node-${index % 100}`,
          canonicalName: `service-${index % services}`,
          canonicalRevision: 'v1',
          workloadType: 'POD',
          workloadName: name,
          locality: { region: 'region-1', zone: `zone-${index % 3}`, subzone: '' },
          services: [
            {
              service: `${namespace}/${host(index)}`,
              ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' }],
            },
          ],
        });
      }),
    },
  });
}
