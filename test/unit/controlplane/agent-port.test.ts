/** The port for agents under strangers: real sockets and TLS, from many addresses of loopback, with agents beside them. */
import { writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { Client, type ClientDuplexStream, Metadata, status } from '@grpc/grpc-js';
import { type Logger, pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { startAgentPort } from '../../../src/controlplane/agent-port.ts';
import { ConnectionGate } from '../../../src/controlplane/connection-gate.ts';
import type { ConnectionLimits } from '../../../src/controlplane/connection-limits.ts';
import { Admission, type AdmissionLimits } from '../../../src/identity/admission.ts';
import { createAuthenticate } from '../../../src/identity/authenticate.ts';
import type { Authenticate } from '../../../src/identity/caller.ts';
import { controlPlaneCredentials } from '../../../src/identity/control-plane-channel.ts';
import { JoinKeys } from '../../../src/identity/join-keys.ts';
import { makeJoinToken } from '../../../src/identity/join-token.ts';
import { LiveAuthority } from '../../../src/identity/live-authority.ts';
import { ServerCertificate } from '../../../src/identity/server-certificate.ts';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../../src/proto/discovery.gen.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { DiscoveryServer } from '../../../src/xds/server.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { change, pod, uid } from '../xds/mesh.ts';

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

interface WorldOptions {
  readonly limits?: Partial<ConnectionLimits>;
  readonly calls?: Partial<AdmissionLimits>;
  readonly authenticate?: (real: Authenticate) => Authenticate;
  readonly logger?: Logger;
}

async function world({ limits = {}, calls = {}, authenticate = (real) => real, logger }: WorldOptions = {}) {
  const directory = temporaryDirectory();
  const trustDomains = ['cluster.local'];
  const authority = await LiveAuthority.open(
    join(directory, 'ca'),
    { trustDomains, selfSigned: true },
    silentLogger,
  );
  onTestFinished(() => authority.close());
  const names = { dnsNames: ['localhost'], addresses: ['127.0.0.1'] };
  const certificate = await ServerCertificate.issue(authority, { names, logger: silentLogger });
  onTestFinished(() => certificate.close());
  const keys = new JoinKeys(join(directory, 'keys'));
  const { token, key } = makeJoinToken('a', 60_000);
  await keys.add(key);
  const gate = new ConnectionGate({ limits, logger: logger ?? silentLogger });
  const admission = new Admission({
    authenticate: authenticate(createAuthenticate({ joinKeys: keys })),
    onKnown: (peer, caller) => gate.recognise(peer, caller),
    limits: calls,
  });
  const store = new ResourceStore();
  store.apply(change({ workloads: { upserts: [pod('a')] } }));
  const discovery = new DiscoveryServer({
    store,
    authenticate: admission.authenticate,
    logger: silentLogger,
  });
  const port = await startAgentPort({
    listen: '0.0.0.0:0',
    certificate,
    gate,
    services: [(server) => server.addService(DiscoveryServer.definition, discovery.handlers)],
  });
  onTestFinished(() => port.close());
  onTestFinished(() => discovery.close());
  const rootFile = join(directory, 'root.pem');
  writeFileSync(rootFile, authority.roots);

  /** An agent's stream: its first response, or how it ended. */
  const agent = (shown = token) => {
    const client = new Client(`127.0.0.1:${port.port}`, controlPlaneCredentials({ rootFile }), {
      'grpc.use_local_subchannel_pool': 1,
    });
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${shown}`);
    const call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
      client.makeBidiStreamRequest(
        path,
        (message: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(message).finish()),
        (bytes: Buffer) => DeltaDiscoveryResponse.decode(bytes),
        metadata,
      );
    onTestFinished(() => {
      call.cancel();
      client.close();
    });
    call.write(DeltaDiscoveryRequest.fromPartial({ node: { id: 'agent' }, typeUrl: addressType }));
    const ended = new Promise<number>((resolve) => {
      call.on('error', ({ code }: { code?: number }) => resolve(code ?? -1));
      call.on('end', () => resolve(status.OK));
    });
    const first = new Promise<string[]>((resolve) => {
      call.on('data', ({ resources }: DeltaDiscoveryResponse) => resolve(resources.map(({ name }) => name)));
    });
    return { call, ended, first: Promise.race([first, ended]), whole: first };
  };
  return { port: port.port, gate, admission, discovery, agent, rootFile };
}

interface Dialled {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  isClosed: boolean;
}

/** Opens connections that say nothing, and tells which have ended. */
async function dial(port: number, from: string, count: number, pauseMs = 0): Promise<Dialled[]> {
  const dialled: Dialled[] = [];
  for (let index = 0; index < count; index++) {
    const socket = connect({ host: '127.0.0.1', port, localAddress: from });
    socket.on('error', () => {});
    const one: Dialled = {
      socket,
      isClosed: false,
      closed: new Promise((resolve) => socket.on('close', () => resolve())),
    };
    void one.closed.then(() => {
      one.isClosed = true;
    });
    dialled.push(one);
    onTestFinished(() => void socket.destroy());
    if (pauseMs > 0) await sleep(pauseMs);
  }
  return dialled;
}

const openOf = (dialled: readonly Dialled[]) => dialled.filter(({ isClosed }) => !isClosed).length;

describe('a connection to the port for agents', () => {
  it('that shows nothing ends after a while; that of an agent stays', async () => {
    const { port, gate, agent } = await world({ limits: { strangerMs: 400 } });
    const { first, ended } = agent();
    expect(await first).toEqual([uid('a')]);
    const [silent] = await dial(port, '127.0.0.2', 1);
    const shaken = connectTls({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false });
    shaken.on('error', () => {});
    const idle = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    idle.on('error', () => {});
    onTestFinished(() => idle.destroy());
    const begun = performance.now();
    await Promise.all([
      silent?.closed,
      new Promise((resolve) => shaken.on('close', resolve)),
      new Promise((resolve) => idle.on('close', resolve)),
    ]);
    expect(performance.now() - begun).toBeLessThan(5_000);
    expect(gate.counts()).toMatchObject({
      open: { stranger: 0, guest: 0, agent: 1 },
      refused: { silent: 3, full: 0, address: 0 },
    });
    expect(await Promise.race([ended, sleep(200, 'it stays')])).toBe('it stays');
  });

  it('that opens stream after stream and is never known ends as one that says nothing', async () => {
    const { port, gate } = await world({ limits: { strangerMs: 500 } });
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    session.on('error', () => {});
    onTestFinished(() => session.destroy());
    const closed = new Promise((resolve) => session.on('close', resolve));
    const timer = setInterval(() => {
      if (session.closed || session.destroyed) return;
      const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc' };
      session
        .request({ ...headers, authorization: 'Bearer nonsense' })
        .on('error', () => {})
        .resume();
    }, 20);
    onTestFinished(() => clearInterval(timer));
    await closed;
    expect(gate.counts().refused.silent).toBe(1);
  });

  it('is one of few of its address, and an agent that shares the address still comes in', async () => {
    const { port, gate, agent } = await world({ limits: { perAddress: 10 } });
    const crowd = await dial(port, '127.0.0.1', 15);
    await expect.poll(() => openOf(crowd)).toBe(10);
    expect(gate.counts().open.stranger).toBeLessThanOrEqual(10);
    // The newest takes the place of the oldest that has shown nothing.
    const { first } = agent();
    expect(await first).toEqual([uid('a')]);
    expect(gate.counts()).toMatchObject({ open: { agent: 1 }, refused: { address: 6, rate: 0 } });
    expect(gate.counts().open.stranger).toBe(9);
  });

  it('comes no faster than its address may dial', async () => {
    const { port, gate } = await world({ limits: { perAddress: 10 } });
    const flood = await dial(port, '127.0.0.3', 200);
    await expect.poll(() => gate.counts().refused.rate).toBeGreaterThan(150);
    await expect.poll(() => openOf(flood)).toBeLessThanOrEqual(10);
    // Another address has nothing to do with it.
    const [other] = await dial(port, '127.0.0.4', 1);
    await sleep(100);
    expect(other?.isClosed).toBe(false);
  });

  it('comes from where agents have come from, however many addresses dial beside it', async () => {
    const { port, gate, agent } = await world({ limits: { newcomerBurst: 30, newcomersPerSecond: 0.1 } });
    expect(await agent().first).toEqual([uid('a')]);
    const crowd: Dialled[] = [];
    for (let index = 0; index < 50; index++) crowd.push(...(await dial(port, `127.0.2.${index + 1}`, 1)));
    await expect.poll(() => gate.counts().refused.rate).toBe(21);
    await expect.poll(() => openOf(crowd)).toBe(29);
    expect(await agent().first).toEqual([uid('a')]);
  });

  it('from where agents have come from takes the place of a stranger, however quick that one is', async () => {
    const { port, gate, agent } = await world({ limits: { strangers: 20, promptMs: 60_000 } });
    expect(await agent().first).toEqual([uid('a')]);
    for (let index = 0; index < 30; index++) await dial(port, `127.0.3.${index + 1}`, 1);
    await expect.poll(() => gate.counts()).toMatchObject({ open: { stranger: 20 }, refused: { full: 10 } });
    expect(await agent().first).toEqual([uid('a')]);
    expect(gate.counts().open).toMatchObject({ stranger: 19, agent: 2 });
  });

  it.each([
    ['a few addresses that have many each', 4, 6, 0],
    ['many addresses that have one each, and had time enough', 24, 1, 300],
  ])('is not kept from an agent by strangers of %s', async (_, addresses, each, waitMs) => {
    const { port, gate, agent } = await world({ limits: { strangers: 20, promptMs: 200 } });
    for (let index = 0; index < addresses; index++) await dial(port, `127.0.1.${index + 1}`, each);
    await expect.poll(() => gate.counts().open.stranger).toBe(20);
    await sleep(waitMs);
    const { first } = agent();
    expect(await first).toEqual([uid('a')]);
    expect(gate.counts().open).toMatchObject({ stranger: 19, agent: 1 });
    expect(gate.counts().refused.full).toBeGreaterThanOrEqual(5);
  });

  it('of strangers and guests takes no room of agents, and that of agents ends too', async () => {
    const { gate, agent } = await world({ limits: { agents: 2 } });
    const [one, two] = [agent(), agent()];
    expect(await one.first).toEqual([uid('a')]);
    expect(await two.first).toEqual([uid('a')]);
    expect(await agent().first).toBe(status.UNAVAILABLE);
    expect(gate.counts()).toMatchObject({ open: { agent: 2 }, refused: { full: 1 } });
    one.call.cancel();
  });

  it('of a pod that asks for its own certificate is a guest, and is kept no longer than it needs', async () => {
    const account = { namespace: 'shop', serviceAccount: 'front', pod: 'front-1', podUid: 'uid' };
    const guest = { node: 'a', isAgent: false, name: 'shop/front', account, expiresAt: undefined };
    const { gate, port } = await world({
      limits: { guestMs: 500, strangerMs: 60_000 },
      authenticate: () => async () => guest,
    });
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    session.on('error', () => {});
    onTestFinished(() => session.destroy());
    const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc' };
    session
      .request(headers)
      .on('error', () => {})
      .resume();
    await expect.poll(() => gate.counts().open).toEqual({ stranger: 0, guest: 1, agent: 0 });
    await expect
      .poll(() => gate.counts().open, { timeout: 4_000 })
      .toEqual({ stranger: 0, guest: 0, agent: 0 });
    // It has done nothing wrong.
    expect(gate.counts().refused.silent).toBe(0);
  });

  it('that is refused is a line of the log now and then, not each', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const { port, gate } = await world({ limits: { perAddress: 5 }, logger });
    for (const from of ['127.0.0.5', '127.0.0.6']) await dial(port, from, 100);
    await expect.poll(() => gate.counts().refused.rate).toBeGreaterThan(150);
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      {
        audit: true,
        address: expect.stringContaining('127.0.0.5'),
        msg: expect.stringContaining('HADAL_MAX_'),
      },
      { audit: true, address: expect.stringContaining('127.0.0.6') },
    ]);
  });
});

describe('a call that is not authenticated yet', () => {
  it('is one of few of its address, and keeps nobody else from it', async () => {
    const { port, admission, agent, discovery } = await world({
      calls: { perAddress: 5 },
      // As with an API server that does not answer; join tokens need none.
      authenticate: (real) => (metadata, signal, peer) =>
        metadata.get('authorization')[0] === 'Bearer slow'
          ? new Promise(() => {})
          : real(metadata, signal, peer),
    });
    const socket = connectTls({
      socket: connect({ host: '127.0.0.1', port, localAddress: '127.0.0.9' }),
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    const session = connectHttp2('https://localhost', { createConnection: () => socket });
    session.on('error', () => {});
    onTestFinished(() => session.destroy());
    const answers: unknown[] = [];
    for (let index = 0; index < 20; index++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        authorization: 'Bearer slow',
      });
      stream.on('error', () => {});
      stream.on('response', (headers) => answers.push(headers['grpc-status']));
      stream.on('trailers', (trailers) => answers.push(trailers['grpc-status']));
      stream.resume();
    }
    await expect
      .poll(() => answers.filter((code) => code === String(status.RESOURCE_EXHAUSTED)).length)
      .toBe(15);
    expect(admission.counts).toEqual({ open: 5, refused: 15 });
    expect(discovery.counters.refusedCalls.rate).toBe(15);
    expect(await agent().first).toEqual([uid('a')]);
    // Who leaves gives its place back.
    session.destroy();
    await expect.poll(() => admission.counts.open).toBe(0);
  });

  it('waits for an answer no longer than it may', async () => {
    const { agent } = await world({
      calls: { longestMs: 200 },
      authenticate: () => () => new Promise(() => {}),
    });
    expect(await agent().first).toBe(status.UNAVAILABLE);
  });
});
