/** Questions about tokens as an API server gets them: a server with TLS that counts, answers late, and notices who leaves. */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  ServiceAccountCallers,
  type ServiceAccountSettings,
} from '../../../src/identity/service-account-caller.ts';
import { ApiClient } from '../../../src/source/api-server/api-client.ts';
import { createTokenReviewer } from '../../../src/source/api-server/token-review.ts';
import { opensslAuthority } from './openssl.ts';

const extra = {
  'authentication.kubernetes.io/pod-name': ['agent'],
  'authentication.kubernetes.io/pod-uid': ['uid'],
};
const pod = {
  namespace: 'hadal-system',
  name: 'agent',
  uid: 'uid',
  node: 'a',
  serviceAccount: 'hadal-agent',
  terminal: false,
  enrolled: false,
};

/** As Kubernetes writes them, as far as anybody here reads it. */
function tokenOf(name: string, expiresAt = Date.now() + 3_600_000): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ sub: name, exp: Math.floor(expiresAt / 1000) })}.c2ln`;
}

async function apiServer(delayMs: number) {
  const { key, certificate: cert } = opensslAuthority('api server');
  const seen = { reviews: 0, atOnce: 0, most: 0, left: 0, sockets: 0, mostSockets: 0, order: [] as string[] };
  const server = createServer({ key, cert }, async (request, response) => {
    seen.reviews += 1;
    seen.atOnce += 1;
    seen.most = Math.max(seen.most, seen.atOnce);
    response.on('close', () => {
      seen.atOnce -= 1;
      if (!response.writableEnded) seen.left += 1;
    });
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { spec } = JSON.parse(text) as { spec: { token: string } };
    const { sub } = JSON.parse(Buffer.from(spec.token.split('.')[1] ?? '', 'base64url').toString());
    seen.order.push(sub);
    await sleep(delayMs);
    const user = { username: 'system:serviceaccount:hadal-system:hadal-agent', extra };
    const known = { authenticated: true, user, audiences: ['istio-ca'] };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ status: sub === 'bad' ? { authenticated: false } : known }));
  });
  server.on('secureConnection', (socket) => {
    seen.sockets += 1;
    seen.mostSockets = Math.max(seen.mostSockets, seen.sockets);
    socket.on('close', () => {
      seen.sockets -= 1;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'c', server: `https://127.0.0.1:${port}`, skipTLSVerify: true }],
    users: [{ name: 'u', token: 't' }],
    contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
    currentContext: 'x',
  });
  const api = new ApiClient(config);
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  onTestFinished(stop);
  onTestFinished(() => api.close());
  const callers = (settings: Partial<ServiceAccountSettings> = {}) =>
    new ServiceAccountCallers({
      reviewer: createTokenReviewer(api),
      pods: { pod: () => pod, podsOf: () => [pod] },
      nodeAccounts: ['hadal-system/hadal-agent'],
      ...settings,
    });
  return { seen, callers, api, stop };
}

const signal = () => AbortSignal.timeout(10_000);

