/** Policies as operators write them, from the object to the connection: enforced as `hadal explain` says it, and both change together. */
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { Explanation } from '../../src/routing/explain.ts';
import { agentOf } from './observe.ts';
import { describeInLab, dial, namespace, pod, service, whoAmIPod } from './world.ts';

const port = 8080;
const callers = ['friend', 'other', 'stranger'] as const;

const manifests = [
  namespace('shop', { mesh: true }),
  pod('shop/friend', 'a', { serviceAccount: 'friend' }),
  pod('shop/other', 'b', { serviceAccount: 'other' }),
  pod('shop/stranger', 'a', { mesh: false }),
  whoAmIPod('shop/server', 'b', port, { serviceAccount: 'server' }),
  service('shop/server', { 80: port }),
];

const written = (kind: string, spec: object) =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name: 'p', namespace: 'shop' },
    spec: { selector: { matchLabels: { app: 'server' } }, ...spec },
  });

const friends = { from: [{ source: { serviceAccounts: ['friend'] } }] };

/** Who gets through to the server, by connecting; and by the word of every agent. */
async function admitted(lab: Lab): Promise<Record<'connected' | 'explained', string[]>> {
  const [address = ''] = lab.serviceAddresses('server');
  const connected: string[] = [];
  const explained: [string, string][] = [];
  for (const caller of callers) {
    const { received } = await dial(lab.pod(caller), address, 80);
    if (received !== '') connected.push(caller);
    const query = new URLSearchParams({ source: `shop/${caller}`, destination: `${address}:80` });
    for (const { name } of lab.nodes) {
      const { body } = await agentOf(lab, name).get(15_000, `/explain?${query}`);
      explained.push([caller, (JSON.parse(body) as Explanation).verdict]);
    }
  }
  const denied = explained.filter(([, verdict]) => verdict !== 'allowed').map(([caller]) => caller);
  return { connected, explained: callers.filter((caller) => !denied.includes(caller)) };
}

describeInLab('policies written as objects', { manifests, controlPlane: true }, (world) => {
  it.each<[string, string | undefined, readonly string[]]>([
    ['without any everybody gets through', undefined, callers],
    ['ALLOW lets in whom it names', written('AuthorizationPolicy', { rules: [friends] }), ['friend']],
    [
      'ALLOW that asks HTTP lets in nobody',
      written('AuthorizationPolicy', { rules: [{ ...friends, to: [{ operation: { paths: ['/'] } }] }] }),
      [],
    ],
    [
      'DENY that asks HTTP denies whom the rest of it matches',
      written('AuthorizationPolicy', {
        action: 'DENY',
        rules: [{ ...friends, to: [{ operation: { methods: ['DELETE'], ports: [String(port)] } }] }],
      }),
      ['other', 'stranger'],
    ],
    [
      'DENY in a dry run denies nobody',
      written('AuthorizationPolicy', { action: 'DENY', rules: [{}] }).replace(
        '"namespace":"shop"',
        '"namespace":"shop","annotations":{"istio.io/dry-run":"true"}',
      ),
      callers,
    ],
  ])('%s', async (_, text, expected) => {
    if (text !== undefined) await world.lab.apply(text);
    await world.lab.meshInForce();
    expect(await admitted(world.lab)).toEqual({ connected: expected, explained: expected });
  });

  it('PeerAuthentication STRICT keeps out who has no identity', async () => {
    await world.lab.delete('AuthorizationPolicy', 'shop/p');
    await world.lab.apply(written('PeerAuthentication', { mtls: { mode: 'STRICT' } }));
    await world.lab.meshInForce();
    const expected = ['friend', 'other'];
    expect(await admitted(world.lab)).toEqual({ connected: expected, explained: expected });
  });
});
