// Connections that are given up some milliseconds after they stand, each by a reset: `abort-storm.ts ADDRESS PORT COUNT
// AFTER_MS`. Fifty at a time. Prints one JSON line at the end: {"aborted":N,"errors":{CODE:N}}.
import { connect } from 'node:net';

const [host = '', port = '', count = '', afterMs = ''] = process.argv.slice(2);
const total = Number(count);
let begun = 0;
let aborted = 0;
const errors: Record<string, number> = {};

function one(): void {
  if (begun === total) return;
  begun++;
  const socket = connect({ host, port: Number(port) });
  socket.on('connect', () => setTimeout(() => socket.resetAndDestroy(), Number(afterMs)));
  socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => {
    errors[code] = (errors[code] ?? 0) + 1;
  });
  socket.on('close', () => {
    aborted++;
    if (aborted < total) return one();
    console.log(JSON.stringify({ aborted, errors }));
    process.exit(0);
  });
}

for (let i = 0; i < 50; i++) one();
