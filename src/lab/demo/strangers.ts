/** What becomes of clients without an identity of the mesh: in the clear, and with a certificate of somebody else. */
import type { Lab } from '../lab.ts';
import type { LabPod } from '../pod.ts';

export interface Strangers {
  /** A pod outside the mesh asks a meshed service in the clear; the default policy lets it in. */
  readonly plaintext: { readonly served: boolean; readonly seenAs: string };
  /** openssl s_client at 15008 with a self-made certificate, and with none. */
  readonly foreignCertificate: HandshakeResult;
  readonly noCertificate: HandshakeResult;
  /** What the server showed of itself to that client. */
  readonly server: { readonly tlsVersion: string; readonly identity: string };
}

export interface HandshakeResult {
  /** HTTP/2 settings came back: somebody would talk to it. */
  readonly accepted: boolean;
  /** How the connection ended, in OpenSSL's words. */
  readonly said: string;
}

export async function meetStrangers(lab: Lab): Promise<Strangers> {
  const [stock, catalog] = [lab.pod('stock'), lab.pod('catalog')];
  const recount = await stock.exec(['node', '-e', askInTheClear], { timeoutMs: 15_000 });
  const seenAs = /"seen":"([^"]+)"/.exec(recount.stdout)?.[1] ?? '';
  const forged = await forgeCertificate(stock);
  const shown = await showServer(stock, catalog.v4);
  return {
    plaintext: { served: seenAs !== '', seenAs },
    foreignCertificate: await handshake(stock, catalog.v4, forged),
    noCertificate: await handshake(stock, catalog.v4),
    server: { tlsVersion: tlsVersion(shown), identity: await identityOf(stock, shown) },
  };
}

const askInTheClear = `
  require('http').get({ host: 'catalog', path: '/health', agent: false, timeout: 8000 }, (answer) => answer.pipe(process.stdout))
    .on('error', (error) => console.log(error.message)).on('timeout', () => process.exit(1));`;

/** The name is right and the signature is not: what an intruder would try. */
async function forgeCertificate(pod: LabPod): Promise<{ certificate: string; key: string }> {
  const files = { certificate: '/tmp/forged.pem', key: '/tmp/forged.key' };
  const made = await pod.exec([
    'openssl',
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/',
    '-addext',
    'subjectAltName=critical,URI:spiffe://cluster.local/ns/shop/sa/front',
    '-addext',
    'extendedKeyUsage=clientAuth',
    '-keyout',
    files.key,
    '-out',
    files.certificate,
  ]);
  if (made.code !== 0) throw new Error(`openssl req: ${made.stderr}`);
  return files;
}

async function handshake(
  pod: LabPod,
  address: string,
  forged?: { certificate: string; key: string },
): Promise<HandshakeResult> {
  const files = forged === undefined ? [] : [forged.certificate, forged.key];
  const ran = await pod.exec(['node', '-e', speakHttp2, address, ...files], { timeoutMs: 15_000 });
  return JSON.parse(ran.stdout) as HandshakeResult;
}

/** The HTTP/2 preface and empty SETTINGS: a server that accepts the client answers with settings of its own. */
const speakHttp2 = `
  const { readFileSync } = require('fs');
  const [address, cert, key] = process.argv.slice(1);
  const own = cert === undefined ? {} : { cert: readFileSync(cert), key: readFileSync(key) };
  const socket = require('tls').connect({ host: address, port: 15008, ALPNProtocols: ['h2'], rejectUnauthorized: false, ...own });
  const end = (accepted, said) => { console.log(JSON.stringify({ accepted, said })); process.exit(0); };
  socket.on('secureConnect', () => socket.write(Buffer.from('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0', 'latin1')));
  socket.on('data', () => end(true, 'it answered in HTTP/2'));
  socket.on('error', (error) => end(false, error.reason ?? error.code));
  socket.on('close', () => end(false, 'the connection was closed'));
  setTimeout(() => end(false, 'no answer'), 8000);`;

/** What `openssl s_client` tells of the server; it has no certificate, so the session ends soon after. */
async function showServer(pod: LabPod, address: string): Promise<string> {
  const client = ['openssl', 's_client', '-connect', `${address}:15008`, '-alpn', 'h2', '-showcerts'];
  const { stdout, stderr } = await pod.exec(['timeout', '5', ...client], { timeoutMs: 15_000 });
  return `${stdout}${stderr}`;
}

function tlsVersion(output: string): string {
  return /(?:New|Reused), (TLSv[\d.]+)/.exec(output)?.[1] ?? 'unknown';
}

async function identityOf(pod: LabPod, output: string): Promise<string> {
  const certificate = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/.exec(output)?.[0];
  if (certificate === undefined) return 'unknown';
  const shown = await pod.exec(['openssl', 'x509', '-noout', '-ext', 'subjectAltName'], {
    input: certificate,
  });
  return /URI:(\S+)/.exec(shown.stdout)?.[1] ?? 'unknown';
}
