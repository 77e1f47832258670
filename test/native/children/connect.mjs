// Connects to each `address:port` given and prints what came of it, one word per line.
import { connect } from 'node:net';

for (const target of process.argv.slice(2)) {
  const at = target.lastIndexOf(':');
  const socket = connect({ host: target.slice(0, at), port: Number(target.slice(at + 1)) });
  const outcome = await new Promise((resolve) => {
    socket.on('connect', () => resolve('connected'));
    socket.on('error', (error) => resolve(error.code));
  });
  console.log(outcome);
  socket.destroy();
}
