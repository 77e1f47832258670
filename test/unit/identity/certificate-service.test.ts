/** The certificate service over real TLS and gRPC, with the agent's client on the other side. */
import { copyFileSync, cpSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { createAuthenticate } from '../../../src/identity/authenticate.ts';
import { openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import { CertificateIssuer } from '../../../src/identity/certificate-issuer.ts';
import { addCertificateService } from '../../../src/identity/certificate-service.ts';
import { controlPlaneCredentials } from '../../../src/identity/control-plane-channel.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { GrpcSigner, type GrpcSignerOptions } from '../../../src/identity/grpc-signer.ts';
import { JoinKeys } from '../../../src/identity/join-keys.ts';
import { makeJoinToken } from '../../../src/identity/join-token.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import { LiveAuthority } from '../../../src/identity/live-authority.ts';
import { ServerCertificate } from '../../../src/identity/server-certificate.ts';
import { checkCertificate } from '../../../src/identity/workload-certificate.ts';
import {
  IstioCertificateServiceClient,
  type IstioCertificateServiceServer,
  IstioCertificateServiceService,
} from '../../../src/proto/certificate.gen.ts';
import { opensslAuthority, opensslVerify, temporaryDirectory } from './openssl.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/front';
const trustDomains = ['cluster.local'];

async function serve(server: Server, certificate: ServerCertificate, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, certificate.credentials, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
}

async function world(prepare: (directory: string) => void = () => {}) {
  const directory = temporaryDirectory();
  const authorityDirectory = join(directory, 'ca');
  prepare(authorityDirectory);
  const authority = await LiveAuthority.open(
    authorityDirectory,
    { trustDomains, selfSigned: true, debounceMs: 20, pollMs: 100 },
    silentLogger,
  );
  onTestFinished(() => authority.close());
  const names = { dnsNames: ['hadal-control-plane.hadal-system.svc'], addresses: ['127.0.0.1', '::1'] };
  const certificate = await ServerCertificate.issue(authority, { names, logger: silentLogger });
  onTestFinished(() => certificate.close());
  const keys = new JoinKeys(join(directory, 'keys'));
  const issuer = new CertificateIssuer({
    authority,
    authenticate: createAuthenticate({ joinKeys: keys }),
    authorizer: {
      mayIssue: (wanted, caller) =>
        Promise.resolve(wanted === identity && caller.node === 'a' ? true : { why: 'no pod', retry: true }),
    },
    trustDomains,
    logger: silentLogger,
  });
  const start = async (port = 0) => {
    const server = new Server();
    addCertificateService(server, issuer);
    return { server, port: await serve(server, certificate, port) };
  };
  const { server, port } = await start();
  onTestFinished(() => server.forceShutdown());
  const tokenFile = join(directory, 'token');
  const rootFile = join(directory, 'root.pem');
  const giveToken = async (node: string, lifetimeMs = 60_000, now = Date.now()) => {
    const { token, key } = makeJoinToken(node, lifetimeMs, now);
    await keys.add(key);
    writeFileSync(tokenFile, `${token}\n`);
    return key;
  };
  await giveToken('a');
  copyFileSync(join(authorityDirectory, 'root-cert.pem'), rootFile);
  const signer = (options: Partial<GrpcSignerOptions> = {}) => {
    const made = new GrpcSigner({ address: `127.0.0.1:${port}`, rootFile, tokenFile, ...options });
    onTestFinished(() => made.close());
    return made;
  };
  return {
    directory,
    authorityDirectory,
    authority,
    certificate,
    keys,
    server,
    start,
    port,
    tokenFile,
    rootFile,
    giveToken,
    signer,
    issuer,
  };
}

async function ask(signer: GrpcSigner, name = identity, signal = AbortSignal.timeout(5_000)) {
  const key = await generateKey();
  const csr = await createCsr(name, key);
  return checkCertificate(
    name,
    key,
    await signer.sign({ csr, identity: name, lifetimeMs: 60_000 }, signal),
    new Date(),
  );
}

/** Writes an authority with an intermediate between it and the root, as `cacerts` secrets have it. */
function pluggedIn(directory: string) {
  const root = opensslAuthority('root');
  const intermediate = opensslAuthority('intermediate', { issuer: root });
  cpSync(temporaryDirectory(), directory, { recursive: true });
  writeFileSync(join(directory, 'ca-cert.pem'), intermediate.certificate);
  writeFileSync(join(directory, 'ca-key.pem'), intermediate.key, { mode: 0o600 });
  writeFileSync(join(directory, 'root-cert.pem'), root.certificate);
  writeFileSync(join(directory, 'cert-chain.pem'), intermediate.certificate + root.certificate);
}

describe('a certificate over gRPC', () => {
  it('is for the identity and the key that were asked, for a minute, below the root of the answer', async () => {
    const { signer } = await world();
    const { chain, roots, notAfter } = await ask(signer());
    const pem = (one: { toString(): string } | undefined) => one?.toString() ?? '';
    expect(opensslVerify(pem(chain[0]), [], roots.map(pem).join(''), 'sslserver')).toBe('OK');
    expect(notAfter.getTime()).toBeLessThanOrEqual(Date.now() + 61_000);
  });

  it('comes as leaf, one intermediate per entry, and the bundle of roots last', async () => {
    const { port, rootFile, tokenFile, authorityDirectory } = await world(pluggedIn);
    const second = opensslAuthority('root of next year');
    const rootPath = join(authorityDirectory, 'root-cert.pem');
    writeFileSync(rootPath, readFileSync(rootPath, 'utf8') + second.certificate);
    const client = new IstioCertificateServiceClient(
      `127.0.0.1:${port}`,
      controlPlaneCredentials({ rootFile }),
    );
    onTestFinished(() => client.close());
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`);
    metadata.set('clusterid', 'Kubernetes');
    const csr = await createCsr(identity, await generateKey());
    const call = () =>
      new Promise<string[]>((resolve, reject) => {
        const request = { csr, validityDuration: 60, metadata: { ImpersonatedIdentity: identity } };
        client.createCertificate(request, metadata, (error, answer) =>
          error ? reject(error) : resolve(answer.certChain),
        );
      });
    await expect.poll(async () => (await call()).at(-1)?.split('BEGIN CERTIFICATE').length).toBe(3);
    const [leaf = '', intermediate = '', roots = '', ...rest] = await call();
    expect(rest).toEqual([]);
    for (const one of [leaf, intermediate]) expect(one.split('BEGIN CERTIFICATE')).toHaveLength(2);
    expect(opensslVerify(leaf, [intermediate], roots, 'sslclient')).toBe('OK');
  });

  it('is refused with a reason that names the identity, the node and what may help', async () => {
    const { signer } = await world();
    const other = 'spiffe://cluster.local/ns/shop/sa/back';
    await expect(ask(signer(), other)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REFUSED',
      message: expect.stringMatching(
        /node a may not have a certificate for .*sa\/back: no pod; a retry may help/,
      ),
    });
  });

  it('is asked for in the name of the cluster: istiod looks for the pod that asks in no other', async () => {
    const { certificate, signer } = await world();
    const clusters: unknown[] = [];
    const server = new Server();
    server.addService(IstioCertificateServiceService, {
      createCertificate: ({ metadata }, done) => {
        clusters.push(...metadata.get('clusterid'));
        done({ code: status.UNAUTHENTICATED });
      },
    } satisfies IstioCertificateServiceServer);
    onTestFinished(() => server.forceShutdown());
    const address = `127.0.0.1:${await serve(server, certificate)}`;
    await expect(ask(signer({ address, clusterId: 'east' }))).rejects.toThrow(/refused/);
    expect(clusters).toEqual(['east']);
  });

  it('is refused for a node of another token', async () => {
    const { signer, giveToken } = await world();
    const mine = signer();
    await ask(mine);
    await giveToken('b');
    await expect(ask(mine)).rejects.toThrow(/node b may not/);
  });

  it('is refused with a token that was revoked, and one that has expired, which the agent says of its own', async () => {
    const { signer, giveToken, keys, tokenFile } = await world();
    const mine = signer();
    const key = await giveToken('a');
    await ask(mine);
    await keys.remove(key.id);
    await expect(ask(mine)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REFUSED',
      message: expect.stringMatching(/request authenticate failure$/),
    });
    await giveToken('a', 60_000, Date.now() - 120_000);
    await expect(ask(mine)).rejects.toThrow(`the token in ${tokenFile} expired at `);
    await giveToken('a');
    await ask(mine);
  });

  it('needs a token, and the file of it is named and never shown', async () => {
    const { signer, tokenFile } = await world();
    writeFileSync(tokenFile, 'two words of a secret\n');
    const failed = await ask(signer()).catch((error: unknown) => error);
    expect(failed).toMatchObject({
      code: 'ERR_IDENTITY_TOKEN_FILE',
      message: expect.stringContaining(tokenFile),
    });
    expect(JSON.stringify(failed)).not.toContain('secret');
    unlinkSync(tokenFile);
    await expect(ask(signer())).rejects.toMatchObject({
      code: 'ERR_IDENTITY_TOKEN_FILE',
      systemCode: 'ENOENT',
    });
  });

  it('is not asked of a server whose root is unknown, until the file of roots names it', async () => {
    const { signer, rootFile, authorityDirectory, directory } = await world();
    await openSelfSignedAuthority(join(directory, 'other'), { trustDomains });
    copyFileSync(join(directory, 'other', 'root-cert.pem'), rootFile);
    const mine = signer();
    await expect(ask(mine)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_SIGNER',
      message: expect.stringContaining(`does ${rootFile} hold the root of its authority?`),
    });
    copyFileSync(join(authorityDirectory, 'root-cert.pem'), rootFile);
    await expect
      .poll(() => ask(mine).then(() => 'signed', String), { timeout: 12_000, interval: 300 })
      .toBe('signed');
  }, 15_000);

  it('is not asked of a server of another name', async () => {
    const { signer } = await world();
    await ask(signer({ serverName: 'hadal-control-plane.hadal-system.svc' }));
    await expect(ask(signer({ serverName: 'elsewhere.example' }))).rejects.toMatchObject({
      code: 'ERR_IDENTITY_SIGNER',
    });
  });

  it('is not waited for without end when nobody answers', async () => {
    const { signer } = await world();
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as { port: number };
    const begun = Date.now();
    await expect(ask(signer({ address: `127.0.0.1:${port}`, timeoutMs: 400 }))).rejects.toMatchObject({
      code: 'ERR_IDENTITY_SIGNER',
    });
    await expect(
      ask(signer({ address: `127.0.0.1:${port}` }), identity, AbortSignal.timeout(300)),
    ).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(Date.now() - begun).toBeLessThan(3_000);
  });

  it('comes again soon after the control plane was away', async () => {
    const { signer, server, start, port } = await world();
    const mine = signer();
    await ask(mine);
    server.forceShutdown();
    await expect(ask(mine)).rejects.toThrow(
      /is the control plane running\?|dropped|closed|UNAVAILABLE|connection/i,
    );
    const again = await start(port);
    onTestFinished(() => again.server.forceShutdown());
    await expect.poll(() => ask(mine).then(() => 'signed', String), { timeout: 8_000 }).toBe('signed');
  }, 15_000);
});

describe('a request for a certificate', () => {
  it('is not read before it is known who asks', async () => {
    const caller = Promise.withResolvers<never>();
    const issuer = new CertificateIssuer({
      authority: { name: 'nobody', sign: () => Promise.reject(new Error('nobody signs')) },
      authenticate: () => caller.promise,
      authorizer: { mayIssue: () => Promise.resolve(false) },
      trustDomains,
      logger: silentLogger,
    });
    const server = new Server({ 'grpc.max_receive_message_length': 64 * 1024 ** 2 });
    addCertificateService(server, issuer);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    onTestFinished(() => session.destroy());
    onTestFinished(() => server.forceShutdown());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/istio.v1.auth.IstioCertificateService/CreateCertificate',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const bytes = 4 * 1024 ** 2;
    const frame = Buffer.alloc(5 + bytes);
    frame.writeUInt32BE(bytes, 1);
    stream.write(frame);
    const answered = new Promise<unknown>((resolve) => {
      stream.on(
        'response',
        (headers) => headers['grpc-status'] !== undefined && resolve(headers['grpc-status']),
      );
      stream.on('trailers', (trailers) => resolve(trailers['grpc-status']));
    });
    stream.resume();
    await sleep(500);
    // No more than HTTP/2's window of a stream that nobody reads.
    expect(session.socket.bytesWritten).toBeLessThan(1024 ** 2);
    caller.reject(new HadalError('ERR_IDENTITY_UNAUTHENTICATED', 'nobody'));
    expect(await answered).toBe('16');
  });
});

describe('a request without end', () => {
  it('of a caller that is known is refused by its length, before it is read', async () => {
    const { port, tokenFile } = await world();
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/istio.v1.auth.IstioCertificateService/CreateCertificate',
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`,
    });
    const bytes = 70_000;
    const frame = Buffer.alloc(5 + bytes, 'x');
    frame.writeUInt8(0, 0);
    frame.writeUInt32BE(bytes, 1);
    stream.end(frame);
    const answer = new Promise<{ code: unknown; message: unknown }>((resolve) => {
      const tell = (headers: Record<string, unknown>) => {
        if (headers['grpc-status'] === undefined) return;
        resolve({
          code: headers['grpc-status'],
          message: decodeURIComponent(String(headers['grpc-message'])),
        });
      };
      stream.on('response', tell);
      stream.on('trailers', tell);
    });
    stream.resume();
    expect(await answer).toEqual({
      code: '3',
      message: 'the signing request has 70000 bytes, more than 65536',
    });
  });
});

