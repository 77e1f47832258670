import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { LogRoot, silentLogger } from '../../../src/base/logger.ts';
import type { Explanation } from '../../../src/routing/explain.ts';
import { type AdminServerOptions, startAdminServer } from '../../../src/runtime/admin-server.ts';
import { ConfigDump } from '../../../src/runtime/config-dump.ts';
import type { ConnectionQuery } from '../../../src/telemetry/flow-log.ts';
import { ask } from './http.ts';

async function start(options: Partial<AdminServerOptions> = {}) {
  const logs = new LogRoot({ destination: new Writable({ write: (_, __, done) => done() }), format: 'json' });
  const queries: ConnectionQuery[] = [];
  const configDump = new ConfigDump()
    .section('workloads', () => [{ uid: 'a' }])
    .section('config', async () => ({ workers: 2 }));
  const server = await startAdminServer({
    node: 'node-1',
    port: 0,
    configDump,
    logs,
    connections: async (query) => {
      queries.push(query);
      return { cursor: 'tunnel:7', lost: 0, connections: [] };
    },
    status: () => ({
      node: 'node-1',
      version: '0.1.0',
      pid: 1,
      startedAt: '2030-01-01T00:00:00.000Z',
      ready: true,
      pending: [],
      pods: [],
      mesh: { workloads: 0, services: 0, policies: 0 },
      connectionsOpen: 0,
      tunnelsOpen: 0,
      certificates: {},
    }),
    logger: silentLogger,
    ...options,
  });
  onTestFinished(() => server.close());
  const get = (path: string, method = 'GET') => ask(server, path, { method, headers: { host: 'localhost' } });
  return { server, get, logs, queries, configDump };
}

it('listens on loopback alone', async () => {
  const { server } = await start();
  expect(server.addresses).toEqual([`127.0.0.1:${server.port}`]);
});

it('the dump has every section that istioctl reads, ours besides, and parts of it on request', async () => {
  const { get } = await start();
  expect(JSON.parse((await get('/config_dump')).text)).toEqual({
    workloads: [{ uid: 'a' }],
    services: [],
    policies: [],
    certificates: [],
    workloadState: {},
    config: { workers: 2 },
  });
  expect(JSON.parse((await get('/config_dump?section=config,policies')).text)).toEqual({
    policies: [],
    config: { workers: 2 },
  });
  expect(await get('/config_dump?section=nope')).toMatchObject({
    status: 400,
    text: expect.stringContaining('nope is not one of workloads'),
  });
});

it('a section that fails says so in its place, and a name is given once', async () => {
  const { get, configDump } = await start();
  configDump.section('tunnels', () => Promise.reject(new Error('worker 1 is gone')));
  const dump = JSON.parse((await get('/config_dump')).text);
  expect(dump.tunnels).toMatchObject({
    error: { code: 'ERR_CONFIG_DUMP', message: 'reading tunnels: worker 1 is gone' },
  });
  expect(dump.workloads).toEqual([{ uid: 'a' }]);
  expect(() => configDump.section('tunnels', () => 1)).toThrow(/registered twice/);
});

it('log levels are read and changed, one scope or all, and reset', async () => {
  const { get, logs } = await start({ initialLevels: 'warn' });
  logs.scope('tunnel');
  expect(JSON.parse((await get('/logging?level=debug', 'POST')).text)).toEqual({
    level: 'debug',
    scopes: { tunnel: 'debug' },
  });
  await get('/logging?level=tunnel:trace,error', 'POST');
  expect(logs.levels()).toEqual({ level: 'error', scopes: { tunnel: 'trace' } });
  await get('/logging?reset', 'POST');
  expect(logs.levels()).toEqual({ level: 'warn', scopes: { tunnel: 'warn' } });
  expect(await get('/logging?level=loud', 'POST')).toMatchObject({
    status: 400,
    text: expect.stringContaining('"loud" is not one of trace, debug'),
  });
  expect((await get('/logging')).status).toBe(200);
  expect(logs.levels().level).toBe('warn');
});

