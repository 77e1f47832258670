import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { LogRoot, silentLogger } from '../../../src/base/logger.ts';
import { openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import { SocketSigner } from '../../../src/identity/signing-client.ts';
import { type SigningServerOptions, startSigningServer } from '../../../src/identity/signing-server.ts';
import { signingPath } from '../../../src/identity/signing-wire.ts';
import { opensslVerify, temporaryDirectory } from './openssl.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/front';

async function start(options: Partial<SigningServerOptions> = {}) {
  const directory = temporaryDirectory();
  const authority = await openSelfSignedAuthority(join(directory, 'ca'), { trustDomains: ['cluster.local'] });
  const socketPath = join(directory, 'authority.sock');
  const server = await startSigningServer({
    authority,
    socketPath,
    caller: 'node-1',
    mayIssue: () => true,
    logger: silentLogger,
    ...options,
  });
  onTestFinished(() => server.close());
  return { server, socketPath, signer: new SocketSigner(socketPath) };
}

async function ask(signer: SocketSigner, name = identity) {
  const csr = await createCsr(name, await generateKey());
  return signer.sign({ csr, identity: name, lifetimeMs: 3_600_000 }, AbortSignal.timeout(5_000));
}

/** Sends a body as it is; resolves with status and text. */
function post(socketPath: string, body: string, path = signingPath, method = 'POST') {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const call = request({ socketPath, path, method, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    call.on('error', reject);
    call.end(body);
  });
}

it('signs over the socket, the roots last, and only its owner can reach it', async () => {
  const { signer, socketPath } = await start();
  const { chain, roots } = await ask(signer);
  expect(opensslVerify(chain[0] ?? '', chain.slice(1), roots, 'sslclient')).toBe('OK');
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
});

it('asks who may have the identity, with the name of the socket’s owner', async () => {
  const asked: string[][] = [];
  const mayIssue = (name: string, caller: string) => {
    asked.push([name, caller]);
    return true;
  };
  await ask((await start({ mayIssue })).signer);
  expect(asked).toEqual([[identity, 'node-1']]);
});

it('refuses what is not permitted, says why and that a retry may help, and writes an audit line', async () => {
  const lines: Record<string, unknown>[] = [];
  const destination = new Writable({
    write(line, _, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  const logger = new LogRoot({ destination, format: 'json' }).scope('authority');
  const mayIssue = async () => ({ why: 'no pod of this service account runs there', retry: true });
  const { signer } = await start({ logger, mayIssue });
  await expect(ask(signer)).rejects.toMatchObject({
    code: 'ERR_IDENTITY_REFUSED',
    message: expect.stringMatching(
      /node-1 may not have a certificate for spiffe:.*: no pod of this service account runs there; a retry may help/,
    ),
  });
  expect(lines).toMatchObject([
    {
      level: 'warn',
      audit: true,
      caller: 'node-1',
      identity,
      why: 'no pod of this service account runs there',
    },
  ]);
});

it('refuses when the verdict is a plain false, or throws', async () => {
  await expect(ask((await start({ mayIssue: () => false })).signer)).rejects.toThrow(/not permitted/);
  const broken = await start({
    mayIssue: () => {
      throw new Error('database on fire, password hunter2');
    },
  });
  await expect(ask(broken.signer)).rejects.toThrow(/^(?!.*hunter2).*the authority failed; its log says why/);
});

it('refuses a request for one identity whose CSR names another', async () => {
  const { signer } = await start();
  const csr = await createCsr('spiffe://cluster.local/ns/shop/sa/admin', await generateKey());
  await expect(signer.sign({ csr, identity, lifetimeMs: 0 }, AbortSignal.timeout(5_000))).rejects.toThrow(
    /names something else/,
  );
});

it.each([
  ['no JSON', 'hello', 400, /not a JSON object/],
  ['a list', '[]', 400, /not a JSON object/],
  ['fields missing', '{}', 400, /csr must be a PEM text/],
  ['no identity', '{"csr":"x"}', 400, /impersonatedIdentity must be/],
  ['a field unknown', '{"csr":"x","impersonatedIdentity":"y","extra":1}', 400, /extra.*is no field/],
  [
    'a negative lifetime',
    '{"csr":"x","impersonatedIdentity":"y","validityDuration":-1}',
    400,
    /validityDuration/,
  ],
  [
    'a lifetime that is text',
    '{"csr":"x","impersonatedIdentity":"y","validityDuration":"1h"}',
    400,
    /validityDuration/,
  ],
  ['too much', `{"csr":"${'x'.repeat(40_000)}"}`, 400, /longer than 32768 bytes/],
])('answers a body with %s in words', async (_, body, status, message) => {
  const { socketPath } = await start();
  const answer = await post(socketPath, body);
  expect(answer.status).toBe(status);
  expect(answer.text).toMatch(message);
});

it('serves one path and one method', async () => {
  const { socketPath } = await start();
  expect((await post(socketPath, '', '/')).status).toBe(404);
  expect((await post(socketPath, '', signingPath, 'PUT')).status).toBe(405);
});

it('outlives clients that send no HTTP, or go away in the middle', async () => {
  const { socketPath, signer } = await start();
  const noise = connect(socketPath);
  noise.on('error', () => {});
  noise.end('\x16\x03\x01 this is not HTTP\r\n\r\n');
  await once(noise, 'close');
  const half = connect(socketPath);
  half.on('error', () => {});
  half.write(`POST ${signingPath} HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{"csr`, () =>
    half.destroy(),
  );
  expect((await ask(signer)).chain).toHaveLength(1);
});

it('takes over the socket that a killed process left, but not that of a living one', async () => {
  const { socketPath } = await start();
  await expect(start({ socketPath })).rejects.toMatchObject({ systemCode: 'EADDRINUSE' });
  const stale = join(temporaryDirectory(), 'stale.sock');
  // Node removes the file when it closes a server; a killed process does not.
  execFileSync('python3', [
    '-c',
    'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
    stale,
  ]);
  await start({ socketPath: stale });
  expect((await ask(new SocketSigner(stale))).chain).toHaveLength(1);
});

it('a client says where nobody listens, and gives up when told to', async () => {
  const path = join(temporaryDirectory(), 'nobody.sock');
  await expect(ask(new SocketSigner(path))).rejects.toMatchObject({
    code: 'ERR_IDENTITY_SIGNER',
    message: expect.stringContaining(`asking the certificate authority at unix:${path}`),
  });
  const { signer } = await start({ mayIssue: () => new Promise(() => {}) });
  const csr = await createCsr(identity, await generateKey());
  await expect(signer.sign({ csr, identity, lifetimeMs: 0 }, AbortSignal.timeout(50))).rejects.toMatchObject({
    code: 'ERR_IDENTITY_SIGNER',
  });
});

it('a client refuses an answer that is no chain', async () => {
  const path = join(temporaryDirectory(), 'liar.sock');
  const answers = ['hello', '{}', '{"certChain":["one"]}', '{"certChain":[1,2]}'];
  const liar = createServer((_, response) => response.end(answers.shift())).listen(path);
  onTestFinished(() => void liar.close());
  await new Promise((resolve) => liar.once('listening', resolve));
  for (const _ of [...answers]) {
    await expect(ask(new SocketSigner(path))).rejects.toMatchObject({ code: 'ERR_IDENTITY_ANSWER' });
  }
});
