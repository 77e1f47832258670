/**
 * Labs for tests: a name of their own per test process, taken down also when the test fails, and manifests in a few
 * words. `describeInLab` skips loudly where there is no root.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { type LabOptions, startLab } from '../../src/lab/start.ts';

let count = 0;

/** Unique among labs of all test processes. */
export function labName(): string {
  return `t${process.pid}x${++count}`;
}

export const whyNoLab =
  process.platform !== 'linux'
    ? 'labs need Linux'
    : process.getuid?.() !== 0
      ? 'labs make network namespaces and cgroups, which needs root'
      : undefined;

/**
 * A group of tests that share one lab. `world.lab` exists once the tests run.
 *
 * ```ts
 * describeInLab('two pods', { manifests: [namespace('t', { mesh: true }), pod('t/client', 'a'), pod('t/server', 'b')] }, (world) => {
 *   it('reach each other', async () => { await world.lab.pod('client').exec([...]) });
 * });
 * ```
 */
export function describeInLab(
  title: string,
  options: Omit<LabOptions, 'manifests' | 'name'> & { manifests?: readonly string[] | string },
  tests: (world: { readonly lab: Lab }) => void,
): void {
  const named = whyNoLab === undefined ? title : `${title} (skipped: ${whyNoLab})`;
  describe.skipIf(whyNoLab !== undefined)(named, () => {
    let lab: Lab | undefined;
    beforeAll(async () => {
      lab = await startTestLab(options);
      await lab.waitReady();
    });
    afterAll(async () => {
      await lab?.stop();
    });
    tests({
      get lab() {
        if (lab === undefined) throw new Error('the lab is not up: use it inside a test');
        return lab;
      },
    });
  });
}

/** For tests that start and stop labs themselves. */
export async function startTestLab(
  options: Omit<LabOptions, 'manifests'> & { manifests?: readonly string[] | string } = {},
): Promise<Lab> {
  const { manifests = [], ...others } = options;
  const text = typeof manifests === 'string' ? manifests : manifests.join('\n---\n');
  const lines: string[] = [];
  const log = {
    info: (line: string) => lines.push(line),
    warn: (line: string) => lines.push(`warning: ${line}`),
  };
  try {
    return await startLab({ name: labName(), log, ...others, manifests: text });
  } catch (error) {
    // What the lab was doing says more than where the test stood.
    console.error(lines.join('\n'));
    throw error;
  }
}

export function namespace(name: string, options: { mesh?: boolean } = {}): string {
  const labels = options.mesh === true ? { 'istio.io/dataplane-mode': 'ambient' } : {};
  return JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
}

export interface PodShape {
  readonly command?: readonly string[];
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly serviceAccount?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly probe?: Readonly<Record<string, unknown>>;
  readonly mesh?: boolean;
}

/** `namespace/name` on a node; without a command it only sleeps, and tests enter it. The label `app` is its name. */
export function pod(key: string, node: string, shape: PodShape = {}): string {
  const [within, name] = split(key);
  const mode = shape.mesh === undefined ? {} : { 'istio.io/dataplane-mode': shape.mesh ? 'ambient' : 'none' };
  const ports = Object.entries(shape.ports ?? {}).map(([portName, containerPort]) => ({
    name: portName,
    containerPort,
  }));
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: within,
      labels: { app: name, ...mode, ...shape.labels },
      ...(shape.annotations === undefined ? {} : { annotations: shape.annotations }),
    },
    spec: {
      nodeName: node,
      ...(shape.serviceAccount === undefined ? {} : { serviceAccountName: shape.serviceAccount }),
      containers: [
        {
          name: 'main',
          command: shape.command ?? [],
          ports,
          env: Object.entries(shape.env ?? {}).map(([variable, value]) => ({ name: variable, value })),
          ...(shape.probe === undefined ? {} : { readinessProbe: shape.probe }),
        },
      ],
    },
  });
}

/** In front of the pods whose label `app` is the service's name. `ports`: service port to target port. */
export function service(key: string, ports: Readonly<Record<number, number | string>>): string {
  const [within, name] = split(key);
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: within },
    spec: {
      selector: { app: name },
      ports: Object.entries(ports).map(([port, targetPort]) => ({
        name: `p${port}`,
        port: Number(port),
        targetPort,
      })),
    },
  });
}

/** A pod that answers each TCP connection with `<own address> <own port> <peer address> <peer port>` and closes it. */
export function whoAmIPod(key: string, node: string, port: number, shape: PodShape = {}): string {
  const program = `require('net').createServer((s) => { const f = (a) => a.replace('::ffff:', '');
    s.on('error', () => {}); s.end([f(s.localAddress), s.localPort, f(s.remoteAddress), s.remotePort].join(' ')); }).listen(${port}, '::')`;
  return pod(key, node, {
    command: ['node', '-e', program],
    ports: { main: port },
    probe: { tcpSocket: { port } },
    ...shape,
  });
}

/** A pod that echoes what it reads, and ends its side when the client has ended its own. */
export function echoPod(key: string, node: string, port: number, shape: PodShape = {}): string {
  const program = `require('net').createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); s.pipe(s); }).listen(${port}, '::')`;
  return pod(key, node, {
    command: ['node', '-e', program],
    ports: { main: port },
    probe: { tcpSocket: { port } },
    ...shape,
  });
}

export interface DialResult {
  readonly ok: boolean;
  /** All that was read. */
  readonly received: string;
  /** Code of the error that ended it, such as ECONNREFUSED; '' without. */
  readonly error: string;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** Connects from inside a pod, sends `text`, reads to the end. */
export async function dial(from: LabPod, address: string, port: number, text = ''): Promise<DialResult> {
  const program = `
    const s = require('net').connect({ host: process.argv[1], port: Number(process.argv[2]) });
    const out = { ok: false, received: '', error: '', localAddress: '', localPort: 0, remoteAddress: '', remotePort: 0 };
    const done = () => { console.log(JSON.stringify(out)); process.exit(0); };
    s.setTimeout(8000, () => { out.error = 'TIMEOUT'; done(); });
    s.on('connect', () => { for (const k of ['localAddress', 'localPort', 'remoteAddress', 'remotePort']) out[k] = s[k]; s.end(process.argv[3]); });
    s.on('data', (d) => { out.received += d; });
    s.on('error', (e) => { out.error = e.code; done(); });
    s.on('end', () => { out.ok = true; done(); });`;
  const result = await from.exec(['node', '-e', program, address, String(port), text], { timeoutMs: 15_000 });
  if (result.code !== 0) throw new Error(`dial from ${from.key}: ${result.stderr}`);
  return JSON.parse(result.stdout) as DialResult;
}

function split(key: string): [string, string] {
  const [within = '', name] = key.split('/');
  return name === undefined ? ['default', within] : [within, name];
}
