import { type Authorization, createAuthorization } from '../../../src/model/authorization.ts';
import { reasonDetails } from '../../../src/model/reasons.gen.ts';
import { createService, type Service, type ServiceFields } from '../../../src/model/service.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import {
  createWorkload,
  type Port,
  type Workload,
  type WorkloadFields,
} from '../../../src/model/workload.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import type {
  EnrolledPod,
  InboundQuestion,
  JudgementSettings,
  LocalNode,
} from '../../../src/routing/judgement.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';

/** A small mesh: `front` on node-1 calls the service `catalog` of two pods; parts are replaced per test. */

export const settings: JudgementSettings = {
  node: 'node-1',
  network: '',
  clusterId: 'Kubernetes',
  hbonePort: 15_008,
  illegalPorts: [15_001, 15_006, 15_008],
  allowUnknownDestinations: false,
  clusterRanges: [],
  trustDomains: [],
};

export const port = (servicePort: number, targetPort = 0): Port => ({
  servicePort,
  targetPort,
  appProtocol: 'UNKNOWN',
});

export const catalogKey = 'shop/catalog.shop.svc.cluster.local';

export function pod(name: string, fields: Partial<WorkloadFields> = {}): Workload {
  return createWorkload({
    uid: `c//Pod/shop/${name}`,
    name,
    namespace: 'shop',
    tunnelProtocol: 'HBONE',
    serviceAccount: name.replace(/-\d+$/, ''),
    workloadName: name.replace(/-\d+$/, ''),
    canonicalName: name.replace(/-\d+$/, ''),
    canonicalRevision: 'v1',
    node: 'node-1',
    ...fields,
  });
}

export const front = pod('front', { addresses: ['10.0.1.1', 'fd00:1::1'] });

export function catalogPod(number: number, fields: Partial<WorkloadFields> = {}): Workload {
  return pod(`catalog-${number}`, {
    addresses: [`10.0.2.${number}`, `fd00:2::${number}`],
    node: 'node-2',
    services: [{ service: catalogKey, ports: [port(80, 8080)] }],
    ...fields,
  });
}

export function catalogService(fields: Partial<ServiceFields> = {}): Service {
  return createService({
    name: 'catalog',
    namespace: 'shop',
    hostname: 'catalog.shop.svc.cluster.local',
    addresses: [address('10.96.0.1'), address('fd00:96::1')],
    ports: [port(80, 8080)],
    canonical: true,
    ...fields,
  });
}

export const address = (text: string, network = '', length?: number) => ({ network, address: text, length });
export const byName = (hostname: string, namespace = 'shop', hboneMtlsPort = 0) => ({
  destination: { kind: 'hostname' as const, namespace, hostname },
  hboneMtlsPort,
});
export const byAddress = (text: string, network = '') => ({
  destination: { kind: 'address' as const, network, address: text },
  hboneMtlsPort: 0,
});

export interface Mesh {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly policies?: readonly Authorization[];
}

export const usual: Required<Mesh> = {
  workloads: [front, catalogPod(1), catalogPod(2)],
  services: [catalogService()],
  policies: [],
};

export const snapshotOf = (mesh: Mesh) => createSnapshot({ ...usual, ...mesh });

export const enrolled = (workload: Workload): EnrolledPod => ({
  uid: workload.uid,
  namespace: workload.namespace,
  serviceAccount: workload.serviceAccount,
  addresses: workload.addresses,
});

/** A node that carries these pods. */
export function localNode(pods: readonly EnrolledPod[], path: LocalNode['path'] = 'stays'): LocalNode {
  return { path, pod: (uid) => pods.find((each) => each.uid === uid) };
}

export function outbound(
  mesh: Mesh,
  destination: readonly [string, number],
  changes: {
    readonly source?: EnrolledPod;
    readonly settings?: Partial<JudgementSettings>;
    readonly local?: LocalNode;
  } = {},
) {
  const [to, number] = destination;
  const { local } = changes;
  const source = changes.source ?? enrolled(front);
  const question = { source, address: to, port: number, ...(local !== undefined && { local }) };
  const judgement = judgeOutbound(snapshotOf(mesh), question, { ...settings, ...changes.settings });
  return { ...judgement, reasonName: reasonDetails.get(judgement.reason)?.name };
}

export function inbound(
  mesh: Mesh,
  question: Partial<InboundQuestion> = {},
  changes: Partial<JudgementSettings> = {},
) {
  const full: InboundQuestion = {
    destination: enrolled(catalogPod(1)),
    channel: 'hbone',
    peerIdentity: 'spiffe://cluster.local/ns/shop/sa/front',
    peerAddress: '10.0.1.1',
    authority: '10.0.2.1:8080',
    forwardedHost: '',
    baggage: '',
    forwardedNetwork: '',
    ...question,
  };
  const judgement = judgeInbound(snapshotOf(mesh), full, { ...settings, ...changes });
  return { ...judgement, reasonName: reasonDetails.get(judgement.reason)?.name };
}

/** `tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1`, one line per endpoint. */
export function paths(judgement: ReturnType<typeof outbound>): readonly string[] {
  return judgement.endpoints.map(
    (each) =>
      `${each.path} ${each.address}:${each.port}${each.authority === '' ? '' : ` for ${each.authority}`} x${each.weight}`,
  );
}

export const denyAll = createAuthorization({
  name: 'deny-all',
  namespace: 'shop',
  scope: 'NAMESPACE',
  action: 'DENY',
  rules: [{ clauses: [] }],
});
