import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { Readiness } from '../../../src/runtime/readiness.ts';
import { startReadinessServer } from '../../../src/runtime/readiness-server.ts';
import { ask } from './http.ts';

it('is ready once every task is done, and tells which are not', async () => {
  const readiness = new Readiness();
  const mesh = readiness.task('mesh state');
  const pods = readiness.task('pods');
  let resolved = false;
  const whenReady = readiness.whenReady().then(() => {
    resolved = true;
  });
  expect(readiness.pending).toEqual(['mesh state', 'pods']);
  mesh();
  mesh();
  expect(readiness.ready).toBe(false);
  await Promise.resolve();
  expect(resolved).toBe(false);
  pods();
  await whenReady;
  expect(readiness.ready).toBe(true);
  await readiness.whenReady();
});

it('two tasks of one name are two tasks', () => {
  const readiness = new Readiness();
  const first = readiness.task('pod');
  readiness.task('pod');
  first();
  expect(readiness.pending).toEqual(['pod']);
});

it('is not ready any more once it drains', () => {
  const readiness = new Readiness();
  readiness.drain();
  expect(readiness.ready).toBe(false);
  expect(readiness.pending).toEqual(['draining']);
});

it.each(['/healthz/ready', '/ready'])('%s answers 503 with what is awaited, then 200', async (path) => {
  const readiness = new Readiness();
  const done = readiness.task('mesh state');
  readiness.task('pods that were enrolled before')();
  const server = await startReadinessServer({ readiness, port: 0, logger: silentLogger });
  onTestFinished(() => server.close());
  expect(await ask(server, path)).toMatchObject({
    status: 503,
    text: 'not ready, waiting for:\n  mesh state\n',
  });
  done();
  expect(await ask(server, path)).toMatchObject({ status: 200, text: 'ready\n' });
  expect(await ask(server, path, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
});

it('answers over IPv6 too, where the node has it', async () => {
  const server = await startReadinessServer({ readiness: new Readiness(), port: 0, logger: silentLogger });
  onTestFinished(() => server.close());
  const answer = await fetch(`http://[::1]:${server.port}/ready`);
  expect(answer.status).toBe(200);
});
