import { expect, it } from 'vitest';
import { dumpWorkloadState, type PodOnNode } from '../../../src/agent/workload-state.ts';
import type { ConnectionEntry } from '../../../src/telemetry/connection-entry.ts';

const pod = (name: string, state: PodOnNode['state'] = 'Up'): PodOnNode => ({
  stored: { uid: `uid-${name}`, name, namespace: 'shop', serviceAccount: 'front' },
  state,
});

const connection = (fields: Partial<ConnectionEntry>): ConnectionEntry => ({
  id: '1',
  time: '2026-01-01T00:00:00.000Z',
  state: 'live',
  direction: 'outbound',
  path: 'tunnel',
  pod: 'shop/front',
  source: { address: '10.0.0.1', port: 40_000 },
  destination: { address: '10.96.0.1', port: 80 },
  endpoint: { address: '10.0.1.1', port: 15_008 },
  bytesSent: 0,
  bytesReceived: 0,
  durationMs: 0,
  retransmits: 0,
  reason: 'none',
  ...fields,
});

const dumped = (connections: readonly ConnectionEntry[], pods = [pod('front')]) =>
  dumpWorkloadState(pods, connections, 'cluster.local') as Record<
    string,
    { state: string; connections: { inbound: unknown[]; outbound: unknown[] }; info: unknown }
  >;

it('names a pod as istioctl does, with its own connections by direction', () => {
  const { 'uid-front': front, 'uid-back': back } = dumped(
    [
      connection({}),
      connection({ direction: 'inbound', path: 'plaintext' }),
      connection({ pod: 'shop/other' }),
    ],
    [pod('front'), pod('back', 'Pending')],
  );
  expect(front).toEqual({
    state: 'Up',
    connections: {
      inbound: [expect.objectContaining({ protocol: 'TCP' })],
      outbound: [
        {
          src: '10.0.0.1:40000',
          originalDst: '10.96.0.1:80',
          actualDst: '10.0.1.1:15008',
          protocol: 'HBONE',
        },
      ],
    },
    info: { name: 'front', namespace: 'shop', trustDomain: 'cluster.local', serviceAccount: 'front' },
  });
  expect(back).toMatchObject({ state: 'Pending', connections: { inbound: [], outbound: [] } });
});

it('writes IPv6 addresses in brackets: istioctl splits them at the last colon to find names', () => {
  const [outbound] =
    dumped([connection({ destination: { address: 'fd00::1', port: 80 } })])['uid-front']?.connections
      .outbound ?? [];
  expect(outbound).toMatchObject({ originalDst: '[fd00::1]:80' });
});

it('has where a connection without a separate endpoint went to: what was dialled', () => {
  const { endpoint: _, ...untouched } = connection({ path: 'untouched' });
  const [outbound] = dumped([untouched])['uid-front']?.connections.outbound ?? [];
  expect(outbound).toMatchObject({ actualDst: '10.96.0.1:80', protocol: 'TCP' });
});
