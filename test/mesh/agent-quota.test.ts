import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { describeInLab, dial, namespace, pod, service, whoAmIPod } from './world.ts';

const manifests = [
  namespace('t', { mesh: true }),
  pod('t/scanner', 'a', { serviceAccount: 'scanner' }),
  pod('t/neighbour', 'a', { serviceAccount: 'neighbour' }),
  whoAmIPod('t/server', 'b', 8080),
  service('t/server', { 80: 'main' }),
];

/** Connects to every port of an address, many at a time; prints how many were opened, refused, left unanswered. */
const scan = `
  const { connect } = require('node:net');
  const [address, from, to] = process.argv.slice(1);
  const count = { opened: 0, refused: 0, other: 0 };
  let next = Number(from), open = 0;
  const more = () => {
    while (open < 256 && next <= Number(to)) {
      open++;
      const socket = connect({ host: address, port: next++ });
      socket.setTimeout(3000, () => socket.destroy(new Error('timeout')));
      let how = 'other';
      socket.on('connect', () => { how = 'opened'; socket.resetAndDestroy(); });
      socket.on('error', (e) => { if (e.code === 'ECONNREFUSED' || e.code === 'ECONNRESET') how = 'refused'; });
      socket.on('close', () => { count[how]++; open--; more(); });
    }
    if (open === 0) console.log(JSON.stringify(count));
  };
  more();`;

/** New connections one after the other for a while; prints how many per second and how many failed. */
const rate = `
  const { connect } = require('node:net');
  const [address, port, ms] = process.argv.slice(1);
  const end = Date.now() + Number(ms), started = performance.now();
  let done = 0, failed = 0;
  const next = () => {
    if (Date.now() > end) return console.log(JSON.stringify({ perSecond: done / (performance.now() - started) * 1000, failed }));
    let got = '';
    const socket = connect({ host: address, port: Number(port) });
    socket.on('data', (d) => { got += d; });
    socket.on('error', () => {});
    socket.on('close', () => { if (got === '') failed++; else done++; next(); });
  };
  next();`;

interface Rate {
  readonly perSecond: number;
  readonly failed: number;
}

async function rateOf(from: LabPod, address: string, ms: number): Promise<Rate> {
  const { stdout } = await from.exec(['node', '-e', rate, address, '80', String(ms)], { timeoutMs: 30_000 });
  return JSON.parse(stdout) as Rate;
}

async function rowsOf(lab: Lab): Promise<{ outboundRows: number; waiting: number; evicted: number }> {
  const { body } = (await lab.node('a').agent?.get(15000, '/config_dump?section=decisions')) ?? { body: '' };
  return (JSON.parse(body) as { decisions: { outboundRows: number; waiting: number; evicted: number } })
    .decisions;
}

describeInLab('a pod that scans ports', { manifests, agentEnv: { HADAL_LIMIT_ROWS: '2048' } }, (world) => {
  it.each([
    ['a service', (lab: Lab) => lab.serviceAddresses('t/server')[0] ?? '', 60_000],
    ['a pod', (lab: Lab) => lab.pod('t/server').v4, 10_000],
  ])(
    'of %s leaves its neighbours their connections',
    { timeout: 180_000 },
    async (_what, addressOf, ports) => {
      const { lab } = world;
      const service = lab.serviceAddresses('t/server')[0] ?? '';
      const neighbour = lab.pod('t/neighbour');
      const alone = await rateOf(neighbour, service, 2_000);
      let isScanning = true;
      const scanning = lab
        .pod('t/scanner')
        .exec(['node', '-e', scan, addressOf(lab), '1', String(ports)], { timeoutMs: 150_000 })
        .finally(() => {
          isScanning = false;
        });
      const beside: Rate[] = [];
      // A destination that is new to the neighbour: its question is answered while the scanner's wait for their rate.
      const asked = await dial(neighbour, service, 81);
      expect(asked.error).toMatch(/^ECONN/);
      expect(isScanning).toBe(true);
      while (isScanning && beside.length < 10) beside.push(await rateOf(neighbour, service, 1_000));
      const { stdout } = await scanning;
      const slowest = Math.min(...beside.map(({ perSecond }) => perSecond));
      console.log({
        alone,
        slowest,
        rounds: beside.length,
        scanned: JSON.parse(stdout),
        rows: await rowsOf(lab),
      });
      expect(beside.map(({ failed }) => failed)).toEqual(beside.map(() => 0));
      // Scanner, scanned, neighbour and both agents share the CPUs with whatever else runs: only starving is told apart from it.
      expect(slowest).toBeGreaterThan(alone.perSecond / 100);
      const rows = await rowsOf(lab);
      expect(rows.outboundRows).toBeLessThanOrEqual(2048 + 16);
    },
  );
});
