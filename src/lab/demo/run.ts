/** `npm run demo`: the bookshop on two nodes, a load, and a report that proves what it says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionEntry } from '../../telemetry/connection-entry.ts';
import type { Lab } from '../lab.ts';
import { packageRoot } from '../package-root.ts';
import { startLab } from '../start.ts';
import { whatToTry } from '../up.ts';
import { type Edge, sumEdges } from './edges.ts';
import { type Proof, prove } from './proof.ts';
import { type Paint, type Report, renderReport } from './report.ts';
import { meetStrangers, type Strangers } from './strangers.ts';
import { type Load, visitShop } from './visits.ts';

export interface DemoOptions {
  readonly keep: boolean;
  readonly name: string;
  /** The report. */
  readonly out: (text: string) => void;
  /** Progress. */
  readonly say: (line: string) => void;
  readonly paint: Paint;
  /** Resolves when the person wants out. */
  readonly interrupted: Promise<void>;
  readonly agentEnv?: Readonly<Record<string, string>>;
}

/** Resolves with the exit status: 0 only if everything that the report claims was seen. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { say, out, paint } = options;
  const lab = await startLab({
    name: options.name,
    directory: join(packageRoot(), 'examples', 'bookshop'),
    controlPlane: true,
    log: { info: say, warn: (line) => say(`warning: ${line}`) },
    ...(options.agentEnv === undefined ? {} : { agentEnv: options.agentEnv }),
  });
  try {
    say('waiting until every service is ready');
    await lab.waitReady();
    const report = await observe(lab, say);
    out(`\n${renderReport(report, paint)}`);
    if (options.keep) {
      out(`${whatToTry(lab).join('\n')}\n`);
      await options.interrupted;
    }
    return report.failures.length === 0 ? 0 : 1;
  } finally {
    say('taking the lab down');
    await lab.stop();
  }
}

async function observe(lab: Lab, say: (line: string) => void): Promise<Report> {
  const capture = await lab.capture(['tcp']);
  say('visitors come, by IPv4 and by IPv6');
  const load = await visitShop(lab);
  say('and some without an identity');
  const strangers = await meetStrangers(lab);
  const statistics = await capture.stop();
  const connections = await settledConnections(lab);
  const edges = sumEdges(connections, (address) => nameOf(lab, address));
  const proof = prove({
    capture: readFileSync(capture.file),
    statistics,
    markers: load.markers,
    meshed: new Set(lab.pods.filter((pod) => pod.enrolled).flatMap((pod) => pod.addresses)),
    payloadBytes: payloadBetweenNodes(lab, connections),
  });
  const { visits, latencies } = load;
  return { visits, latencies, edges, proof, strangers, failures: failuresOf(load, edges, proof, strangers) };
}

/** Connections that ended a moment ago are told in batches: asks until two answers agree. */
async function settledConnections(lab: Lab): Promise<ConnectionEntry[]> {
  let before = -1;
  for (let round = 0; ; round++) {
    const answers = await Promise.all(lab.nodes.map((node) => node.agent?.connections('limit=100000')));
    const all = answers.flatMap((answer) => answer?.connections ?? []);
    // Probes go on for ever.
    const settled = all.filter(({ reason }) => reason !== 'kubelet').length;
    if (settled === before || round === 20) return all;
    before = settled;
    await sleep(500);
  }
}

function nameOf(lab: Lab, address: string): string {
  const pod = lab.pods.find(({ addresses }) => addresses.includes(address));
  if (pod !== undefined) return pod.name;
  const node = lab.nodes.find((candidate) => Object.values(candidate.address).includes(address));
  if (node !== undefined) return `kubelet of ${node.name}`;
  return lab.outsideHosts.find(({ addresses }) => addresses.includes(address))?.name ?? address;
}

/** What tunnels between the two nodes had to carry; what stays on a node never meets the fabric. */
function payloadBetweenNodes(lab: Lab, connections: readonly ConnectionEntry[]): number {
  const nodeOf = (name: string | undefined) => lab.pods.find((pod) => pod.name === name)?.node;
  return connections
    .filter(({ direction, path }) => direction === 'outbound' && path === 'tunnel')
    .filter(({ source, destination }) => nodeOf(source.workload) !== nodeOf(destination.workload))
    .reduce((sum, { bytesSent, bytesReceived }) => sum + bytesSent + bytesReceived, 0);
}

/** What the shop's edges must look like; anything else would be a report that only looks good. */
const expectedPaths = [
  ['visitor', 'front', 'tunnel'],
  ['front', 'catalog', 'tunnel'],
  ['front', 'reviews', 'tunnel'],
  ['catalog', 'stock', 'plaintext'],
  ['stock', 'catalog', 'plaintext'],
  ['reviews', 'publisher', 'untouched'],
] as const;

export function failuresOf(load: Load, edges: readonly Edge[], proof: Proof, strangers: Strangers): string[] {
  const failures = [...proof.failures];
  for (const { family, failed, failures: why } of load.visits) {
    if (failed > 0) failures.push(`${failed} visitors over IPv${family} got no page: ${why.join('; ')}`);
  }
  for (const [source, destination, path] of expectedPaths) {
    const found = edges.filter((edge) => edge.source === source && edge.destination === destination);
    const edge = found.find((candidate) => candidate.path === path && candidate.connections > 0);
    if (edge === undefined) {
      const seen =
        found.map((candidate) => [candidate.path, ...candidate.refusals].join(': ')).join(', ') ||
        'not at all';
      failures.push(`${source} → ${destination} should be ${path} and was seen ${seen}`);
    } else if (path === 'tunnel' && (edge.sourceIdentity === '' || edge.destinationIdentity === '')) {
      failures.push(`${source} → ${destination} has no identity at one of its ends`);
    }
  }
  if (!strangers.plaintext.served)
    failures.push('the pod outside the mesh was not served, though no policy forbids it');
  if (strangers.foreignCertificate.accepted)
    failures.push('port 15008 accepted a certificate that nobody signed');
  if (strangers.noCertificate.accepted) failures.push('port 15008 accepted a client without certificate');
  if (strangers.server.tlsVersion !== 'TLSv1.3')
    failures.push(`the tunnel speaks ${strangers.server.tlsVersion}`);
  if (!strangers.server.identity.startsWith('spiffe://'))
    failures.push('the tunnel shows no SPIFFE identity');
  return failures;
}
