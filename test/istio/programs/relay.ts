// Makes a port of the machine reachable in a network namespace: `relay.ts PORT SOCKET` listens on 127.0.0.1:PORT where it runs, and
// hands each connection on through the unix socket, behind which the test dials the port.
import { connect, createServer } from 'node:net';

const [port, socket = ''] = process.argv.slice(2);
createServer({ allowHalfOpen: true }, (near) => {
  const far = connect({ path: socket, allowHalfOpen: true });
  near.on('error', () => far.destroy());
  far.on('error', () => near.destroy());
  near.pipe(far).pipe(near);
}).listen(Number(port), '127.0.0.1');
