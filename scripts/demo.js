// `npm run demo [-- --keep] [--name NAME]`: a mesh of two nodes on this machine, and a report that proves what it says.
// HADAL_TEST_UNSAFE_PLAINTEXT=1 lets the tunnels go in the clear: then the proof must fail, and the demo with it.
import { parseArgs } from 'node:util';
import { colourPaint, plainPaint } from '../dist/lab/demo/report.js';
import { runDemo } from '../dist/lab/demo/run.js';

const { values } = parseArgs({
  options: { keep: { type: 'boolean', default: false }, name: { type: 'string', default: 'demo' } },
});
const started = performance.now();
const interrupted = new Promise((resolve) => {
  process.once('SIGINT', resolve);
  process.once('SIGTERM', resolve);
});
const unsafe = process.env.HADAL_TEST_UNSAFE_PLAINTEXT;

try {
  process.exitCode = await runDemo({
    keep: values.keep,
    name: values.name,
    out: (text) => process.stdout.write(text),
    say: (line) =>
      process.stderr.write(`[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${line}\n`),
    paint: process.stdout.isTTY && !process.env.NO_COLOR ? colourPaint : plainPaint,
    interrupted,
    ...(unsafe ? { agentEnv: { HADAL_TEST_PLAINTEXT_TUNNELS: '1' } } : {}),
  });
} catch (error) {
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = 1;
}