describe('questions about tokens', () => {
  it('are so many at a time, and the others wait for their turn', async () => {
    const { seen, callers } = await apiServer(20);
    const asked = callers({ questions: { parallel: 4 } });
    const all = Array.from({ length: 60 }, (_, index) =>
      asked.authenticate(tokenOf(`t${index}`), signal(), `10.0.0.${index % 6}`),
    );
    await sleep(30);
    expect(asked.questions.running).toBe(4);
    expect(await Promise.all(all)).toHaveLength(60);
    expect(seen).toMatchObject({ reviews: 60, most: 4 });
    expect(asked.questions).toEqual({ running: 0, waiting: 0 });
  });

  it('of an address that asks much let another have its turn, and have an end', async () => {
    const { seen, callers } = await apiServer(50);
    const asked = callers({ questions: { parallel: 1, waiting: 100, perAsker: 10 } });
    const flood = Array.from({ length: 50 }, (_, index) =>
      asked.authenticate(tokenOf(`flood${index}`), signal(), '10.0.0.66').catch((error: unknown) => error),
    );
    await asked.authenticate(tokenOf('agent'), signal(), '10.0.0.1');
    // One was under way when it came, one more may have been next.
    expect(seen.order.indexOf('agent')).toBeLessThanOrEqual(2);
    const refused = (await Promise.all(flood)).filter((each) => each instanceof Error);
    expect(refused).toHaveLength(40);
    expect(refused[0]).toMatchObject({
      code: 'ERR_QUEUE_FULL',
      message: expect.stringMatching(/10\.0\.0\.66 has 10 questions open, .*; ask again later/),
    });
  });

  it('are one for the same token at a time, which goes on for those who stay and ends when all have left', async () => {
    const { seen, callers } = await apiServer(150);
    const asked = callers();
    const token = tokenOf('agent');
    const leaving = new AbortController();
    const first = asked.authenticate(token, leaving.signal, '10.0.0.1').catch((error: unknown) => error);
    const others = Array.from({ length: 20 }, () => asked.authenticate(token, signal(), '10.0.0.1'));
    await sleep(30);
    leaving.abort(new Error('gone'));
    expect(await first).toMatchObject({ code: 'ERR_ABORTED' });
    expect(new Set((await Promise.all(others)).map(({ name }) => name)).size).toBe(1);
    expect(seen).toMatchObject({ reviews: 1, left: 0 });

    const both = [new AbortController(), new AbortController()];
    const gone = both.map((each) => asked.authenticate(tokenOf('other'), each.signal, '10.0.0.1'));
    await expect.poll(() => seen.reviews).toBe(2);
    for (const each of both) each.abort(new Error('gone'));
    for (const each of gone) await expect(each).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await expect.poll(() => seen.left).toBe(1);
    await expect.poll(() => asked.questions).toEqual({ running: 0, waiting: 0 });
  });

  it('are asked again when the token has ended by its own words, and never later than the short limit', async () => {
    const { seen, callers } = await apiServer(0);
    let time = Date.now();
    const asked = callers({ now: () => time, cacheMs: 30_000 });
    const short = tokenOf('short', time + 10_000);
    const long = tokenOf('long', time + 3_600_000);
    const ask = async (token: string, afterMs: number) => {
      time += afterMs;
      const { expiresAt } = await asked.authenticate(token, signal(), '10.0.0.1');
      return { expiresAt, reviews: seen.reviews };
    };
    expect(await ask(short, 0)).toMatchObject({ reviews: 1 });
    expect(await ask(short, 5_000)).toMatchObject({ reviews: 1 });
    expect(await ask(short, 6_000)).toMatchObject({ reviews: 2 });
    expect(await ask(long, 0)).toMatchObject({ reviews: 3 });
    expect(await ask(long, 29_000)).toMatchObject({ reviews: 3 });
    // And says of the caller for how long it is known.
    const { expiresAt = 0, reviews } = await ask(long, 2_000);
    expect(reviews).toBe(4);
    expect(Math.abs(expiresAt - (Date.now() + 3_600_000))).toBeLessThan(10_000);
  });

  it('that are answered with no are not remembered as yes, and no answer is no refusal', async () => {
    const { seen, callers, stop } = await apiServer(0);
    const asked = callers();
    for (const reviews of [1, 2]) {
      await expect(asked.authenticate(tokenOf('bad'), signal(), '10.0.0.1')).rejects.toMatchObject({
        code: 'ERR_IDENTITY_UNAUTHENTICATED',
      });
      expect(seen.reviews).toBe(reviews);
    }
    stop();
    await expect(asked.authenticate(tokenOf('t'), signal(), '10.0.0.1')).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REVIEWER',
    });
  });

  it('and whatever else is asked of the API server share few connections', async () => {
    const { seen, api } = await apiServer(600);
    const reviewer = createTokenReviewer(api);
    const many = Array.from({ length: 128 }, (_, index) =>
      reviewer.review(tokenOf(`t${index}`), ['istio-ca'], signal()),
    );
    expect(await Promise.all(many)).toHaveLength(128);
    expect(seen.reviews).toBe(128);
    expect(Math.max(seen.most, seen.mostSockets)).toBe(64);
    await expect.poll(() => seen.sockets).toBeLessThanOrEqual(8);
  });
});
