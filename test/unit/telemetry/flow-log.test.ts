import { expect, it } from 'vitest';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { FlowLog, tunnelFlowFormat } from '../../../src/telemetry/flow-log.ts';
import { packFlows } from './flow-records.ts';
import { labels } from './labels.ts';

const front = labels({
  source_workload: 'front',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
  destination_workload: 'catalog',
  destination_workload_namespace: 'shop',
  destination_principal: 'spiffe://cluster.local/ns/shop/sa/catalog',
  destination_service: 'catalog.shop.svc.cluster.local',
  connection_security_policy: 'mutual_tls',
});

function setup(readLive?: () => Promise<Uint8Array>) {
  const log = new FlowLog({
    labels: (edge) => (edge === 1 ? front : undefined),
    podName: (index) => (index === 1 ? 'shop/front' : undefined),
    resolve: (address) =>
      address === '10.64.9.9' ? { workload: 'outsider', namespace: 'legacy' } : undefined,
  });
  const channel = log.channel('tunnel', tunnelFlowFormat, {
    capacity: 4,
    ...(readLive === undefined ? {} : { readLive }),
  });
  return { log, channel };
}

it('joins a record with the names of its edge and of its pod', async () => {
  const { log, channel } = setup();
  channel.append(packFlows({}));
  const { connections } = await log.connections();
  expect(connections).toEqual([
    {
      id: 'tunnel-1',
      time: '2030-01-01T10:00:00.123Z',
      state: 'closed',
      direction: 'outbound',
      path: 'tunnel',
      pod: 'shop/front',
      source: {
        workload: 'front',
        namespace: 'shop',
        identity: 'spiffe://cluster.local/ns/shop/sa/front',
        address: '10.64.1.2',
        port: 40_001,
      },
      destination: {
        workload: 'catalog',
        namespace: 'shop',
        identity: 'spiffe://cluster.local/ns/shop/sa/catalog',
        address: '10.128.0.1',
        port: 80,
      },
      endpoint: { address: '10.64.2.2', port: 8080 },
      service: 'catalog.shop.svc.cluster.local',
      bytesSent: 1_234,
      bytesReceived: 10_000_007,
      durationMs: 1_500,
      connectMs: 12,
      rttMs: 10.25,
      retransmits: 3,
      reason: 'none',
    },
  ]);
});

it('tells addresses where no edge gives names, and asks the mesh about them', async () => {
  const { log, channel } = setup();
  channel.append(
    packFlows({
      edge: 0,
      podIndex: 7,
      sourceAddress: 'fd00::1',
      destinationAddress: '10.64.9.9',
      endpointAddress: '',
      rttMicroseconds: 0,
      reason: reasons.UNKNOWN_DESTINATION,
      kind: 'refused',
    }),
  );
  const [entry] = (await log.connections()).connections;
  expect(entry).toMatchObject({
    state: 'refused',
    source: { address: 'fd00::1', port: 40_001 },
    destination: { workload: 'outsider', namespace: 'legacy', address: '10.64.9.9' },
    reason: 'unknown_destination',
    reasonText: 'nobody in the mesh knows the destination address',
  });
  for (const absent of ['pod', 'endpoint', 'rttMs', 'service']) expect(entry).not.toHaveProperty(absent);
});

it('shows a connection once: live while it lives, ended when it ended, also when it ends during the question', async () => {
  const reads: Uint8Array[] = [packFlows({ flowId: 'a', kind: 'live' }, { flowId: 'b', kind: 'live' })];
  const { log, channel } = setup(async () => {
    // It ends while the workers are asked.
    channel.append(packFlows({ flowId: 'a' }));
    return reads[0] ?? new Uint8Array();
  });
  const { connections } = await log.connections();
  expect(connections.map(({ id, state }) => `${id} ${state}`).sort()).toEqual([
    'tunnel-a closed',
    'tunnel-b live',
  ]);
});

it('goes by the last report of each live connection where the reporter cannot be asked', async () => {
  const { log, channel } = setup();
  channel.append(packFlows({ flowId: 'a', kind: 'live', bytesSent: 1 }, { flowId: 'b', kind: 'live' }));
  channel.append(packFlows({ flowId: 'a', kind: 'live', bytesSent: 2 }));
  channel.append(packFlows({ flowId: 'b' }));
  const { connections } = await log.connections();
  expect(connections.map(({ id, state, bytesSent }) => [id, state, bytesSent]).sort()).toEqual([
    ['tunnel-a', 'live', 2],
    ['tunnel-b', 'closed', 1_234],
  ]);
});

it('gives a follower what ended since its cursor, and every live one', async () => {
  const { log, channel } = setup(async () => packFlows({ flowId: 'f', kind: 'live' }));
  channel.append(packFlows({ flowId: '1' }, { flowId: '2' }));
  const first = await log.connections();
  expect(first.connections).toHaveLength(3);
  channel.append(packFlows({ flowId: '3' }));
  const second = await log.connections({ after: first.cursor });
  expect(second.connections.map(({ id }) => id).sort()).toEqual(['tunnel-3', 'tunnel-f']);
  expect((await log.connections({ after: second.cursor })).connections).toHaveLength(1);
  expect((await log.connections({ after: 'nonsense:-1,:,tunnel:x' })).connections).toHaveLength(4);
});

it('is asked for states, pods and a number of connections, the newest first', async () => {
  const { log, channel } = setup();
  const at = (second: number) => (Date.parse('2030-01-01T10:00:00Z') + second * 1000) * 1000;
  channel.append(
    packFlows(
      { flowId: '1', openedUnixMicroseconds: at(1) },
      { flowId: '2', openedUnixMicroseconds: at(3), kind: 'refused' },
      { flowId: '3', openedUnixMicroseconds: at(2), podIndex: 2 },
    ),
  );
  const ids = async (query: Parameters<FlowLog['connections']>[0]) =>
    (await log.connections(query)).connections.map(({ id }) => id);
  expect(await ids({})).toEqual(['tunnel-2', 'tunnel-3', 'tunnel-1']);
  expect(await ids({ limit: 1 })).toEqual(['tunnel-2']);
  expect(await ids({ states: ['closed'] })).toEqual(['tunnel-3', 'tunnel-1']);
  expect(await ids({ pod: 'shop/front' })).toEqual(['tunnel-2', 'tunnel-1']);
});

it('keeps reporters apart and counts what they lost', async () => {
  const { log, channel } = setup();
  const kernel = log.channel('kernel');
  channel.append(packFlows({ flowId: '1' }));
  kernel.append(packFlows({ flowId: '1', path: 'untouched' }));
  kernel.addLost(5);
  const list = await log.connections();
  expect(list.connections.map(({ id }) => id).sort()).toEqual(['kernel-1', 'tunnel-1']);
  expect(list.lost).toBe(5);
  expect([log.recorded, log.lost]).toEqual([2, 5]);
});
