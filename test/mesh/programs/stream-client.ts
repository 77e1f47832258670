// Sends BYTES bytes, half-closes, reads the answer to its end: `stream-client.ts ADDRESS PORT BYTES`.
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { pattern } from './stream-pattern.ts';

const [host = '', port = '', bytes = ''] = process.argv.slice(2);
const socket = connect({ host, port: Number(port), allowHalfOpen: true });
const hash = createHash('sha256');
let received = 0;
let ends = {};

socket.on('connect', () => {
  ends = {
    localAddress: socket.localAddress,
    localPort: socket.localPort,
    remoteAddress: socket.remoteAddress,
    remotePort: socket.remotePort,
  };
  pattern(Number(bytes), 'request').pipe(socket);
});
socket.on('data', (chunk) => {
  hash.update(chunk);
  received += chunk.length;
});
socket.on('error', (error: NodeJS.ErrnoException) => {
  console.log(JSON.stringify({ error: error.code ?? error.message, received }));
  process.exit(1);
});
socket.on('end', () => console.log(JSON.stringify({ received, sha256: hash.digest('hex'), ...ends })));
