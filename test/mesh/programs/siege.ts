// Heavy load on an echo server: `siege.ts ADDRESS PORT TEXT STREAMS RATE`. STREAMS connections send blocks full of TEXT
// without end, each a bounded rate of bytes, and come back 20 ms after they are lost; beside them RATE new connections a
// second do one exchange each. One JSON line per 50 ms: {"streaming":N,"echoed":N,"done":N,"failed":N,"errors":{CODE:N}}.
import { connect, type Socket } from 'node:net';

const [host = '', port = '', text = '', streams = '', rate = ''] = process.argv.slice(2);
const block = Buffer.from(`${text} `.repeat(Math.ceil(8192 / text.length)));
const blockEveryMs = 80;
const errors: Record<string, number> = {};
let streaming = 0;
let echoed = 0;
let done = 0;
let failed = 0;

function dial(): Socket {
  const socket = connect({ host, port: Number(port), noDelay: true });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    const code = error.code ?? error.message;
    errors[code] = (errors[code] ?? 0) + 1;
  });
  return socket;
}

function stream(): void {
  const socket = dial();
  let counted = false;
  const timer = setInterval(
    () => socket.writableLength < 4 * block.length && socket.write(block),
    blockEveryMs,
  );
  socket.on('data', (chunk) => {
    echoed += chunk.length;
    if (!counted) streaming++;
    counted = true;
  });
  socket.on('close', () => {
    clearInterval(timer);
    if (counted) streaming--;
    setTimeout(stream, 20);
  });
}

function exchange(): void {
  const socket = dial();
  let received = 0;
  socket.setTimeout(5_000, () => socket.destroy());
  socket.on('connect', () => socket.write(text));
  socket.on('data', (chunk) => {
    received += chunk.length;
    if (received >= text.length) socket.end();
  });
  socket.on('close', () => {
    if (received >= text.length) done++;
    else failed++;
  });
}

for (let i = 0; i < Number(streams); i++) stream();
const started = performance.now();
let begun = 0;
setInterval(() => {
  const due = ((performance.now() - started) / 1000) * Number(rate);
  for (; begun < due; begun++) exchange();
}, 5);
setInterval(() => console.log(JSON.stringify({ streaming, echoed, done, failed, errors })), 50);
