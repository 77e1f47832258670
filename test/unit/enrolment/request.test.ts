import { describe, expect, it } from 'vitest';
import {
  parseAddRequest,
  parseRemoveRequest,
  sameWishes,
  withWishes,
} from '../../../src/enrolment/request.ts';

const add = {
  Netns: '/run/netns/front',
  PodName: 'front-0',
  PodNamespace: 'shop',
  PodUID: 'b0c4f1d2-0d1e-4f7f-9a52-0f3b6c1f0a11',
  ServiceAccount: 'front',
  Cgroup: '/sys/fs/cgroup/pods/front',
  IPs: [{ Interface: 0, Address: '10.0.0.5/24', Gateway: '10.0.0.1' }, { Address: 'FD00::05/64' }],
};

describe('a request to /cmdadd', () => {
  it('is read with canonical addresses', () => {
    expect(parseAddRequest(add)).toEqual({
      uid: add.PodUID,
      name: 'front-0',
      namespace: 'shop',
      serviceAccount: 'front',
      netns: '/run/netns/front',
      addresses: ['10.0.0.5', 'fd00::5'],
      cgroup: '/sys/fs/cgroup/pods/front',
    });
  });

  it('needs neither addresses nor a cgroup', () => {
    const { IPs: _ips, Cgroup: _cgroup, ...rest } = add;
    expect(parseAddRequest(rest)).toMatchObject({ addresses: [], cgroup: '' });
  });

  it.each([
    ['Netns', { Netns: undefined }, 'field Netns is missing'],
    ['Netns', { Netns: 'run/netns/front' }, 'field Netns is "run/netns/front"; an absolute path'],
    ['PodName', { PodName: '../x' }, 'field PodName is "../x"'],
    ['PodName', { PodName: 7 }, 'field PodName is 7'],
    ['PodNamespace', { PodNamespace: 'Shop' }, 'field PodNamespace is "Shop"'],
    ['PodUID', { PodUID: undefined }, 'field PodUID is missing'],
    ['PodUID', { PodUID: 'a/b' }, 'field PodUID is "a/b"'],
    ['ServiceAccount', { ServiceAccount: '' }, 'field ServiceAccount is ""'],
    ['Cgroup', { Cgroup: 'pods' }, 'field Cgroup is "pods"'],
    ['IPs', { IPs: '10.0.0.1' }, 'field IPs is "10.0.0.1"; a list'],
    [
      'IPs[1].Address',
      { IPs: [{ Address: '10.0.0.1' }, { Address: '10.0.0' }] },
      'IPs[1].Address is "10.0.0"',
    ],
    ['podName', { podName: 'front' }, 'field podName is unknown; PodName is meant'],
    ['Colour', { Colour: 'red' }, 'field Colour is unknown; /cmdadd takes'],
  ])('with a bad %s is refused by that name', (field, change, message) => {
    const act = () => parseAddRequest({ ...add, ...change });
    expect(act).toThrow(message);
    expect(act).toThrow(expect.objectContaining({ code: 'ERR_ENROLMENT_REQUEST', details: { field } }));
  });

  it.each([undefined, null, 7, 'text', [add]])('that is %s is refused', (body) => {
    expect(() => parseAddRequest(body)).toThrow('must be a JSON object');
  });
});

describe('a request to /cmddel', () => {
  it('names the pod by uid, or by name and namespace', () => {
    expect(parseRemoveRequest({ PodUID: 'u1' })).toEqual({
      uid: 'u1',
      name: '',
      namespace: '',
      reason: 'deleted',
    });
    expect(parseRemoveRequest({ PodName: 'front', PodNamespace: 'shop', Reason: 'left' })).toMatchObject({
      name: 'front',
      namespace: 'shop',
      reason: 'left',
    });
  });

  it('may carry what /cmdadd carried', () => {
    expect(parseRemoveRequest({ ...add })).toMatchObject({ uid: add.PodUID });
  });

  it.each([
    [{}, 'field PodUID is missing; name the pod'],
    [{ PodName: 'front' }, 'field PodNamespace is missing'],
    [{ PodUID: 'u1', Reason: 'because' }, 'field Reason is "because"; one of deleted, left'],
  ])('%j is refused', (body, message) => {
    expect(() => parseRemoveRequest(body)).toThrow(message);
  });
});