it('connections are asked for by cursor, number, state and pod; what is no such thing is refused', async () => {
  const { get, queries } = await start();
  expect(
    JSON.parse((await get('/connections?after=tunnel:3&limit=5&state=live,refused&pod=shop/front')).text),
  ).toEqual({
    node: 'node-1',
    cursor: 'tunnel:7',
    lost: 0,
    connections: [],
  });
  expect(queries).toEqual([{ after: 'tunnel:3', limit: 5, states: ['live', 'refused'], pod: 'shop/front' }]);
  expect(await get('/connections?state=open')).toMatchObject({
    status: 400,
    text: expect.stringContaining('state open is not one of live, closed, refused'),
  });
  for (const limit of ['-1', 'x', '1e9', ''])
    expect((await get(`/connections?limit=${limit}`)).status).toBe(400);
});

it('shows an index, the status and the memory', async () => {
  const { get } = await start();
  expect((await get('/')).text).toContain('POST /logging');
  expect(JSON.parse((await get('/status')).text)).toMatchObject({ node: 'node-1', ready: true });
  expect(JSON.parse((await get('/debug/memory')).text).rss).toBeGreaterThan(0);
});

it('takes a CPU profile of so many seconds, one at a time, and none that nobody waits for', async () => {
  const { get, server } = await start();
  const running = get('/debug/profile?seconds=1');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await get('/debug/pprof/profile?seconds=1')).toMatchObject({
    status: 409,
    text: expect.stringContaining('a CPU profile is being taken'),
  });
  const profile = await running;
  expect(profile.headers['content-disposition']).toBe('attachment; filename="hadal.cpuprofile"');
  expect(Object.keys(JSON.parse(profile.text))).toEqual(expect.arrayContaining(['nodes', 'samples']));
  for (const seconds of ['0', '61', 'long'])
    expect((await get(`/debug/profile?seconds=${seconds}`)).status).toBe(400);

  const controller = new AbortController();
  const abandoned = fetch(`http://127.0.0.1:${server.port}/debug/profile?seconds=60`, {
    signal: controller.signal,
  }).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 100));
  controller.abort();
  await abandoned;
  await expect.poll(async () => (await get('/debug/profile?seconds=1')).status, { timeout: 5_000 }).toBe(200);
});

it('takes a heap snapshot, for who may open the socket: private keys may stand in it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-admin-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const socketPath = join(directory, 'admin.sock');
  const { get } = await start({ socketPath });
  const refused = await get('/debug/heap');
  expect(refused.status).toBe(403);
  expect(refused.text).toContain(`curl --unix-socket ${socketPath} http://localhost/debug/heap`);
  const { text, status } = await ask({ socketPath }, '/debug/heap', { headers: { host: 'localhost' } });
  expect(status).toBe(200);
  expect(text.slice(0, 40)).toContain('{"snapshot":');
  expect(text.trimEnd().endsWith('}')).toBe(true);
}, 60_000);

it('ends the agent on POST /quitquitquit alone', async () => {
  let quits = 0;
  const { get } = await start({
    quit: () => {
      quits += 1;
    },
  });
  expect((await get('/quitquitquit')).status).toBe(405);
  expect(await get('/quitquitquit', 'POST')).toMatchObject({ status: 200, text: 'shutting down\n' });
  await expect.poll(() => quits).toBe(1);
});

it('does nothing for a web page in somebody’s browser', async () => {
  let ended = false;
  const { server } = await start({
    quit: () => {
      ended = true;
    },
  });
  const headers = { host: 'localhost', origin: 'https://elsewhere.example' };
  expect(await ask(server, '/quitquitquit', { method: 'POST', headers })).toMatchObject({ status: 403 });
  await new Promise((resolve) => setImmediate(resolve));
  expect(ended).toBe(false);
});

it('explains a connection, and says what is missing of the question', async () => {
  const explanation = { verdict: 'allowed', reason: 'none' } as Explanation;
  const { get } = await start({
    explain: (source, destination) => ({ ...explanation, source, destination }),
  });
  const answer = await get('/explain?source=shop/front&destination=catalog:80');
  expect(JSON.parse(answer.text)).toEqual({
    ...explanation,
    source: 'shop/front',
    destination: 'catalog:80',
  });
  expect(await get('/explain?source=shop/front')).toMatchObject({ status: 400 });
});

it('has no explanation where nothing is judged', async () => {
  expect(await (await start()).get('/explain?source=a&destination=b')).toMatchObject({ status: 404 });
});
