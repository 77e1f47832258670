import { describe, expect, it } from 'vitest';
import { judgePath, type ProbeFacts, worstOf } from '../../../src/agent/path-verdict.ts';
import type { NetworkLink, SeenPacket } from '../../../src/native/types.ts';
import { unknownPath } from '../../../src/routing/same-node-path.ts';

const [source, sourcePort, destination, port] = ['10.0.0.2', 40_000, '10.0.0.3', 50_000];
const [podA, podB, bridge, uplink] = [7, 8, 9, 2];

const there = (interfaceIndex: number, outgoing: boolean, fields: Partial<SeenPacket> = {}): SeenPacket => ({
  interfaceIndex,
  outgoing,
  source,
  sourcePort,
  destination,
  destinationPort: port,
  ...fields,
});
const back = (interfaceIndex: number, outgoing: boolean): SeenPacket => ({
  interfaceIndex,
  outgoing,
  source: destination,
  sourcePort: port,
  destination: source,
  destinationPort: sourcePort,
});
const link = (index: number, fields: Partial<NetworkLink> = {}): NetworkLink => ({
  index,
  name: `if${index}`,
  kind: 'veth',
  master: 0,
  ...fields,
});

const links = [link(uplink, { name: 'eth0', kind: '' }), link(podA), link(podB)];
const good: ProbeFacts = {
  source,
  sourcePort,
  destination,
  port,
  seen: {
    node: [there(podA, false), there(podB, true), back(podB, false), back(podA, true)],
    sourcePod: [there(1, true), back(1, false)],
    destinationPod: [there(1, false), back(1, true)],
  },
  links,
  podEnds: new Set([podA, podB]),
};
const facts = (seen: Partial<ProbeFacts['seen']>, fields: Partial<ProbeFacts> = {}): ProbeFacts => ({
  ...good,
  ...fields,
  seen: { ...good.seen, ...seen },
});

const bridged = (ports: readonly number[]) =>
  facts(
    { node: [...good.seen.node, there(bridge, false)] },
    {
      links: [
        link(bridge, { name: 'cni0', kind: 'bridge' }),
        ...links.map((each) => (ports.includes(each.index) ? { ...each, master: bridge } : each)),
      ],
    },
  );

describe('the way of a probe', () => {
  it.each([
    ['it is seen on the interfaces of pods alone', good],
    ['it crosses a bridge that holds only ports of pods', bridged([podA, podB])],
    [
      'the kernel hands it from one pod to the other past the second interface',
      facts({ node: [there(podA, false)] }),
    ],
  ])('stays when %s', (_, given) => {
    expect(judgePath(given)).toEqual({ state: 'stays', reason: '' });
  });

  it.each([
    ['on its way there', [there(uplink, true)], 'eth0'],
    ['on its way back', [back(uplink, false)], 'eth0'],
    ['on an interface that has gone since', [there(77, true)], 'interface 77'],
  ])('leaves when it is seen elsewhere %s', (_, more, interfaceName) => {
    expect(judgePath(facts({ node: [...good.seen.node, ...more] }))).toMatchObject({
      state: 'leaves',
      interfaceName,
    });
  });

  it('leaves when the bridge that it crosses has another port', () => {
    expect(judgePath(bridged([podA, podB, uplink]))).toMatchObject({
      state: 'leaves',
      interfaceName: 'cni0',
      reason: expect.stringContaining('seen on cni0'),
    });
  });

  it.each([{ source: '192.168.0.1' }, { sourcePort: 1024 }])(
    'leaves when it arrives from another source (%o), and no interface is to blame',
    (other) => {
      const path = judgePath(facts({ destinationPod: [there(1, false, other)] }));
      expect(path).toMatchObject({
        state: 'leaves',
        reason: expect.stringContaining('translates addresses'),
      });
      expect(path).not.toHaveProperty('interfaceName');
    },
  );

  it('leaves when it was seen elsewhere, also without an answer', () => {
    const lost = facts({
      node: [there(podA, false), there(uplink, true)],
      destinationPod: [],
      sourcePod: [],
    });
    expect(judgePath(lost).state).toBe('leaves');
  });

  it.each([
    ['it did not arrive', facts({ destinationPod: [] }), 'did not arrive'],
    ['its answer did not arrive', facts({ sourcePod: [there(1, true)] }), 'the answer to'],
    ['the node saw it nowhere', facts({ node: [] }), 'on none of its interfaces'],
  ])('is unknown when %s', (_, given, reason) => {
    expect(judgePath(given)).toMatchObject({ state: 'unknown', reason: expect.stringContaining(reason) });
  });

  it('of two families is the worse one', () => {
    const [stays, leaves] = [
      judgePath(good),
      judgePath(facts({ destinationPod: [there(1, false, { source: 'x' })] })),
    ];
    expect(worstOf([stays, leaves, unknownPath('')])).toBe(leaves);
    expect(worstOf([stays, unknownPath('why')]).state).toBe('unknown');
    expect(worstOf([stays, stays])).toBe(stays);
    expect(worstOf([]).state).toBe('unknown');
  });
});
