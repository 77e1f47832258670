// New connections at a steady rate, each one exchange of 64 bytes and then a reset: `reset-storm.ts ADDRESS PORT RATE SECONDS`.
// Prints one JSON line at the end: {"done":N,"failed":N,"errors":{CODE:N},"slowestMs":N}.
import { connect } from 'node:net';

const [host = '', port = '', rate = '', seconds = ''] = process.argv.slice(2);
const total = Number(rate) * Number(seconds);
const message = Buffer.alloc(64, 'x');
const errors: Record<string, number> = {};
const started = performance.now();
let begun = 0;
let done = 0;
let failed = 0;
let slowestMs = 0;

function one(): void {
  begun++;
  const opened = performance.now();
  const socket = connect({ host, port: Number(port), noDelay: true });
  let received = 0;
  const finish = (error?: string): void => {
    socket.removeAllListeners();
    socket.on('error', () => {});
    socket.resetAndDestroy();
    slowestMs = Math.max(slowestMs, performance.now() - opened);
    if (error !== undefined) {
      failed++;
      errors[error] = (errors[error] ?? 0) + 1;
    }
    if (++done === total) report();
  };
  socket.setTimeout(10_000, () => finish('TIMEOUT'));
  socket.on('connect', () => socket.write(message));
  socket.on('data', (chunk) => {
    received += chunk.length;
    if (received >= message.length) finish();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  socket.on('end', () => finish('END'));
}

function report(): void {
  console.log(JSON.stringify({ done, failed, errors, slowestMs: Math.round(slowestMs) }));
  process.exit(0);
}

setInterval(() => {
  const due = Math.min(total, ((performance.now() - started) / 1000) * Number(rate));
  while (begun < due) one();
}, 5);
