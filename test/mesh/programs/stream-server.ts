// Reads a whole request up to its end of stream, then answers with BYTES bytes and ends: `stream-server.ts PORT BYTES`.
// The answer starts only after the client has half-closed, so it arrives only if half-close is carried through.
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { pattern } from './stream-pattern.ts';

const [port = 0, bytes = 0] = process.argv.slice(2).map(Number);

createServer({ allowHalfOpen: true }, (socket) => {
  const hash = createHash('sha256');
  let received = 0;
  socket.on('data', (chunk) => {
    hash.update(chunk);
    received += chunk.length;
  });
  socket.on('error', (error) => console.log(JSON.stringify({ error: error.message })));
  socket.on('end', () => {
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    console.log(
      JSON.stringify({
        received,
        sha256: hash.digest('hex'),
        remoteAddress,
        remotePort,
        localAddress,
        localPort,
      }),
    );
    pattern(bytes, 'answer').pipe(socket);
  });
}).listen(port, '::');