describe('the authority of a directory', () => {
  it('takes up a new root, then a new key, then drops the old root, without a restart', async () => {
    const { authority, authorityDirectory, directory, signer, certificate, rootFile } = await world();
    const fresh = join(directory, 'fresh');
    await openSelfSignedAuthority(fresh, { trustDomains });
    const old = readFileSync(join(authorityDirectory, 'root-cert.pem'), 'utf8');
    const next = readFileSync(join(fresh, 'root-cert.pem'), 'utf8');
    const mine = signer();
    const first = await ask(mine);
    expect(first.roots).toHaveLength(1);
    const firstServer = certificate.latest;

    // 1. Both roots are given out, the old one signs.
    writeFileSync(join(authorityDirectory, 'root-cert.pem'), old + next);
    await expect.poll(() => authority.status().roots.map(({ signs }) => signs)).toEqual([true, false]);
    const both = await ask(mine);
    expect(both.roots).toHaveLength(2);
    writeFileSync(rootFile, old + next);

    // 2. The new one signs. For a moment certificate and key do not fit; nothing is signed with that.
    copyFileSync(join(fresh, 'ca-cert.pem'), join(authorityDirectory, 'ca-cert.pem'));
    await authority.reload();
    expect(authority.status().error).toMatch(/ca-key.pem is not the key of ca-cert.pem/);
    expect((await ask(mine)).roots).toHaveLength(2);
    copyFileSync(join(fresh, 'cert-chain.pem'), join(authorityDirectory, 'cert-chain.pem'));
    copyFileSync(join(fresh, 'ca-key.pem'), join(authorityDirectory, 'ca-key.pem'));
    await expect.poll(() => authority.status().roots.map(({ signs }) => signs)).toEqual([false, true]);
    expect(authority.status().error).toBeUndefined();
    const switched = await ask(mine);
    // Whoever has both roots takes the certificates of before and after.
    const bundle = both.roots.map(String).join('');
    for (const leaf of [first, both, switched])
      expect(opensslVerify(String(leaf.chain[0]), [], bundle, 'sslclient')).toBe('OK');
    // The control plane's own certificate follows.
    await expect.poll(() => certificate.latest === firstServer).toBe(false);
    expect(opensslVerify(certificate.latest.certificate.toString(), [], next, 'sslserver')).toBe('OK');

    // 3. The old root is dropped.
    writeFileSync(join(authorityDirectory, 'root-cert.pem'), next);
    await expect.poll(() => authority.status().roots.length).toBe(1);
    expect((await ask(mine)).roots).toHaveLength(1);
    // A client that came with the new root alone is served as well.
    writeFileSync(rootFile, next);
    expect((await ask(signer())).roots).toHaveLength(1);
  });

  it('goes on with what it has when its files vanish or are nonsense', async () => {
    const { authority, authorityDirectory, signer } = await world();
    const mine = signer();
    writeFileSync(join(authorityDirectory, 'root-cert.pem'), 'nonsense');
    await authority.reload();
    expect(authority.status().error).toMatch(/root-cert.pem/);
    await ask(mine);
    rmSync(authorityDirectory, { recursive: true });
    await authority.reload();
    await ask(mine);
  });
});
