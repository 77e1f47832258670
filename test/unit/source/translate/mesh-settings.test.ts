import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../../src/controlplane/mesh-translation.ts';
import { meshTranslators } from '../../../../src/controlplane/translators.ts';
import { parseAddress } from '../../../../src/model/address.ts';
import { cidrContains, parseCidr } from '../../../../src/model/cidr.ts';
import { createMeshSettings, meshRanges, meshSettingsOf } from '../../../../src/model/mesh-settings.ts';
import { createService, type Service } from '../../../../src/model/service.ts';
import { createSnapshot } from '../../../../src/model/snapshot.ts';
import { type KnownObject, objectId } from '../../../../src/source/kubernetes/objects.ts';
import { stateText } from '../../../../src/source/state-document.ts';
import { parseStateFile } from '../../../../src/source/state-file.ts';
import { defaultMeshNames } from '../../../../src/source/translate/context.ts';
import { meshSettings, translateMeshSettings } from '../../../../src/source/translate/mesh-settings.ts';
import { viewOf } from '../../../../src/source/translate/object-view.ts';
import { decodeResource, encodeServiceAddress } from '../../../../src/xds/codec.ts';
import { addressType } from '../../../../src/xds/type-urls.ts';
import { node, pod, service, typed } from './objects.ts';

const serviceCidr = (name: string, cidrs: string[]) =>
  typed<'ServiceCIDR'>({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name },
    spec: { cidrs },
  });

