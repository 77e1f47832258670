// Inside a network namespace: steers all connections of the namespace to one listener, connects to a port where nobody
// listens, prints where that arrived and what the socket's own address was.
import { connect, createServer } from 'node:net';
import { nativeAddon } from '../../../src/native/addon.ts';

const addon = nativeAddon();
const server = createServer().listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const object = addon.openObject(process.argv[2]);
object.load();
object.map('listeners').setSocket(new Uint8Array(4), server._handle.fd);
object.program('steer').attachNetns(addon.openNetns('/proc/self/ns/net'));
const accepted = new Promise((resolve) => server.once('connection', resolve));
const client = connect(9, '127.0.0.1');
client.on('error', (error) => console.log(error.code));
const socket = await accepted;
console.log(`accepted for port ${socket.localPort}`);
client.destroy();
socket.destroy();
server.close();
