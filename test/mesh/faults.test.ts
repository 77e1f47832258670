import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { connectionWhere } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;
const modeLabel = 'istio.io/dataplane-mode';

const manifests = [
  namespace('shop', { mesh: true }),
  namespace('plain'),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  whoAmIPod('shop/who', 'b', port, { serviceAccount: 'who' }),
  echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
  pod('plain/walker', 'a'),
];

async function pathOf(lab: Lab, from: LabPod, to: LabPod): Promise<string> {
  const seen = await dial(from, to.v4, port);
  expect(seen.ok).toBe(true);
  const entry = await connectionWhere(
    lab,
    to.node,
    (one) => one.source.port === seen.localPort && one.direction === 'inbound',
  );
  return entry.path;
}

describeInLab('a running mesh', { manifests }, (world) => {
  it('captures a running pod within 2 s of its label, and lets it go within 2 s, its open connections untouched', async () => {
    const { lab } = world;
    const walker = lab.pod('walker');
    const who = lab.pod('who');
    expect(await pathOf(lab, walker, who)).toBe('plaintext');

    const joined = performance.now();
    await lab.label('Pod', walker.key, { [modeLabel]: 'ambient' });
    await expect.poll(() => pathOf(lab, walker, who), { timeout: 2000, interval: 50 }).toBe('tunnel');
    expect(performance.now() - joined).toBeLessThan(2000);

    const ticker = new Ticker(walker, lab.pod('echo').v4, { port, count: 3 });
    await ticker.running(3);
    const left = performance.now();
    await lab.label('Pod', walker.key, { [modeLabel]: 'none' });
    await expect.poll(() => pathOf(lab, walker, who), { timeout: 2000, interval: 50 }).toBe('plaintext');
    expect(performance.now() - left).toBeLessThan(2000);
    await ticker.progressed();
    await sleep(1000);
    await ticker.progressed();
    expect(ticker.latest).toMatchObject({ open: 3, errors: [] });
    ticker.stop();
  });

  it('judges new connections by the policies of now', async () => {
    const { lab } = world;
    const who = lab.pod('who');
    const caller = lab.pod('caller');
    const deny = {
      name: 'no-callers',
      namespace: 'shop',
      scope: 'NAMESPACE',
      action: 'DENY',
      rules: [{ clauses: [{ matches: [{ principals: [{ exact: 'cluster.local/ns/shop/sa/caller' }] }] }] }],
    };
    expect((await dial(caller, who.v4, port)).ok).toBe(true);
    lab.setPolicies([deny]);
    await expect.poll(async () => (await dial(caller, who.v4, port)).received, { timeout: 4000 }).toBe('');
    // Where it begins: the destination's policies are known there too.
    expect((await dial(caller, who.v4, port)).error).toBe('EACCES');
    // Without an identity the policy's principal does not match.
    expect((await dial(lab.pod('walker'), who.v4, port)).ok).toBe(true);
    lab.setPolicies([]);
    await expect.poll(async () => (await dial(caller, who.v4, port)).ok, { timeout: 4000 }).toBe(true);
  });

  it('refuses connections to nobody, by name', async () => {
    const { lab } = world;
    const nobody = lab.pod('who').v4.replace(/\.\d+$/, '.250');
    const seen = await dial(lab.pod('caller'), nobody, port);
    expect(seen.received).toBe('');
    const entry = await connectionWhere(lab, 'a', (one) => one.destination.address === nobody);
    expect(entry).toMatchObject({ state: 'refused', reason: 'unknown_destination' });
  });
});
