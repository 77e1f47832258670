import { expect, it } from 'vitest';
import type { UntouchedFlow } from '../../../src/model/flow.ts';
import { type JoinContext, toConnectionEntry } from '../../../src/telemetry/connection-entry.ts';
import { usualFlow } from './flow-records.ts';
import { labels } from './labels.ts';

const { connectMicroseconds: _, ...ofTunnel } = usualFlow;
const direct: UntouchedFlow = {
  ...ofTunnel,
  kind: 'live',
  path: 'node_local',
  peerPodIndex: 2,
  edge: 7,
  cookie: 1n,
};

const front = { workload: 'front', namespace: 'shop', identity: 'spiffe://cluster.local/ns/shop/sa/front' };
const catalog = {
  workload: 'catalog',
  namespace: 'shop',
  identity: 'spiffe://cluster.local/ns/shop/sa/catalog',
};
const pods = new Map([
  [1, front],
  [2, catalog],
]);

const context: JoinContext = {
  labels: () => undefined,
  ofPod: (podIndex) => pods.get(podIndex),
  resolve: () => ({ workload: 'by-address', namespace: 'elsewhere' }),
};

it('names both ends of a direct connection by their pods where nobody knows its edge any more', () => {
  expect(toConnectionEntry(direct, context)).toMatchObject({ source: front, destination: catalog });
  const inbound = { ...direct, direction: 'inbound', podIndex: 2, peerPodIndex: 1 } as const;
  expect(toConnectionEntry(inbound, context)).toMatchObject({ source: front, destination: catalog });
});

it('leaves an end without a name whose pod is gone', () => {
  const { source, destination } = toConnectionEntry({ ...direct, peerPodIndex: 9 }, context);
  expect(source).toMatchObject(front);
  expect(destination).toEqual({ address: '10.128.0.1', port: 80 });
});

it('goes by the edge first, and by addresses for what no pod is known of', () => {
  const ofEdge = labels({ source_workload: 'edge-client', destination_workload: 'edge-server' });
  expect(toConnectionEntry(direct, { ...context, labels: () => ofEdge })).toMatchObject({
    source: { workload: 'edge-client' },
    destination: { workload: 'edge-server' },
  });
  const untouched = { ...direct, path: 'untouched', peerPodIndex: 0 } as const;
  expect(toConnectionEntry(untouched, context)).toMatchObject({
    source: { workload: 'by-address' },
    destination: { workload: 'by-address' },
  });
});
