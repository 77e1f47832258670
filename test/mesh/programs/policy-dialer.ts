/**
 * Dials as it is told, a line of JSON in and one out for each: in clear or, where a certificate is given, by a tunnel of its own to
 * port 15008. A server of the table greets whoever it accepts, so a greeting is all that proves to be in.
 */
import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { connect as connectTls } from 'node:tls';

export interface Call {
  readonly id: number;
  readonly address: string;
  readonly port: number;
  /** One that nobody else takes, so that a connection is known by it also when it ended before anybody looked. */
  readonly localPort: number;
  /** Directory of chain.pem, key.pem and roots.pem: by HBONE. */
  readonly certificate?: string;
}

export interface CallResult {
  readonly id: number;
  readonly greeted: boolean;
  /** Of the CONNECT. */
  readonly status?: number;
  /** What ended it before it was greeted; '' when the other side just closed. */
  readonly error: string;
  /** Not known of one that was reset before the program was told. */
  readonly connected: boolean;
}

const greeting = 'hello';
const timeoutMs = 8_000;

function inClear({ id, address, port, localPort }: Call, done: (result: CallResult) => void): void {
  const socket = connect({ host: address, port, localPort });
  let [error, text, connected] = ['', '', false];
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('TIMEOUT')));
  socket.on('connect', () => {
    connected = true;
  });
  socket.on('data', (bytes) => {
    text += bytes.toString();
  });
  socket.on('error', (cause: NodeJS.ErrnoException) => {
    error = cause.code ?? cause.message;
  });
  socket.on('close', () => done({ id, greeted: text === greeting, error, connected }));
}

function byTunnel(
  { id, address, port, localPort, certificate = '' }: Call,
  done: (result: CallResult) => void,
): void {
  const file = (name: string) => readFileSync(`${certificate}/${name}.pem`);
  const socket = connectTls({
    // Its options know no source port.
    socket: connect({ host: address, port: 15_008, localPort }),
    ALPNProtocols: ['h2'],
    cert: file('chain'),
    key: file('key'),
    ca: file('roots'),
    // The names of the mesh are no host names.
    checkServerIdentity: () => undefined,
  });
  const session = connectHttp2(`https://${certificate}`, { createConnection: () => socket });
  let [connected, status, error, text, ended] = [false, 0, '', '', false];
  const finish = (cause?: NodeJS.ErrnoException) => {
    if (ended) return;
    ended = true;
    error = cause?.code ?? cause?.message ?? '';
    clearTimeout(timer);
    done({ id, greeted: text === greeting, status, error, connected });
    session.close();
  };
  const timer = setTimeout(() => {
    finish(new Error('TIMEOUT'));
    session.destroy();
  }, timeoutMs);
  session.on('error', finish);
  socket.on('error', finish);
  socket.on('secureConnect', () => {
    connected = true;
    const of = (host: string, at: number) => (host.includes(':') ? `[${host}]:${at}` : `${host}:${at}`);
    const stream = session.request({
      ':method': 'CONNECT',
      ':authority': of(address, port),
      // The agent of the source would say for whom the tunnel is; here it is for itself.
      forwarded: `for="${of(socket.localAddress ?? '', localPort)}"`,
    });
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0;
      if (status !== 200) stream.close();
    });
    stream.on('data', (bytes: Buffer) => {
      text += bytes.toString();
    });
    stream.on('end', () => stream.end());
    stream.on('error', finish);
    stream.on('close', () => finish());
  });
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const call = JSON.parse(line) as Call;
  const way = call.certificate === undefined ? inClear : byTunnel;
  way(call, (result) => console.log(JSON.stringify(result)));
});
