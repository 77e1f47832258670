// Dials an address again and again and prints when the outcome turns: `edge-watch.ts ADDRESS PORT`. One line each time,
// `<milliseconds since 1970, with fractions> up|down`.
import { connect } from 'node:net';

const [host = '', port = ''] = process.argv.slice(2);
const pauseMs = 1;
let known = '';

function dial(): void {
  const socket = connect({ host, port: Number(port) });
  let isUp = false;
  socket.setTimeout(2_000, () => socket.destroy());
  // A connection stands before it is known whether the far end takes it: a byte that comes back says so.
  socket.on('connect', () => socket.write('x'));
  socket.on('data', () => {
    isUp = true;
    socket.resetAndDestroy();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    const state = isUp ? 'up' : 'down';
    if (state !== known) console.log(`${performance.timeOrigin + performance.now()} ${state}`);
    known = state;
    setTimeout(dial, pauseMs);
  });
}

dial();
