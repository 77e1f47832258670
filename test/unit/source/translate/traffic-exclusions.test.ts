/** Annotations traffic.sidecar.istio.io/..., from the text of a manifest to what the agent is told. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddRequest } from '../../../../src/enrolment/request.ts';
import { exclusionRequest } from '../../../../src/enrolment/request-exclusions.ts';
import { parseAddress } from '../../../../src/model/address.ts';
import {
  createTrafficExclusions,
  describeExclusions,
  excludesInbound,
  excludesOutbound,
  noExclusions,
  selectsInbound,
  selectsOutbound,
} from '../../../../src/model/traffic-exclusions.ts';
import { exclusionAnnotations } from '../../../../src/source/translate/label-names.ts';
import { podExclusions } from '../../../../src/source/translate/traffic-exclusions.ts';
import { pod, type Texts, warningsOf } from './objects.ts';

const prefix = 'traffic.sidecar.istio.io/';
const read = (annotations: Texts) =>
  podExclusions(
    pod({
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([name, text]) => [prefix + name, text]),
      ),
    }),
  );

describe('annotations that take traffic out of the capture', () => {
  it('are none where a pod has none', () => {
    expect(read({})).toEqual({ exclusions: undefined, warnings: [] });
  });

  it('are lists with commas and spaces, in any order', () => {
    const { exclusions, warnings } = read({
      excludeOutboundPorts: ' 443, 80,443,',
      excludeOutboundIPRanges: '192.0.2.7/24,fd00::/8 ,10.1.2.3',
      excludeInboundPorts: '9090',
    });
    expect(warnings).toEqual([]);
    expect(exclusions).toEqual({
      ...noExclusions,
      excludeOutboundPorts: [80, 443],
      excludeOutboundRanges: ['10.1.2.3/32', '192.0.2.0/24', 'fd00::/8'],
      excludeInboundPorts: [9090],
    });
  });

  it('include nothing when empty, everything as an asterisk', () => {
    expect(read({ includeOutboundIPRanges: '', includeInboundPorts: '' }).exclusions).toMatchObject({
      includeOutboundRanges: [],
      includeInboundPorts: [],
    });
    expect(read({ includeOutboundIPRanges: '*', includeInboundPorts: ' * ' })).toEqual({
      exclusions: noExclusions,
      warnings: [],
    });
  });

  it.each([
    ['excludeOutboundPorts', '80,http,0,65536,-1,8 0', [80]],
    ['excludeInboundPorts', '80,http', [80]],
    ['excludeOutboundIPRanges', '10.0.0.0/8,10.0.0.0/33,host', ['10.0.0.0/8']],
    ['excludeOutboundPorts', '*', []],
    ['excludeOutboundIPRanges', '*', []],
  ])('%s = "%s": what cannot be read is left out, and each word is told', (name, text, left) => {
    const { exclusions, warnings } = read({ [name]: text });
    expect(
      Object.values(exclusions ?? {})
        .filter((list) => list !== undefined)
        .flat(),
    ).toEqual(left);
    expect(warnings.length).toBe(text === '*' ? 1 : text.split(',').length - left.length);
    expect(warnings[0]?.field).toBe(`metadata.annotations["${prefix}${name}"]`);
  });

  it.each([
    ['includeOutboundIPRanges', '10.0.0.0/8,x'],
    ['includeInboundPorts', '80,x'],
  ])('%s = "%s" counts as missing, which captures everything', (name, text) => {
    const { exclusions, warnings } = read({ [name]: text });
    expect(exclusions).toEqual(noExclusions);
    expect(warnings).toEqual([expect.objectContaining({ reason: expect.stringContaining('"x"') })]);
  });

  it('captures everything too where only the ports beside the ranges cannot be read', () => {
    const { exclusions, warnings } = read({
      includeOutboundIPRanges: '10.0.0.0/8',
      includeOutboundPorts: 'x',
    });
    expect(exclusions).toEqual(noExclusions);
    expect(warnings).toHaveLength(1);
  });

  it('says of what says nothing that it does', () => {
    expect(read({ includeOutboundPorts: '80' }).warnings[0]?.reason).toContain('every port is captured');
    expect(read({ includeInboundPorts: '80', excludeInboundPorts: '81' })).toMatchObject({
      exclusions: { includeInboundPorts: [80], excludeInboundPorts: [] },
      warnings: [{ reason: expect.stringContaining('includeInboundPorts') }],
    });
  });

  it('takes 64 entries of a list and no more', () => {
    const many = Array.from({ length: 65 }, (_, index) => index + 1);
    const excluded = read({ excludeOutboundPorts: many.join(',') });
    expect(excluded.exclusions?.excludeOutboundPorts).toHaveLength(64);
    expect(excluded.warnings).toHaveLength(1);
    const included = read({ includeInboundPorts: many.join(',') });
    expect(included).toMatchObject({ exclusions: noExclusions, warnings: [expect.anything()] });
  });

  it('are told as warnings of the pod’s translation', () => {
    expect(warningsOf(pod({ annotations: { [`${prefix}excludeOutboundPorts`]: 'x' } }))).toHaveLength(1);
  });

  it('are nothing but lists, whatever the text', () => {
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.oneof(fc.nat(70_000).map(String), fc.ipV4(), fc.ipV6(), fc.constant('*'))).map(String),
    );
    const names = Object.values(exclusionAnnotations);
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), text), (annotations) => {
        const { exclusions } = podExclusions(pod({ annotations }));
        expect(exclusions === undefined).toBe(Object.keys(annotations).length === 0);
        if (exclusions === undefined) return;
        // What is told is what the agent reads and keeps.
        const body = { Netns: '/n', PodName: 'a', PodNamespace: 'b', PodUID: 'u', ServiceAccount: 's' };
        const request = parseAddRequest({ ...body, ...exclusionRequest(exclusions) });
        expect(request.exclusions).toEqual(exclusions);
        expect(createTrafficExclusions(JSON.parse(JSON.stringify(exclusions)))).toEqual(exclusions);
      }),
    );
  });
});

describe('what is taken out', () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  const range = fc
    .oneof(
      fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
      fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })),
    )
    .map(([address, length]) => `${address}/${length}`);
  const lists = fc.record({
    excludeOutboundPorts: fc.array(port),
    includeOutboundPorts: fc.array(port),
    excludeOutboundRanges: fc.array(range),
    includeOutboundRanges: fc.option(fc.array(range), { nil: undefined }),
    excludeInboundPorts: fc.array(port),
    includeInboundPorts: fc.option(fc.array(port), { nil: undefined }),
  });
  const address = fc.oneof(fc.ipV4(), fc.ipV6()).map((text) => {
    const parsed = parseAddress(text);
    if (parsed === undefined) throw new Error(text);
    return parsed;
  });

  it('is nothing without lists, and never anything that no list speaks of', () => {
    fc.assert(
      fc.property(lists, address, port, (fields, to, at) => {
        const exclusions = createTrafficExclusions(fields);
        if (!selectsOutbound(exclusions)) expect(excludesOutbound(exclusions, to, at)).toBe(false);
        if (!selectsInbound(exclusions)) expect(excludesInbound(exclusions, at)).toBe(false);
        const says = describeExclusions(exclusions).length > 0;
        expect(says).toBe(selectsOutbound(exclusions) || selectsInbound(exclusions));
      }),
    );
  });

  it('is an excluded port whatever else is said, and grows with an exclusion, never with an inclusion', () => {
    fc.assert(
      fc.property(lists, address, port, port, (fields, to, at, more) => {
        const exclusions = createTrafficExclusions(fields);
        const wider = createTrafficExclusions({
          ...fields,
          excludeOutboundPorts: [...fields.excludeOutboundPorts, more],
        });
        expect(excludesOutbound(wider, to, more)).toBe(true);
        if (excludesOutbound(exclusions, to, at)) expect(excludesOutbound(wider, to, at)).toBe(true);
        const narrower = createTrafficExclusions({
          ...fields,
          includeOutboundPorts: [...fields.includeOutboundPorts, more],
        });
        if (excludesOutbound(narrower, to, at)) expect(excludesOutbound(exclusions, to, at)).toBe(true);
      }),
    );
  });
});
