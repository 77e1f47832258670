/** The demo's report as text: who talked to whom and how, what the capture proves, what became of strangers. */
import { table } from '../status.ts';
import type { Edge } from './edges.ts';
import type { MarkerFinding, Proof } from './proof.ts';
import type { HandshakeResult, Strangers } from './strangers.ts';
import type { Latency, Visits } from './visits.ts';

export interface Report {
  readonly visits: readonly Visits[];
  readonly edges: readonly Edge[];
  readonly latencies: ReadonlyMap<string, Latency>;
  readonly proof: Proof;
  readonly strangers: Strangers;
  /** Everything that is not as it should be; none: the demo ends with 0. */
  readonly failures: readonly string[];
}

export interface Paint {
  readonly strong: (text: string) => string;
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
}

export const plainPaint: Paint = { strong: (text) => text, good: (text) => text, bad: (text) => text };
export const colourPaint: Paint = {
  strong: (text) => `\u001b[1m${text}\u001b[0m`,
  good: (text) => `\u001b[32m${text}\u001b[0m`,
  bad: (text) => `\u001b[31m${text}\u001b[0m`,
};

export function renderReport(report: Report, paint: Paint): string {
  return [
    paint.strong('Visitors'),
    ...report.visits.map(visitsLine),
    '',
    paint.strong('Who talked to whom'),
    ...edgeTable(report),
    ...refusalLines(report.edges),
    ...identityLines(report.edges),
    '',
    paint.strong('What crossed the fabric'),
    ...proofLines(report.proof),
    '',
    paint.strong('Clients without an identity of the mesh'),
    ...strangerLines(report.strangers),
    '',
    ...verdict(report.failures, paint),
    '',
  ].join('\n');
}

function visitsLine({ family, requests, failed, ms }: Visits): string {
  const rate = Math.round((requests / ms) * 1000);
  return `  IPv${family}: ${requests} pages, ${failed} failed, ${rate} pages/s; each page asks four services`;
}

function edgeTable({ edges, latencies }: Report): string[] {
  const rows = edges.map((edge) => {
    const latency = latencies.get(`${edge.source}>${edge.destination}`);
    return [
      `${edge.source} → ${edge.destination}`,
      edge.path,
      String(edge.connections),
      String(edge.bytesSent),
      String(edge.bytesReceived),
      latency === undefined ? '' : `${latency.p50.toFixed(1)} / ${latency.p99.toFixed(1)} ms`,
    ];
  });
  return table(['EDGE', 'PATH', 'CONNECTIONS', 'SENT', 'RECEIVED', 'LATENCY p50 / p99'], rows);
}

function refusalLines(edges: readonly Edge[]): string[] {
  return edges
    .filter(({ refused }) => refused > 0)
    .map(
      (edge) =>
        `  ${edge.source} → ${edge.destination}: ${edge.refused} refused: ${edge.refusals.join('; ')}`,
    );
}

function identityLines(edges: readonly Edge[]): string[] {
  const proven = edges.filter(({ path }) => path === 'tunnel');
  if (proven.length === 0) return [];
  return [
    '',
    '  Identities, each verified by the agent of the other end:',
    ...table(
      ['EDGE', 'SOURCE', 'DESTINATION'],
      proven.map((edge) => [
        `${edge.source} → ${edge.destination}`,
        edge.sourceIdentity || '?',
        edge.destinationIdentity || '?',
      ]),
    ),
  ];
}

function proofLines(proof: Proof): string[] {
  const hidden = proof.findings.filter(({ expected }) => expected === 'hidden');
  const visible = proof.findings.filter(({ expected }) => expected === 'visible');
  return [
    `  ${proof.packets} packets captured, ${proof.dropped} lost`,
    `  Words sent between meshed pods, found in the clear: ${total(hidden)} of ${hidden.length} (both directions, IPv4 and IPv6)`,
    `  Words sent past the mesh, found in the same capture: ${present(visible)} of ${visible.length} (so it would have shown the others)`,
    `  Port 15008 carried ${proof.tunnelBytes} bytes for ${proof.payloadBytes} bytes of payload`,
    `  Connections between meshed pods outside of tunnels: ${proof.strays.length}`,
  ];
}

const present = (findings: readonly MarkerFinding[]) => findings.filter(({ count }) => count > 0).length;
const total = present;

function strangerLines({ plaintext, foreignCertificate, noCertificate, server }: Strangers): string[] {
  const seen = plaintext.served ? `served, in the clear (the shop saw ${plaintext.seenAs})` : 'not served';
  return [
    `  stock, outside the mesh, asks catalog: ${seen}; a policy that requires an identity would refuse it`,
    `  A client with a certificate of its own making at port 15008: ${handshakeText(foreignCertificate)}`,
    `  A client without a certificate at port 15008: ${handshakeText(noCertificate)}`,
    `  The server showed ${server.tlsVersion} and ${server.identity}`,
  ];
}

const handshakeText = ({ accepted, said }: HandshakeResult) => (accepted ? 'ACCEPTED' : `rejected (${said})`);

function verdict(failures: readonly string[], paint: Paint): string[] {
  if (failures.length === 0) {
    return [paint.good('No plaintext of meshed pods crossed the nodes, and every connection has its name.')];
  }
  return [paint.bad('This is not as it should be:'), ...failures.map((failure) => paint.bad(`  ${failure}`))];
}
