// What the services of the bookshop share: a small HTTP server and client with nothing but Node.
import http from 'node:http';

const name = process.env.SERVICE;
const latencies = new Map();

/** Serves `routes`: path to a function that returns what becomes the JSON answer. `/` means the first of them. */
export function serve(routes, port = 80) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://shop');
    const ask = request.headers['x-ask'];
    request.resume();
    try {
      const known = {
        '/': Object.values(routes)[0],
        '/stats': stats,
        '/health': () => ({ ok: true }),
        ...routes,
      };
      const route = known[pathname];
      if (route === undefined) return void response.writeHead(404).end();
      const answer = await route({
        note: ask?.split(' ').pop(),
        family: Number(request.headers['x-family'] ?? 4),
      });
      // Whoever asks gets its question back, so that both directions carry something to look for.
      const headers = ask === undefined ? {} : { 'x-answer': ask.replace('ask', 'answer') };
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      response.end(
        JSON.stringify({ from: name, seen: request.socket.remoteAddress.replace('::ffff:', ''), ...answer }),
      );
    } catch (error) {
      response.writeHead(502).end(JSON.stringify({ from: name, error: error.message }));
    }
  });
  server.listen(port, '::', () => console.log(`${name} listens on ${port}`));
}

/** GET by service name. `note` goes along in a header, to be found (or not) on the wire. */
export function get(host, path, { note, family = 4 } = {}) {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const headers = {
      'x-family': family,
      ...(note === undefined ? {} : { 'x-ask': `ask ${name}>${host} ${note}` }),
    };
    const request = http.get({ host, path, family, headers, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => {
        record(host, performance.now() - started);
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${host} answered ${response.statusCode}: ${text}`));
      });
    });
    request.on('timeout', () => request.destroy(new Error(`${host} did not answer`)));
    request.on('error', reject);
  });
}

function record(host, ms) {
  if (!latencies.has(host)) latencies.set(host, []);
  latencies.get(host).push(ms);
}

/** Latencies of the requests that this service made, by the name it called. */
export function stats() {
  const summary = {};
  for (const [host, values] of latencies) {
    const sorted = values.toSorted((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    summary[host] = { requests: sorted.length, p50: at(0.5), p99: at(0.99) };
  }
  return { latency: summary };
}
