// Connections that are held until somebody ends them: `held.ts ADDRESS PORT COUNT MODE`.
//   echo: sends numbered lines every 50 ms, and looks at each byte that comes back
//   half: ends its own side at once, and waits
//   pour: writes as much as is taken
// One JSON line per 50 ms: {"open":N,"echoed":N,"wrong":N,"ended":[{"why":CODE,"at":MS}...]}, `at` by the machine's clock.
import { connect } from 'node:net';

const [host = '', port = '', count = '1', mode = 'echo'] = process.argv.slice(2);
const block = Buffer.alloc(65_536, 'x');
const ended: { why: string; at: number }[] = [];
let open = 0;
let echoed = 0;
let wrong = 0;

for (let i = 0; i < Number(count); i++) {
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  let sent = '';
  let line = 0;
  let why = 'end';
  let stood = false;
  const tick = () => {
    const text = `${i}:${line++}\n`;
    sent += text;
    socket.write(text);
  };
  const pour = () => {
    while (socket.write(block));
  };
  const timer = mode === 'echo' ? setInterval(tick, 50) : undefined;
  socket.on('connect', () => {
    open++;
    stood = true;
    if (mode === 'half') socket.end('x');
    if (mode === 'pour') pour();
  });
  if (mode === 'pour') socket.on('drain', pour);
  socket.on('data', (chunk) => {
    const text = chunk.toString();
    if (!sent.startsWith(text)) wrong++;
    sent = sent.slice(text.length);
    echoed += text.length;
  });
  socket.on('end', () => socket.destroy());
  socket.on('error', (error: NodeJS.ErrnoException) => {
    why = error.code ?? error.message;
  });
  socket.on('close', () => {
    clearInterval(timer);
    if (stood) open--;
    ended.push({ why, at: Date.now() });
  });
}
setInterval(() => console.log(JSON.stringify({ open, echoed, wrong, ended })), 50);
