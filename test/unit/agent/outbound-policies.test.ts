import { describe, expect, it } from 'vitest';
import { OutboundPolicies } from '../../../src/agent/outbound-policies.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import type { OutboundTrafficPolicy } from '../../../src/model/outbound-policy.ts';
import { emptySnapshot } from '../../../src/model/snapshot.ts';

const pod = { uid: 'Kubernetes//Pod/shop/front', namespace: 'shop' };
const policies = (own?: OutboundTrafficPolicy) =>
  new OutboundPolicies({
    snapshot: () => emptySnapshot,
    pods: () => [],
    own,
    onDemand: false,
    logger: silentLogger,
  });

describe('connections out of the mesh, before any state of it is there', () => {
  it('meet the tunnel where the pod is new, and are as an earlier agent left them where it is not', () => {
    const made = policies();
    expect(made.of(pod, false)).toBe('ask');
    expect(made.of(pod, true)).toBeUndefined();
    made.onSnapshot();
    expect([made.of(pod, false), made.of(pod, true)]).toEqual(['allow', 'allow']);
  });

  it('are refused where the agent itself was told so', () => {
    expect([true, false].map((captured) => policies('REGISTRY_ONLY').of(pod, captured))).toEqual([
      'refuse',
      'refuse',
    ]);
  });
});