it('a pod may say whether its names are the agent’s to answer, and nothing else than yes or no', () => {
  const pod = { Netns: '/run/netns/x', PodName: 'a', PodNamespace: 'b', PodUID: 'u', ServiceAccount: 's' };
  expect(parseAddRequest(pod).dnsCapture).toBeUndefined();
  expect(parseAddRequest({ ...pod, DnsCapture: false }).dnsCapture).toBe(false);
  expect(() => parseAddRequest({ ...pod, DnsCapture: 'false' })).toThrow(/DnsCapture .*true or false/);
});

describe('what a pod wishes of its capture', () => {
  const pod = { Netns: '/run/netns/x', PodName: 'a', PodNamespace: 'b', PodUID: 'u', ServiceAccount: 's' };

  it('is nothing where the request says nothing', () => {
    expect(parseAddRequest(pod)).not.toHaveProperty('bypassInbound');
    expect(parseAddRequest(pod)).not.toHaveProperty('virtualInterfaces');
  });

  it('is connections in clear past the agent, by yes or no', () => {
    expect(parseAddRequest({ ...pod, BypassInboundCapture: true }).bypassInbound).toBe(true);
    expect(() => parseAddRequest({ ...pod, BypassInboundCapture: 1 })).toThrow(
      /BypassInboundCapture .*true or false/,
    );
  });

  it('is turbo, by yes or no', () => {
    expect(parseAddRequest({ ...pod, Turbo: true }).turbo).toBe(true);
    expect(() => parseAddRequest({ ...pod, Turbo: 'enabled' })).toThrow(/Turbo .*true or false/);
  });

  it('is ports and ranges that are left alone', () => {
    expect(parseAddRequest(pod)).not.toHaveProperty('exclusions');
    const { exclusions } = parseAddRequest({
      ...pod,
      ExcludeOutboundPorts: [443, 80],
      IncludeOutboundIPRanges: ['10.1.2.3/8'],
      IncludeInboundPorts: [],
    });
    expect(exclusions).toMatchObject({
      excludeOutboundPorts: [80, 443],
      includeOutboundRanges: ['10.0.0.0/8'],
      includeInboundPorts: [],
    });
    for (const bad of [0, 65_536, '80', 1.5, null])
      expect(() => parseAddRequest({ ...pod, ExcludeInboundPorts: [80, bad] })).toThrow(
        /ExcludeInboundPorts\[1\]/,
      );
    expect(() => parseAddRequest({ ...pod, ExcludeOutboundIPRanges: ['host'] })).toThrow(/such as 10.0.0.0/);
    expect(() => parseAddRequest({ ...pod, ExcludeOutboundPorts: '80' })).toThrow(/is no list/);
    const many = Array.from({ length: 65 }, (_, index) => index + 1);
    expect(() => parseAddRequest({ ...pod, ExcludeOutboundPorts: many })).toThrow(/at most 64/);
  });

  it('is interfaces by their names, each once', () => {
    const names = (VirtualInterfaces: unknown) =>
      parseAddRequest({ ...pod, VirtualInterfaces }).virtualInterfaces;
    expect(names(['tap0', 'br-1.7', 'tap0'])).toEqual(['tap0', 'br-1.7']);
    for (const bad of ['', 'lo', '.', '..', 'a/b', 'a:b', 'a b', 'a'.repeat(16), 7])
      expect(() => names(['tap0', bad])).toThrow(/VirtualInterfaces\[1\]/);
    expect(() => names('tap0')).toThrow(/a list is required/);
    expect(() => names(Array.from({ length: 17 }, (_, index) => `t${index}`))).toThrow(/at most 16/);
  });

  it('is the same or other, however it is written', () => {
    const before = parseAddRequest({ ...pod, BypassInboundCapture: false });
    expect(sameWishes(before, parseAddRequest({ ...pod, VirtualInterfaces: [] }))).toBe(true);
    for (const other of [
      { BypassInboundCapture: true },
      { DnsCapture: true },
      { VirtualInterfaces: ['tap0'] },
      { Turbo: true },
    ]) {
      const next = parseAddRequest({ ...pod, ...other });
      expect(sameWishes(before, next)).toBe(false);
      expect(sameWishes(withWishes(before, next), next)).toBe(true);
      expect(withWishes(withWishes(before, next), before)).toEqual(before);
    }
  });
});
