import { expect } from 'vitest';
import { VERDICT_DIRECT } from '../../src/kernel/constants.gen.ts';
import type { DirectSlot } from '../../src/kernel/row-table.ts';
import type { CaptureWorld, EnrolledPod } from './capture-world.ts';

/** What rows of a test lead to, and from where: port 80 of a service that nothing else answers. */
export const directEdges = { row: 49, outbound: 50, inbound: 51 } as const;

export function directSlot(to: EnrolledPod, address: string, port = 8080): DirectSlot {
  const { podIndex, netnsCookie } = to;
  const { outbound: edge, inbound: inboundEdge } = directEdges;
  return { kind: 'direct', address, port, podIndex, netnsCookie, edge, inboundEdge };
}

export function leadDirectly(
  world: CaptureWorld,
  client: EnrolledPod,
  asked: string,
  ...slots: DirectSlot[]
): void {
  const key = { podIndex: client.podIndex, address: asked, port: 80 };
  world.capture.putRows([[key, { verdict: VERDICT_DIRECT, edge: directEdges.row, slots }]]);
}

/** Of an authorization whose connection is not made. */
export const notYetOpen = { seen: 0, openedNs: 0n, acceptedCookie: 0n, endReason: 0 } as const;

/** Takes the client's rows out and waits until no direct connection is left at any of the pods; a server's end closes after its client's. */
export async function endedAll(
  world: CaptureWorld,
  client: EnrolledPod,
  pods: readonly EnrolledPod[],
): Promise<void> {
  const patience = { timeout: 5_000 };
  const { maps, sockets } = world.capture;
  const directOf = ({ netnsFd }: EnrolledPod) =>
    sockets.list(netnsFd).filter(({ seenAs }) => seenAs === 'direct').length;
  world.capture.replaceRows(client.podIndex, []);
  await expect.poll(() => maps.authorized.keys(), patience).toEqual([]);
  await expect.poll(() => pods.map(directOf), patience).toEqual(pods.map(() => 0));
  await expect.poll(() => pods.map((pod) => trackedOf(world, pod)), patience).toEqual(pods.map(() => 0));
}

/** How many connections of the pod are tracked now. */
export function trackedOf(world: CaptureWorld, { podIndex }: EnrolledPod): number {
  const budget = world.capture.maps.map('pod_budgets').get(new Uint8Array(Uint32Array.of(podIndex).buffer));
  return budget === undefined ? 0 : Number(new DataView(budget.buffer).getBigInt64(budget.byteOffset, true));
}
