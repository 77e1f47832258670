import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import {
  type HttpServerOptions,
  json,
  plain,
  type Route,
  startHttpServer,
} from '../../../src/runtime/http-server.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { ask, raw } from './http.ts';

async function start(routes: Route[], options: Partial<HttpServerOptions> = {}) {
  const server = await startHttpServer({
    name: 'the test server',
    routes,
    listen: [{ host: '127.0.0.1', port: 0 }],
    logger: silentLogger,
    ...options,
  });
  onTestFinished(() => server.close());
  return server;
}

const hello: Route = { method: 'GET', path: '/hello', handle: () => plain(200, 'hello\n') };

it('says what there is when a path is unknown, and which methods when one is wrong', async () => {
  const server = await start([hello]);
  expect(await ask(server, '/nothing')).toMatchObject({
    status: 404,
    text: 'nothing at /nothing; there is /hello\n',
  });
  const wrong = await ask(server, '/hello', { method: 'POST', body: 'x'.repeat(100_000) });
  expect(wrong).toMatchObject({ status: 405, text: '/hello takes GET\n' });
  expect(wrong.headers.allow).toBe('GET');
  expect((await ask(server, '/hello?a=1&b=%ff%')).status).toBe(200);
});

it('a route that fails gives its reason to the client, and the server goes on', async () => {
  const server = await start([
    hello,
    {
      method: 'GET',
      path: '/wrong',
      handle: () => {
        throw new HadalError('ERR_REQUEST', 'n is not a number');
      },
    },
    {
      method: 'GET',
      path: '/busy',
      handle: () => {
        throw new HadalError('ERR_BUSY', 'later');
      },
    },
    { method: 'GET', path: '/broken', handle: () => Promise.reject(new TypeError('oops')) },
    {
      method: 'GET',
      path: '/torn',
      handle: () => ({
        contentType: 'x/y',
        body: Readable.from(
          (async function* () {
            yield 'part';
            throw new Error('torn');
          })(),
        ),
      }),
    },
  ]);
  expect(await ask(server, '/wrong')).toMatchObject({
    status: 400,
    text: 'ERR_REQUEST: n is not a number\n',
  });
  expect(await ask(server, '/busy')).toMatchObject({ status: 409 });
  expect(await ask(server, '/broken')).toMatchObject({ status: 500, text: 'ERR_HTTP: oops\n' });
  await expect(ask(server, '/torn')).rejects.toThrow();
  expect((await ask(server, '/hello')).text).toBe('hello\n');
});

it.each([
  ['what is not HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', /^HTTP\/1\.1 400 /],
  [
    'headers beyond 8 KiB',
    `GET /hello HTTP/1.1\r\nhost: x\r\ncookie: ${'x'.repeat(20_000)}\r\n\r\n`,
    /^HTTP\/1\.1 4\d\d /,
  ],
  [
    'two lengths that differ',
    'POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab',
    /^HTTP\/1\.1 400 /,
  ],
  [
    'a length beside chunks',
    'POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    /^HTTP\/1\.1 400 /,
  ],
  ['no Host in HTTP/1.1', 'GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n', /^HTTP\/1\.1 400 /],
  [
    'an absolute form of another host',
    'GET http://evil.example/hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    /^HTTP\/1\.1 404 /,
  ],
  [
    'a path full of control characters',
    'GET /\x1b[2J HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    /^HTTP\/1\.1 4\d\d /,
  ],
])('survives %s', async (_, bytes, answer) => {
  const server = await start([hello]);
  expect(await raw(server.port, bytes)).toMatch(answer);
  expect((await ask(server, '/hello')).status).toBe(200);
});

it('takes so many connections and no more, and hangs up on those beyond', async () => {
  const server = await start([hello], { maxConnections: 2 });
  const held = [connect(server.port, '127.0.0.1'), connect(server.port, '127.0.0.1')];
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  await expect(ask(server, '/hello')).rejects.toThrow();
  for (const socket of held) socket.destroy();
  await expect
    .poll(() =>
      ask(server, '/hello').then(
        ({ status }) => status,
        () => 0,
      ),
    )
    .toBe(200);
});

