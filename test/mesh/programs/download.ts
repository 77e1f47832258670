// One long download that is read slowly and steadily: `download.ts ADDRESS PORT`. One JSON line per second:
// {"received":N,"ended":false}; `ended` turns true when the connection ends, whatever the reason.
import { connect } from 'node:net';

const [host = '', port = ''] = process.argv.slice(2);
let received = 0;
let ended = false;
const socket = connect({ host, port: Number(port) });
socket.on('data', (chunk) => {
  received += chunk.length;
  socket.pause();
  setTimeout(() => socket.resume(), 10);
});
socket.on('error', () => {});
socket.on('close', () => {
  ended = true;
});
setInterval(() => console.log(JSON.stringify({ received, ended })), 1000);
