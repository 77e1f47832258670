import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OlderConnections } from '../../src/enrolment/older-connections.ts';
import { createAuthorization } from '../../src/model/authorization.ts';
import { diffSnapshots } from '../../src/model/diff.ts';
import { createSnapshot, type MeshSnapshot } from '../../src/model/snapshot.ts';
import { createWorkload } from '../../src/model/workload.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { judgeInbound } from '../../src/routing/inbound.ts';
import type { JudgementSettings } from '../../src/routing/judgement.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const settings: JudgementSettings = {
  node: 'n',
  network: '',
  clusterId: 'c',
  hbonePort: 15008,
  illegalPorts: [15008],
  allowUnknownDestinations: false,
  clusterRanges: [],
  trustDomains: [],
};

describe.skipIf(podWorldUnavailable !== undefined)('connections older than an enrolment', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let snapshot: MeshSnapshot;
  let older: OlderConnections;
  const held: Awaited<ReturnType<CaptureWorld['dialAndHold']>>[] = [];

  const reviewed = () => ({
    uid: 'c//Pod/shop/pod',
    namespace: 'shop',
    serviceAccount: 'default',
    addresses: [pod.ipv4],
    podIndex: pod.podIndex,
    netnsFd: pod.netnsFd,
    isPastPolicy: () => false,
  });
  const mesh = (authorizationPolicies: readonly string[], rules: 'none' | 'deny') =>
    createSnapshot({
      workloads: [
        createWorkload({
          uid: 'c//Pod/shop/pod',
          name: 'pod',
          namespace: 'shop',
          addresses: [pod.ipv4],
          authorizationPolicies,
        }),
      ],
      services: [],
      policies:
        rules === 'none'
          ? []
          : [
              createAuthorization({
                namespace: 'shop',
                name: 'p',
                scope: 'WORKLOAD_SELECTOR',
                action: 'DENY',
                rules: [{ clauses: [] }],
              }),
            ],
    });
  /** The mesh becomes this one; whether the pod's connections are to be judged again. */
  const become = (next: MeshSnapshot) => {
    const diff = diffSnapshots(snapshot, next);
    snapshot = next;
    return older.isConcernedBy(reviewed(), diff);
  };

  beforeAll(async () => {
    world = await CaptureWorld.create();
    const running = world.addPod('pod');
    const outside = world.addPod('outside');
    await world.serve(running, { ports: [8080] });
    for (let n = 0; n < 2; n++) held.push(await world.dialAndHold(outside, { to: [running.ipv4, 8080] }));
    pod = await world.enrol(running);
    snapshot = createSnapshot({ workloads: [], services: [], policies: [] });
    older = new OlderConnections({
      native: nativeAddon(),
      sockets: world.capture.sockets,
      judge: { inbound: (state, question) => judgeInbound(state, question, settings) },
      snapshot: () => snapshot,
      network: '',
      logger: pino({ enabled: false }),
    });
  });
  afterAll(() => world?.dispose());

  it('go on until the mesh knows the pod and its policy, and end when that refuses them', async () => {
    const review = () => older.review(reviewed(), { untouched: false });
    expect(await review()).toBe(0);
    // The pod is known, its policy is not.
    expect(become(mesh(['shop/p'], 'none'))).toBe(true);
    expect(await review()).toBe(0);
    expect(await held[0]?.check()).toEqual({ alive: true });
    expect(become(mesh(['shop/p'], 'deny'))).toBe(true);
    expect(await review()).toBe(1);
    expect(older.destroyed).toBe(1);
    expect(await held[1]?.check()).toEqual({ alive: false, error: 'ECONNRESET' });
    // None is left, so nothing concerns the pod any more.
    expect(become(mesh(['shop/p'], 'none'))).toBe(false);
  });
});