it('compresses what is long for those who ask for it', async () => {
  const body = 'metric 1\n'.repeat(1_000);
  const server = await start([
    { method: 'GET', path: '/long', handle: () => plain(200, body) },
    {
      method: 'GET',
      path: '/stream',
      handle: () => ({ contentType: 'text/plain', body: Readable.from([body]) }),
    },
  ]);
  for (const path of ['/long', '/stream']) {
    const small = await ask(server, path, { headers: { 'accept-encoding': 'gzip, deflate' } });
    expect(small.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(small.body).toString()).toBe(body);
    expect(small.body.length).toBeLessThan(500);
    const plainAnswer = await ask(server, path, { headers: { 'accept-encoding': 'gzip;q=0, br' } });
    expect(plainAnswer.headers['content-encoding']).toBeUndefined();
    expect(plainAnswer.text).toBe(body);
  }
});

it('a loopback server refuses a request that a web page sent by another name', async () => {
  const server = await start([hello], { loopbackHostOnly: true });
  for (const host of ['localhost', `localhost:${server.port}`, '127.0.0.1', '127.1.2.3:80', '[::1]:15000']) {
    expect((await ask(server, '/hello', { headers: { host } })).status).toBe(200);
  }
  for (const host of ['evil.example', 'localhost.evil.example', '10.0.0.1', '127.0.0.1.evil.example:15000']) {
    expect((await ask(server, '/hello', { headers: { host } })).status).toBe(403);
  }
  expect(await raw(server.port, 'GET /hello HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n')).toMatch(
    /^HTTP\/1\.1 403 /,
  );
  expect(await raw(server.port, 'GET /hello HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 403 /);
});

it('listens on a unix socket for its owner, beside the port, and takes over one that a killed process left', async () => {
  const socketPath = join(temporaryDirectory(), 'admin.sock');
  const { execFileSync } = await import('node:child_process');
  execFileSync('python3', [
    '-c',
    'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
    socketPath,
  ]);
  const server = await start([hello], { listen: [{ host: '127.0.0.1', port: 0 }, { socketPath }] });
  expect((await ask({ socketPath }, '/hello')).text).toBe('hello\n');
  expect(server.addresses).toEqual([`127.0.0.1:${server.port}`, `unix:${socketPath}`]);
  const { statSync } = await import('node:fs');
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  await expect(start([hello], { listen: [{ socketPath }] })).rejects.toMatchObject({
    code: 'ERR_LISTEN',
    systemCode: 'EADDRINUSE',
  });
});

it('says which port is taken', async () => {
  const server = await start([hello]);
  await expect(start([hello], { listen: [{ host: '127.0.0.1', port: server.port }] })).rejects.toThrow(
    new RegExp(
      `the test server cannot listen on 127\\.0\\.0\\.1:${server.port}: .*another process has this port`,
    ),
  );
});

it('closing ends idle connections, lets an answer finish, and cuts it off when forced', async () => {
  let finish = () => {};
  const slow: Route = {
    method: 'GET',
    path: '/slow',
    handle: () =>
      new Promise((resolve) => {
        finish = () => resolve(json({ done: true }));
      }),
  };
  const server = await start([slow]);
  const idle = connect(server.port, '127.0.0.1');
  await new Promise((resolve) => idle.once('connect', resolve));
  const answer = ask(server, '/slow');
  await expect.poll(() => finish.toString()).toContain('resolve');
  const force = new AbortController();
  const closing = server.close(force.signal);
  finish();
  expect((await answer).text).toContain('"done": true');
  idle.destroy();
  await closing;

  const second = await start([slow]);
  const cut = ask(second, '/slow');
  const lost = expect(cut).rejects.toThrow();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await second.close(AbortSignal.abort());
  await lost;
});

it('tells a route when its client has gone', async () => {
  const gone = Promise.withResolvers<void>();
  const server = await start([
    {
      method: 'GET',
      path: '/wait',
      handle: ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            gone.resolve();
            reject(signal.reason);
          }),
        ),
    },
  ]);
  const socket = connect(server.port, '127.0.0.1');
  socket.write('GET /wait HTTP/1.1\r\nhost: x\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 30));
  socket.destroy();
  await gone.promise;
});
