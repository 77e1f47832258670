import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { startMetricsServer } from '../../../src/runtime/metrics-server.ts';
import { ask } from './http.ts';

it('serves the metrics at our path and at Istio’s, read once for scrapes that come together', async () => {
  let reads = 0;
  const server = await startMetricsServer({
    port: 0,
    logger: silentLogger,
    render: async () => {
      reads += 1;
      await new Promise((resolve) => setTimeout(resolve, 30));
      return { contentType: 'text/plain; version=0.0.4', body: `reads ${reads}\n` };
    },
  });
  onTestFinished(() => server.close());
  const together = await Promise.all(
    ['/metrics', '/stats/prometheus', '/metrics'].map((path) => ask(server, path)),
  );
  expect(together.map(({ text }) => text)).toEqual(['reads 1\n', 'reads 1\n', 'reads 1\n']);
  expect(together[0]?.headers['content-type']).toBe('text/plain; version=0.0.4');
  expect((await ask(server, '/metrics')).text).toBe('reads 2\n');
});

it('a reading that fails is a 500, and the next one is tried', async () => {
  let broken = true;
  const server = await startMetricsServer({
    port: 0,
    logger: silentLogger,
    render: async () => {
      if (broken) throw new Error('no counters');
      return { contentType: 'text/plain', body: 'ok\n' };
    },
  });
  onTestFinished(() => server.close());
  expect(await ask(server, '/metrics')).toMatchObject({ status: 500, text: 'ERR_HTTP: no counters\n' });
  broken = false;
  expect((await ask(server, '/metrics')).text).toBe('ok\n');
});
