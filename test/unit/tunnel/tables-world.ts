/** Decision tables over the real judgements, and what they have written. */
import { afterEach, beforeEach, vi } from 'vitest';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot, type MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload, type Workload } from '../../../src/model/workload.ts';
import type {
  InboundKey,
  InboundRow,
  OutboundKey,
  OutboundRow,
  TunnelQuestion,
} from '../../../src/native/types.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import type { JudgementSettings } from '../../../src/routing/judgement.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import type { DecisionTablesOptions } from '../../../src/tunnel/decision-options.ts';
import { DecisionTables } from '../../../src/tunnel/decision-tables.ts';
import type { KernelRow } from '../../../src/tunnel/kernel-rows.ts';
import { inboundKeyText, outboundKeyText } from '../../../src/tunnel/rows.ts';

export const settings: JudgementSettings = {
  node: 'node-1',
  network: '',
  clusterId: 'Kubernetes',
  hbonePort: 15008,
  illegalPorts: [15008],
  allowUnknownDestinations: false,
  clusterRanges: [],
  trustDomains: [],
};

/** What the native tables would hold, and what the kernel would do by itself. */
export class Written {
  readonly outbound = new Map<string, OutboundRow>();
  readonly inbound = new Map<string, InboundRow>();
  readonly kernel = new Map<string, KernelRow>();
  readonly edges = new Map<number, number>();
  puts = 0;
  kernelPuts = 0;
  isKernelFull = false;
  readonly adopted: number[] = [];
  /** How often open connections without a row were asked for. */
  asksForOpen = 0;

  readonly tables: DecisionTablesOptions['tables'] = {
    putOutboundRows: (rows) => {
      this.puts += rows.length;
      for (const row of rows) this.outbound.set(outboundKeyText(row), row);
    },
    removeOutboundRows: (keys: readonly OutboundKey[]) => {
      for (const key of keys) this.outbound.delete(outboundKeyText(key));
    },
    putInboundRows: (rows) => {
      this.puts += rows.length;
      for (const row of rows) this.inbound.set(inboundKeyText(row), row);
    },
    removeInboundRows: (keys: readonly InboundKey[]) => {
      for (const key of keys) this.inbound.delete(inboundKeyText(key));
    },
    askAboutForgotten: () => {
      this.asksForOpen++;
    },
  };
}

export let written: Written;
let open: DecisionTables[] = [];

export function tables(options: Partial<DecisionTablesOptions> = {}): DecisionTables {
  written = new Written();
  let lastEdge = 0;
  const made = new DecisionTables({
    tables: written.tables,
    judge: {
      outbound: (snapshot, question) => judgeOutbound(snapshot, question, settings),
      inbound: (snapshot, question) => judgeInbound(snapshot, question, settings),
    },
    edges: {
      allot: () => {
        written.edges.set(++lastEdge, 1);
        return lastEdge;
      },
      release: (edge) => {
        if (!written.edges.delete(edge)) throw new Error(`edge ${edge} released twice`);
      },
      adopt: (edge) => written.adopted.push(edge),
    },
    kernelRows: {
      put: (key, row) => {
        written.kernelPuts++;
        if (written.isKernelFull) {
          written.kernel.delete(outboundKeyText(key));
          return false;
        }
        written.kernel.set(outboundKeyText(key), row);
        return true;
      },
      remove: (key) => written.kernel.delete(outboundKeyText(key)),
    },
    rowsPerPod: 100,
    unknownWaitMs: 5_000,
    waitingPerPod: 3,
    unknownRefusalMs: 30_000,
    questionRate: { perSecond: 1_000, burst: 1_000, failureCost: 9, mostWaiting: 1_000 },
    onFailure: (error) => {
      throw error;
    },
    ...options,
  });
  open.push(made);
  made.setPod(1, front);
  made.setPod(2, { ...front, uid: 'Kubernetes//Pod/shop/other' });
  return made;
}

export function workload(name: string, address: string, fields: Partial<Workload> = {}): Workload {
  return createWorkload({
    uid: `Kubernetes//Pod/shop/${name}`,
    name,
    namespace: 'shop',
    addresses: [address],
    tunnelProtocol: 'HBONE',
    ...fields,
  });
}

export const front = {
  uid: 'Kubernetes//Pod/shop/front',
  namespace: 'shop',
  serviceAccount: 'default',
  addresses: ['10.0.1.1'],
};
export const catalogService = createService({
  name: 'catalog',
  namespace: 'shop',
  hostname: 'catalog.shop.svc.cluster.local',
  addresses: [{ network: '', address: '10.96.0.1', length: undefined }],
  ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' }],
});
export const inCatalog = { services: [{ service: 'shop/catalog.shop.svc.cluster.local', ports: [] }] };

export function mesh(change: Partial<MeshResources> = {}) {
  return createSnapshot({
    workloads: [
      workload('front', '10.0.1.1'),
      workload('other', '10.0.1.2'),
      workload('catalog', '10.0.2.1', inCatalog),
    ],
    services: [catalogService],
    policies: [],
    ...change,
  });
}

export function outbound(address: string, port: number, podIndex = 1): TunnelQuestion {
  return { kind: 'outbound', podIndex, address, port, sourceAddress: '10.0.1.1' };
}

export function inbound(fields: Partial<Extract<TunnelQuestion, { kind: 'inbound' }>> = {}): TunnelQuestion {
  return {
    kind: 'inbound',
    podIndex: 1,
    channel: 'hbone',
    peerIdentity: 'spiffe://cluster.local/ns/shop/sa/default',
    peerAddress: '10.0.2.1',
    authority: '10.0.1.1:8080',
    forwardedHost: '',
    baggage: '',
    forwardedNetwork: '',
    ...fields,
  };
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});

afterEach(() => {
  for (const made of open) made.close();
  open = [];
  vi.useRealTimers();
});
