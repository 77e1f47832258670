#!/usr/bin/env node
/** The program `hadal`. Loads what the command at hand needs and nothing else. */
import { runCommandLine } from './command-line.ts';

const interruption = new AbortController();
let listening = false;

for (const stream of [process.stdout, process.stderr]) {
  // `hadal connections | head`: the reader has seen enough.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  environment: process.env,
  // Only a command that asks for it takes Ctrl-C over: the others end at once, as programs do.
  get interrupted() {
    if (!listening) {
      listening = true;
      process.once('SIGINT', () => interruption.abort());
      process.once('SIGTERM', () => interruption.abort());
    }
    return interruption.signal;
  },
  now: Date.now,
});
