/** REGISTRY_ONLY: from a Sidecar, or an option, to what is judged of a connection out of the mesh. */
import { describe, expect, it } from 'vitest';
import { meshSettingsOf, meshSettingsService } from '../../../src/model/mesh-settings.ts';
import type { OutboundTrafficPolicy } from '../../../src/model/outbound-policy.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { outboundPolicyOf } from '../../../src/routing/outbound-policy.ts';
import type { KnownObject } from '../../../src/source/kubernetes/objects.ts';
import { meshSettings } from '../../../src/source/translate/mesh-settings.ts';
import { viewOf } from '../../../src/source/translate/object-view.ts';
import { decodeResource, encodeServiceAddress } from '../../../src/xds/codec.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import { node, pod, typed, warningsOf, workloadOf } from '../source/translate/objects.ts';
import { front, outbound } from './bookshop.ts';

function sidecar(
  name: string,
  mode: OutboundTrafficPolicy | undefined,
  {
    namespace = 'shop',
    labels,
    ...rest
  }: { namespace?: string; labels?: Record<string, string>; [field: string]: unknown } = {},
) {
  return typed<'Sidecar'>({
    apiVersion: 'networking.istio.io/v1beta1',
    kind: 'Sidecar',
    metadata: { name, namespace, creationTimestamp: `2026-01-0${name.length}T00:00:00Z` },
    spec: {
      ...(labels === undefined ? {} : { workloadSelector: { labels } }),
      ...(mode === undefined ? {} : { outboundTrafficPolicy: { mode } }),
      ...rest,
    },
  });
}

/** As an agent knows it: the settings over the wire, the pod as it was translated. */
function policyAt(
  objects: readonly KnownObject[],
  options: { own?: OutboundTrafficPolicy; plane?: OutboundTrafficPolicy; isKnown?: boolean } = {},
) {
  const settings = meshSettings(viewOf(objects), {
    podRanges: [],
    serviceRanges: [],
    outboundTrafficPolicy: options.plane,
  });
  const made = meshSettingsService(settings);
  const services = made === undefined ? [] : [carried(made)];
  const workload = workloadOf(pod(), objects);
  const workloads = options.isKnown === false ? [] : [workload];
  const snapshot = createSnapshot({ workloads, services, policies: [] });
  return outboundPolicyOf(snapshot, workload, options.own)?.policy;
}

function carried(service: NonNullable<ReturnType<typeof meshSettingsService>>) {
  const decoded = decodeResource(addressType, encodeServiceAddress(service));
  if (!('kind' in decoded) || decoded.kind !== 'services') throw new Error(JSON.stringify(decoded));
  return decoded.value;
}

const only = 'REGISTRY_ONLY';
const any = 'ALLOW_ANY';

describe('the outbound traffic policy of a pod', () => {
  it('is ALLOW_ANY where nobody says anything', () => {
    expect(policyAt([])).toBe(any);
    expect(policyAt([sidecar('s', undefined)])).toBe(any);
  });

  it('is the stricter one of control plane and agent', () => {
    expect([policyAt([], { plane: only }), policyAt([], { own: only })]).toEqual([only, only]);
    expect(policyAt([], { plane: any, own: only })).toBe(only);
    expect(policyAt([], { plane: only, own: any })).toBe(only);
  });

  it('is that of the mesh, before it that of the namespace, before both that of a Sidecar for the pod', () => {
    const mesh = sidecar('mesh', only, { namespace: 'istio-system' });
    const namespace = sidecar('namespace', any);
    const mine = sidecar('mine', only, { labels: { app: 'front' } });
    const other = sidecar('other', any, { labels: { app: 'back' } });
    expect(policyAt([mesh])).toBe(only);
    expect(policyAt([mesh], { plane: any })).toBe(only);
    expect(policyAt([mesh, namespace])).toBe(any);
    expect(policyAt([mesh, namespace, other])).toBe(any);
    expect(policyAt([mesh, namespace, other, mine])).toBe(only);
    expect(policyAt([sidecar('elsewhere', only, { namespace: 'bank' })])).toBe(any);
  });

  it('waits for the workload where a Sidecar of its namespace selects pods, and nowhere else', () => {
    const other = sidecar('other', any, { labels: { app: 'back' } });
    expect(policyAt([other], { isKnown: false, plane: only })).toBeUndefined();
    expect(policyAt([sidecar('s', only)], { isKnown: false })).toBe(only);
    const silent = sidecar('silent', undefined, { labels: { app: 'front' } });
    expect(policyAt([silent], { isKnown: false })).toBe(any);
  });

  it('is that of the older of two Sidecars, and the other is told', () => {
    // The length of its name is its age.
    const [older, newer] = [sidecar('a', only), sidecar('bb', any)];
    for (const objects of [
      [older, newer],
      [newer, older],
    ])
      expect(policyAt(objects)).toBe(only);
    expect(warningsOf(newer, [older])).toEqual([expect.stringContaining('a is older')]);
    expect(warningsOf(older, [newer])).toEqual([]);
  });

  it('is all that is read of a Sidecar', () => {
    expect(warningsOf(sidecar('s', only, { egress: [{ hosts: ['./*'] }], ingress: [] }))).toEqual([
      expect.stringMatching(/^spec.egress is not read/),
    ]);
  });

  it('changes nothing of the settings of a mesh where nobody says anything', () => {
    const settings = meshSettings(viewOf([node({}, { podCIDRs: ['10.0.0.0/24'] })]));
    expect(settings).toMatchObject({ outboundPolicies: [], selectedNamespaces: [] });
    expect(meshSettingsOf(meshSettingsService(settings))).toEqual(settings);
  });
});

describe('a connection of a pod that is REGISTRY_ONLY', () => {
  const own = { settings: { allowUnknownDestinations: true, outboundTrafficPolicy: only } } as const;

  it('to whom nobody knows is refused, though unknown destinations are allowed', () => {
    expect(outbound({}, ['192.0.2.7', 443], own)).toMatchObject({
      reasonName: 'EGRESS_REFUSED',
      endpoints: [],
    });
    const free = { settings: { ...own.settings, outboundTrafficPolicy: any } } as const;
    expect(outbound({}, ['192.0.2.7', 443], free)).toMatchObject({ reasonName: 'NONE' });
  });

  it('to a service, to a pod and to itself goes as ever', () => {
    for (const to of [
      ['10.96.0.1', 80],
      ['10.0.2.1', 8080],
      [front.addresses[0] ?? '', 8080],
      ['127.0.0.1', 1],
    ] as const)
      expect(outbound({}, to, own).reasonName).toBe('NONE');
  });
});
