import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { connectionWhere } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, startTestLab, whoAmIPod, whyNoLab } from './world.ts';

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

  it('keeps the last good state when the file breaks, and says where it is broken', async () => {
    const { lab } = world;
    const good = readFileSync(lab.stateFile, 'utf8');
    try {
      writeFileSync(lab.stateFile, 'workloads:\n  - uid: x\n   name: [broken\n');
      await expect
        .poll(() => readFileSync(lab.node('a').agent?.logPath ?? '', 'utf8'), { timeout: 5000 })
        .toMatch(/mesh\.yaml.*line \d|line \d.*mesh\.yaml/s);
      expect((await dial(lab.pod('caller'), lab.pod('who').v4, port)).ok).toBe(true);
    } finally {
      writeFileSync(lab.stateFile, good);
    }
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
    const refused = await connectionWhere(lab, 'b', (one) => one.reason === 'policy_denied');
    expect(refused).toMatchObject({
      state: 'refused',
      source: { identity: 'spiffe://cluster.local/ns/shop/sa/caller' },
    });
    // Without an identity the policy's principal does not match.
    expect((await dial(lab.pod('walker'), who.v4, port)).ok).toBe(true);
    lab.setPolicies([]);
    await expect.poll(async () => (await dial(caller, who.v4, port)).ok, { timeout: 4000 }).toBe(true);
  });

  it('ends the connections of a pod that is deleted, and tells the other side', async () => {
    const { lab } = world;
    await lab.apply(echoPod('shop/brief', 'b', port));
    await lab.waitReady();
    const ticker = new Ticker(lab.pod('caller'), lab.pod('brief').v4, { port, count: 2 });
    await ticker.running(2);
    await lab.deletePod('brief');
    await expect.poll(() => ticker.latest.open, { timeout: 25_000 }).toBe(0);
    ticker.stop();
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

describe.skipIf(whyNoLab !== undefined)('an agent that is killed', () => {
  it('refuses new meshed connections, leaks nothing in clear, and is ready again within 5 s with its pods', async () => {
    const lab = await startTestLab({ manifests });
    try {
      await lab.waitReady();
      const caller = lab.pod('caller');
      const who = lab.pod('who');
      const marker = `marker-${process.pid}-kill`;
      const capture = await lab.capture(['tcp']);
      expect((await dial(caller, who.v4, port, marker)).ok).toBe(true);

      await lab.node('a').agent?.kill('SIGKILL');
      for (let i = 0; i < 5; i++) expect((await dial(caller, who.v4, port, marker)).received).toBe('');
      expect((await dial(caller, who.v6, port, marker)).received).toBe('');

      const started = performance.now();
      lab.node('a').agent?.start();
      await lab.node('a').agent?.waitReady(10_000);
      expect(performance.now() - started).toBeLessThan(5000);
      await expect
        .poll(async () => (await dial(caller, who.v4, port, marker)).ok, { timeout: 5000 })
        .toBe(true);
      await connectionWhere(lab, 'a', (one) => one.path === 'tunnel' && one.direction === 'outbound');

      const { dropped, captured } = await capture.stop();
      expect(dropped).toBe(0);
      expect(captured).toBeGreaterThan(0);
      expect(readFileSync(capture.file).includes(marker)).toBe(false);
    } finally {
      await lab.stop();
    }
  });
});
