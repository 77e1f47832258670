import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { FabricCapture } from '../../src/lab/capture.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { connectionsOf, sumOf } from './observe.ts';
import { describeInLab, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const programs = '/opt/hadal/package/test/mesh/programs';
const families = ['IPv4', 'IPv6', 'IPv4 mapped into IPv6'] as const;
type Family = (typeof families)[number];

/** What programs/escape.py understands. */
interface Way {
  readonly device?: string;
  readonly deviceAfter?: string;
  readonly fastOpen?: 'connect' | 'send';
  readonly mptcp?: boolean;
  readonly udp?: boolean;
  readonly freebind?: boolean;
  readonly bind?: string;
  readonly keys?: number;
  readonly first?: readonly [string, number];
  readonly hold?: number;
  readonly every?: number;
}

interface Outcome {
  readonly connected: boolean;
  /** The whole marker came back. */
  readonly echoed: boolean;
  readonly error?: string;
  readonly keys?: number;
  readonly local?: { readonly address: string; readonly port: number };
  readonly remote?: { readonly address: string; readonly port: number };
}

function addressOf(to: LabPod, family: Family): string {
  return family === 'IPv6' ? to.v6 : family === 'IPv4' ? to.v4 : `::ffff:${to.v4}`;
}

/** The lines of a program that goes on, one by one. */
class Lines {
  readonly #lines: AsyncIterator<string>;

  constructor(child: ChildProcess) {
    if (child.stdout === null) throw new Error('the program has no output');
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the program has ended');
    return JSON.parse(value) as T;
  }
}

const manifests = [
  namespace('shop', { mesh: true }),
  namespace('plain'),
  pod('shop/caller', 'a', { serviceAccount: 'caller' }),
  pod('shop/neighbour', 'a', { serviceAccount: 'neighbour' }),
  pod('shop/scanner', 'a', { serviceAccount: 'scanner' }),
  echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
  pod('shop/squatter', 'b', { serviceAccount: 'squatter', mesh: false }),
  pod('plain/stranger', 'a'),
  echoPod('plain/store', 'b', port),
];

/**
 * Each attempt sends a marker of its own; the last test looks for all of them in one capture of what crossed between the
 * nodes, in which it must see those of connections that are allowed to go in clear.
 */
describeInLab('an unprivileged process of a meshed pod', { manifests }, (world) => {
  const mustStayHidden = new Map<string, string>();
  const mustBeSeen = new Map<string, string>();
  /** Source ports of what was carried to the echo pod. */
  const carried = new Set<number>();
  const started: ChildProcess[] = [];
  let fabric: FabricCapture;
  let count = 0;

  beforeAll(async () => {
    fabric = await world.lab.capture();
  });
  afterAll(() => {
    for (const child of started) child.kill('SIGKILL');
  });

  function marker(what: string, expected: Map<string, string> = mustStayHidden): string {
    const text = `marker-${process.pid}-${++count}-end`;
    expected.set(text, what);
    return text;
  }

  function start(from: LabPod, argv: readonly string[], asRoot = false): ChildProcess {
    const child = from.spawn(argv, { asRoot });
    started.push(child);
    return child;
  }

  async function attempts(
    from: LabPod,
    ways: readonly (Way & { to: string; port?: number; marker: string })[],
  ): Promise<Outcome[]> {
    const options = ways.map(({ to, port: toPort = port, ...way }) => ({ ...way, to: [to, toPort] }));
    const result = await from.exec(['python3', `${programs}/escape.py`, JSON.stringify(options)]);
    if (result.code !== 0) throw new Error(`escape.py in ${from.key}: ${result.stderr}`);
    return result.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Outcome);
  }

  async function attempt(from: LabPod, to: string, way: Way & { marker: string }): Promise<Outcome> {
    const [outcome] = await attempts(from, [{ ...way, to }]);
    if (outcome === undefined) throw new Error('escape.py printed nothing');
    return outcome;
  }

  function kernelDecisions(node: string, reason: string): Promise<number> {
    return sumOf(world.lab, node, 'hadal_kernel_decisions_total', { reason });
  }

  const carriedWays: (Way & { way: string })[] = [
    { way: 'plainly' },
    { way: 'bound to its device', device: 'eth0' },
    { way: 'with a deferred TCP_FASTOPEN_CONNECT', fastOpen: 'connect' },
    {
      way: 'bound to its device after a deferred TCP_FASTOPEN_CONNECT',
      fastOpen: 'connect',
      deviceAfter: 'eth0',
    },
    { way: 'with MSG_FASTOPEN', fastOpen: 'send' },
    { way: 'bound to its device with MSG_FASTOPEN', fastOpen: 'send', device: 'eth0' },
    { way: 'over MPTCP', mptcp: true },
    { way: 'over MPTCP bound to its device', mptcp: true, device: 'eth0' },
    { way: 'with its option memory exhausted by TCP_MD5SIG keys', keys: 2000 },
  ];

  describeWays();

  function describeWays(): void {
    const cases = carriedWays.flatMap((way) => families.map((family) => ({ ...way, family })));
    it.each(cases)('is carried when it connects $way over $family', async ({ way, family, ...options }) => {
      const { lab } = world;
      const to = addressOf(lab.pod('echo'), family);
      const outcome = await attempt(lab.pod('caller'), to, {
        ...options,
        marker: marker(`${way} over ${family}`),
      });
      const plain = family === 'IPv6' ? 'v6' : 'v4';
      expect(outcome).toMatchObject({
        echoed: true,
        local: { address: lab.pod('caller')[plain] },
        remote: { address: lab.pod('echo')[plain], port },
      });
      if (options.keys !== undefined) expect(outcome.keys).toBeLessThan(options.keys);
      carried.add(outcome.local?.port ?? 0);
    });
  }

  it('leaves nothing of its attempts on the wire, while connections outside the mesh are seen there', async () => {
    const { lab } = world;
    for (const from of ['caller', 'stranger'] as const) {
      for (const family of families) {
        const seen = marker(`${from} to a pod outside the mesh over ${family}`, mustBeSeen);
        const outcome = await attempt(lab.pod(from), addressOf(lab.pod('store'), family), { marker: seen });
        expect(outcome.echoed).toBe(true);
      }
    }
    const statistics = await fabric.stop();
    expect(statistics.dropped).toBe(0);
    const wire = readFileSync(fabric.file);
    const onWire = (all: ReadonlyMap<string, string>) =>
      [...all].filter(([text]) => wire.includes(text)).map(([, what]) => what);
    expect(onWire(mustBeSeen)).toEqual([...mustBeSeen.values()]);
    expect(mustStayHidden.size).toBeGreaterThan(20);
    expect(onWire(mustStayHidden)).toEqual([]);
  });

  it('went through a tunnel in all that was carried', async () => {
    const paths = new Map(
      (await connectionsOf(world.lab, 'b'))
        .filter(({ direction }) => direction === 'inbound')
        .map(({ source, path }) => [source.port, path]),
    );
    expect(carried.size).toBeGreaterThan(20);
    expect([...carried].filter((source) => paths.get(source) !== 'tunnel')).toEqual([]);
  });
});
