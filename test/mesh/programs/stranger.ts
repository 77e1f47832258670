// Everything that somebody without a token can do to the port for agents, without pause: `stranger.ts ADDRESS PORT`. Connections
// that say nothing, that begin TLS, that open calls and never send, that show tokens of nobody, that open streams and take them
// back. One JSON line per 100 ms: {"dialled":N,"open":N}.
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';

const [host = '', port = ''] = process.argv.slice(2);
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
const most = 500;
let dialled = 0;
let open = 0;

interface Connection {
  on(event: 'close' | 'error', listener: () => void): unknown;
}

function count(connection: Connection): void {
  dialled++;
  open++;
  connection.on('error', () => {});
  connection.on('close', () => open--);
}

function silent(): void {
  count(connect({ host, port: Number(port) }));
}

function shaken(): void {
  count(connectTls({ host, port: Number(port), ALPNProtocols: ['h2'], rejectUnauthorized: false }));
}

function calling(takesBack: boolean): void {
  const session = connectHttp2(`https://${host}:${port}`, { rejectUnauthorized: false });
  count(session);
  session.on('connect', () => {
    for (let index = 0; index < 100; index++) {
      const authorization = `Bearer ${index % 2 === 0 ? 'nonsense' : 'eyJhbGciOiJSUzI1NiJ9.e30.c2ln'}`;
      const stream = session.request({ ...headers, authorization });
      stream.on('error', () => {});
      stream.resume();
      if (takesBack) stream.close(8);
    }
  });
}

const ways = [silent, silent, silent, shaken, () => calling(false), () => calling(true)];
setInterval(() => {
  for (let index = 0; index < 24 && open < most; index++) ways[index % ways.length]?.();
}, 20);
setInterval(() => console.log(JSON.stringify({ dialled, open })), 100);
