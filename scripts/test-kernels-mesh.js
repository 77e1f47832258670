// Inside the test machine: a lab of two nodes with the program as it is built (dist/), without a test runner, whose start alone
// would take minutes here. Each step builds on the one before; the counts go into build/tally/mesh.json.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startLab } from '../dist/lab/start.js';
import { keepTally } from './tally.js';

const patienceMs = 180_000;
const secret = `secret-${process.pid}-of-the-mesh`;
const open = `open-${process.pid}-outside-of-it`;
const counts = { passed: 0, failed: 0, skipped: 0, notes: [] };
const families = ['v4', 'v6'];
let lab;
let packets;

const echo = `require('net').createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {});
  s.write([s.remoteAddress.replace('::ffff:', ''), s.remotePort, ''].join(' ')); s.pipe(s); }).listen(8080, '::')`;
const client = `const s = require('net').connect({ host: process.argv[1], port: 8080 }); let got = '';
  const end = (error) => { console.log(JSON.stringify({ got, error })); process.exit(0); };
  s.setTimeout(60000, () => end('TIMEOUT')); s.on('error', (e) => end(e.code)); s.on('end', () => end(''));
  s.on('data', (d) => { got += d; }); s.on('connect', () => s.end(process.argv[2]));`;

const manifests = [
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'meshed', labels: { 'istio.io/dataplane-mode': 'ambient' } },
  },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'plain' } },
  pod('meshed', 'client', 'a'),
  pod('meshed', 'server', 'b', echo),
  pod('plain', 'walker', 'a'),
  pod('plain', 'stall', 'b', echo),
];

const steps = [
  [
    'two agents on two nodes get ready, and their pods',
    async () => {
      lab = await startLab({
        name: 'kernels',
        manifests: manifests.map((object) => JSON.stringify(object)).join('\n---\n'),
        agentReadyMs: patienceMs,
      });
      await lab.waitReady(patienceMs);
      packets = await lab.capture(['tcp']);
    },
  ],
  ...families.map((family) => [
    `a captured connection crosses the nodes in a tunnel, the server sees the client's address (IP${family})`,
    async () => {
      const { got, error } = await dial('meshed/client', 'meshed/server', family, secret);
      const [address, port, said] = got.split(' ');
      equal({ address, said, error }, { address: lab.pod('meshed/client')[family], said: secret, error: '' });
      for (const node of ['a', 'b']) await seenAsTunnel(node, address, Number(port));
    },
  ]),
  [
    'without its agent a pod of the mesh is refused, and reaches nobody (IPv4, IPv6)',
    async () => {
      await lab.node('a').agent.kill('SIGKILL');
      for (const family of families) {
        equal(await dial('meshed/client', 'meshed/server', family, secret), {
          got: '',
          error: 'ECONNREFUSED',
        });
      }
    },
  ],
  [
    'without the agent of its node nobody reaches a pod of the mesh (IPv4, IPv6)',
    async () => {
      await lab.node('b').agent.kill('SIGKILL');
      for (const family of families) {
        equal(await dial('plain/walker', 'meshed/server', family, secret), {
          got: '',
          error: 'ECONNREFUSED',
        });
      }
    },
  ],
  [
    'pods outside the mesh never notice (IPv4, IPv6)',
    async () => {
      for (const family of families) {
        const { got, error } = await dial('plain/walker', 'plain/stall', family, open);
        equal({ said: got.split(' ')[2], error }, { said: open, error: '' });
      }
    },
  ],
  [
    'agents that are started again carry the pods as before (IPv4, IPv6)',
    async () => {
      for (const name of ['a', 'b']) lab.node(name).agent.start();
      for (const name of ['a', 'b']) await lab.node(name).agent.waitReady(patienceMs);
      for (const family of families) {
        const { got, error } = await dial('meshed/client', 'meshed/server', family, secret);
        equal({ said: got.split(' ')[2], error }, { said: secret, error: '' });
      }
    },
  ],
  [
    'nothing of the mesh was on the wire in clear, while what is outside of it was',
    async () => {
      const { dropped, captured } = await packets.stop();
      const bytes = readFileSync(packets.file);
      equal(
        { dropped, some: captured > 0, secret: bytes.includes(secret), open: bytes.includes(open) },
        { dropped: 0, some: true, secret: false, open: true },
      );
    },
  ],
];

function pod(namespace, name, node, program) {
  const probe = { tcpSocket: { port: 8080 }, timeoutSeconds: 60 };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      nodeName: node,
      containers: [
        program === undefined
          ? { name: 'main', command: [] }
          : { name: 'main', command: ['node', '-e', program], readinessProbe: probe },
      ],
    },
  };
}

async function dial(from, to, family, text) {
  const argv = ['node', '-e', client, lab.pod(to)[family], text];
  const { code, stdout, stderr } = await lab.pod(from).exec(argv, { timeoutMs: patienceMs });
  if (code !== 0) throw new Error(`the client in ${from} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Records come in batches, a moment after the end of a connection. */
async function seenAsTunnel(node, address, port) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const { body } = await lab.node(node).agent.get(15000, '/connections');
    const { connections } = JSON.parse(body);
    const found = connections.find(({ source }) => source.address === address && source.port === port);
    if (found !== undefined) return equal(found.path, 'tunnel');
    if (Date.now() > deadline)
      throw new Error(`the agent of ${node} does not tell ${address} port ${port}: ${body}`);
    await sleep(500);
  }
}

function equal(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`);
}

/** The last words of agents and pods. */
function tellLogs() {
  if (lab === undefined) return;
  for (const file of readdirSync(lab.directory, { recursive: true }).filter((path) =>
    path.endsWith('.log'),
  )) {
    const lines = readFileSync(join(lab.directory, file), 'utf8').trimEnd().split('\n').slice(-10);
    console.log([`   ${file}:`, ...lines.map((line) => `     ${line}`)].join('\n'));
  }
}

for (const [index, [name, step]] of steps.entries()) {
  const started = Date.now();
  try {
    await step();
    counts.passed += 1;
    console.log(` ✓ mesh > ${name} ${Date.now() - started}ms`);
  } catch (error) {
    counts.failed += 1;
    counts.notes.push(`failed: mesh > ${name}: ${error.message.split('\n', 1)[0]}`);
    console.log(` × mesh > ${name} ${Date.now() - started}ms\n   ${error.stack}`);
    tellLogs();
    counts.skipped += steps.length - index - 1;
    counts.notes.push(
      ...steps.slice(index + 1).map(([next]) => `skipped: mesh > ${next}: builds on what failed`),
    );
    break;
  }
}
await lab?.stop();
keepTally('mesh', counts);