describe('the ranges of a cluster', () => {
  it('come from nodes, service ranges and options', () => {
    const view = viewOf([
      node({}, { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24', 'fd00:0::/64'] }, 'a'),
      node({}, { podCIDR: '10.0.4.0/24' }, 'b'),
      node({}, {}, 'c'),
      serviceCidr('kubernetes', ['10.96.0.0/12', 'fd01::/108']),
      serviceCidr('more', ['10.200.0.0/16']),
    ]);
    expect(meshSettings(view, { podRanges: ['192.168.0.0/16'], serviceRanges: [] })).toMatchObject({
      podRanges: ['10.0.0.0/24', '10.0.4.0/24', '192.168.0.0/16', 'fd00::/64'],
      serviceRanges: ['10.96.0.0/12', '10.200.0.0/16', '240.240.0.0/16', '2001:2::/48', 'fd01::/108'],
    });
    expect(meshSettings(viewOf([])).podRanges).toEqual([]);
  });

  it('of many nodes are joined to few', () => {
    const nodes = Array.from({ length: 256 }, (_, index) =>
      node({}, { podCIDRs: [`10.7.${index}.0/24`] }, `n${index}`),
    );
    expect(meshSettings(viewOf(nodes)).podRanges).toEqual(['10.7.0.0/16']);
    expect(meshSettings(viewOf(nodes.slice(0, 3))).podRanges).toEqual(['10.7.0.0/23', '10.7.2.0/24']);
  });
});

describe('joined ranges', () => {
  it.each([
    [['10.0.0.0/8', '10.1.0.0/16'], ['10.0.0.0/8']],
    [
      ['10.0.1.0/24', '10.0.2.0/24'],
      ['10.0.1.0/24', '10.0.2.0/24'],
    ],
    [['10.0.0.5/24', '10.0.0.0/24'], ['10.0.0.0/24']],
    [['0.0.0.0/1', '128.0.0.0/1'], ['0.0.0.0/0']],
    [['x', '10.0.0.0/33', ''], []],
    [['10.0.0.1'], ['10.0.0.1/32']],
  ])('%j are %j', (given, expected) => {
    expect(createMeshSettings({ podRanges: given }).podRanges).toEqual(expected);
  });

  it('hold what they held before, and nothing else', () => {
    const octet = fc.nat(7);
    const cidr = fc
      .tuple(octet, octet, fc.integer({ min: 14, max: 32 }))
      .map(([a, b, length]) => `10.${a}.${b}.0/${length}`);
    const address = fc.tuple(octet, octet, octet).map((parts) => `10.${parts.join('.')}`);
    const holds = (ranges: readonly string[], text: string) => {
      const parsed = parseAddress(text);
      return ranges
        .map(parseCidr)
        .some((range) => range !== undefined && parsed !== undefined && cidrContains(range, parsed));
    };
    fc.assert(
      fc.property(
        fc.array(cidr, { maxLength: 12 }),
        fc.array(address, { minLength: 5 }),
        (given, addresses) => {
          const joined = createMeshSettings({ podRanges: given }).podRanges;
          for (const each of addresses) expect(holds(joined, each)).toBe(holds(given, each));
          expect(joined.length).toBeLessThanOrEqual(given.length);
        },
      ),
    );
  });
});

describe('the settings of a mesh, as they travel', () => {
  const everything = [
    node({}, { podCIDRs: ['10.0.0.0/24', 'fd00::/64'] }, 'a'),
    serviceCidr('kubernetes', ['10.96.0.0/12']),
    service({ name: 'db' }, { type: 'ExternalName', externalName: 'db.example.com' }),
    service({ name: 'odd' }, { type: 'ExternalName', externalName: 'not/a name' }),
  ];

  it('are a service that says them again after the wire', () => {
    const settings = meshSettings(viewOf(everything));
    expect(settings.dnsAliases).toEqual([
      { namespace: 'shop', hostname: 'db.shop.svc.cluster.local', target: 'db.example.com' },
    ]);
    const { services = [] } = translateMeshSettings(viewOf(everything));
    const [sent] = services;
    if (sent === undefined) throw new Error('nothing is sent');
    expect(meshSettingsOf(sent)).toEqual(settings);
    const received = parseStateFile(stateText({ workloads: [], services: [sent], policies: [] })).resources
      .services[0];
    expect(meshSettingsOf(received)).toEqual(settings);
    const decoded = decodeResource(addressType, encodeServiceAddress(sent));
    expect('value' in decoded ? meshSettingsOf(decoded.value as Service) : decoded).toEqual(settings);
  });

  it('are nothing when nothing is known, and nothing is what any other service says', () => {
    expect(translateMeshSettings(viewOf([]))).toEqual({});
    expect(meshSettingsOf(createService({ namespace: 'x', hostname: 'y' })).podRanges).toEqual([]);
    expect(meshSettingsOf(undefined).podRanges).toEqual([]);
  });

  it('own no address on any network that somebody is on', () => {
    const { services = [] } = translateMeshSettings(viewOf(everything));
    const snapshot = createSnapshot({ workloads: [], services, policies: [] });
    expect(snapshot.servicesAround('', '10.0.0.9')).toEqual([]);
    expect(meshRanges(snapshot).map(({ text }) => text)).toContain('10.0.0.0/24');
  });

  it('change with a node alone, and with nothing else', () => {
    const translation = new MeshTranslation(defaultMeshNames, meshTranslators, translateMeshSettings);
    const told = (...objects: KnownObject[]) => {
      translation.apply({
        upserts: objects.map((object) => ({ id: objectId(object), object })),
        removals: [],
      });
      translation.work();
      return translation.take().services.upserts.map(({ hostname }) => hostname);
    };
    expect(told()).toEqual([]);
    expect(told(node({}, { podCIDR: '10.0.0.0/24' }))).toEqual(['mesh-settings.hadal.internal']);
    const made = translation.made;
    expect(told(pod())).toEqual([]);
    expect(translation.made - made).toBe(1);
    expect(told(node({}, { podCIDR: '10.0.1.0/24' }))).toEqual(['mesh-settings.hadal.internal']);
  });
});

describe('what the mesh says of connections between pods of a node', () => {
  it.each(['direct', 'tunnel'] as const)('is %s after the wire, beside whatever else it says', (sameNode) => {
    const [told] =
      translateMeshSettings(viewOf([]), { podRanges: [], serviceRanges: [], sameNode }).services ?? [];
    const decoded = told && decodeResource(addressType, encodeServiceAddress(told));
    const received = decoded !== undefined && 'value' in decoded ? (decoded.value as Service) : undefined;
    expect(meshSettingsOf(received).sameNode).toBe(sameNode);
  });

  it('is nothing where the operator says nothing', () => {
    expect(translateMeshSettings(viewOf([]), { podRanges: [], serviceRanges: [] }).services).toBeUndefined();
  });
});
