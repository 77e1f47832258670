// Holds connections open and proves that they carry bytes: `ticker.ts ADDRESS PORT [COUNT]`.
// Each connection sends a line every 50 ms to an echo server. One JSON line per 100 ms: {"open":N,"echoed":N,"errors":[…]}.
import { connect } from 'node:net';

const [host = '', port = '', count = '1'] = process.argv.slice(2);
let open = 0;
let echoed = 0;
const errors: string[] = [];

for (let i = 0; i < Number(count); i++) {
  const socket = connect({ host, port: Number(port) });
  const timer = setInterval(() => socket.write('tick\n'), 50);
  socket.on('connect', () => open++);
  socket.on('data', (chunk) => {
    echoed += chunk.length;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message));
  socket.on('close', () => {
    clearInterval(timer);
    open--;
  });
}
setInterval(() => console.log(JSON.stringify({ open, echoed, errors })), 100);
