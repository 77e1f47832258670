// Visitors of the shop: `node visitor.mjs REQUESTS CONCURRENCY FAMILY [NOTE]` asks the front and tells how it went.
import { get, stats } from './service.mjs';

const [requests, concurrency, family] = process.argv.slice(2, 5).map(Number);
const note = process.argv[5];
const failures = [];
let left = requests;

async function visit() {
  while (left-- > 0) {
    try {
      const page = await get('front', '/', { family, note });
      if (page.books.length !== 4) throw new Error('a page without its books');
    } catch (error) {
      failures.push(error.message);
    }
  }
}

const started = performance.now();
await Promise.all(Array.from({ length: concurrency }, visit));
console.log(
  JSON.stringify({
    requests,
    failed: failures.length,
    failures: failures.slice(0, 3),
    ms: performance.now() - started,
    ...stats(),
  }),
);
