// Connections that write as much as is taken: `flood.ts ADDRESS PORT COUNT`. One JSON line per 100 ms:
// {"open":N,"taken":N}, `taken` being the bytes that the kernel has taken from all of them.
import { connect } from 'node:net';

const [host = '', port = '', count = ''] = process.argv.slice(2);
const block = Buffer.alloc(65_536, 'x');
const sockets = Array.from({ length: Number(count) }, () => connect({ host, port: Number(port) }));
let open = 0;

for (const socket of sockets) {
  const pour = () => {
    while (socket.write(block));
  };
  socket.on('connect', () => {
    open++;
    pour();
  });
  socket.on('drain', pour);
  socket.on('error', () => {});
  socket.on('close', () => open--);
}
setInterval(() => {
  const taken = sockets.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0);
  console.log(JSON.stringify({ open, taken }));
}, 100);
