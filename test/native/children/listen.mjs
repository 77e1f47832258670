// Listens on an address, prints the port, and ends with its standard input or when told by a signal.
import { createServer } from 'node:net';

const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, process.argv[2]);
server.on('listening', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
