import { join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import { LogRoot, silentLogger } from '../../../src/base/logger.ts';
import { createAuthenticate } from '../../../src/identity/authenticate.ts';
import { openSelfSignedAuthority } from '../../../src/identity/authority-directory.ts';
import type { Caller } from '../../../src/identity/caller.ts';
import { CertificateIssuer, type IssuerSettings } from '../../../src/identity/certificate-issuer.ts';
import { createCsr } from '../../../src/identity/csr.ts';
import { JoinKeys } from '../../../src/identity/join-keys.ts';
import { makeJoinToken } from '../../../src/identity/join-token.ts';
import { generateKey } from '../../../src/identity/keys.ts';
import { NodeAuthorizer } from '../../../src/identity/node-authorizer.ts';
import type { KnownPod, PodView } from '../../../src/identity/pod-view.ts';
import { ServiceAccountCallers, type TokenReview } from '../../../src/identity/service-account-caller.ts';
import { opensslVerify, temporaryDirectory } from './openssl.ts';

const trustDomains = ['cluster.local', 'old.local'];
const identityOf = (account: string, domain = 'cluster.local') => `spiffe://${domain}/ns/shop/sa/${account}`;

function podOf(name: string, node: string, shape: Partial<KnownPod> = {}): KnownPod {
  return {
    namespace: 'shop',
    name,
    uid: `uid-${name}`,
    node,
    serviceAccount: name,
    terminal: false,
    enrolled: true,
    ...shape,
  };
}

function viewOf(pods: readonly KnownPod[], live?: readonly KnownPod[] | Error): PodView & { reads: number } {
  const among = (list: readonly KnownPod[]) => ({
    pod: (namespace: string, name: string) =>
      list.find((pod) => pod.namespace === namespace && pod.name === name),
    podsOf: (namespace: string, account: string) =>
      list.filter((pod) => pod.namespace === namespace && pod.serviceAccount === account),
  });
  const view: PodView & { reads: number } = { ...among(pods), reads: 0 };
  if (live === undefined) return view;
  const answer = <T>(make: (list: readonly KnownPod[]) => T): Promise<T> => {
    view.reads += 1;
    return live instanceof Error ? Promise.reject(live) : Promise.resolve(make(live));
  };
  return Object.assign(view, {
    live: {
      pod: (namespace: string, name: string) => answer((list) => among(list).pod(namespace, name)),
      podsOf: (namespace: string, account: string) =>
        answer((list) => among(list).podsOf(namespace, account)),
    },
  });
}

/** An issuer with node tokens for a and b, its log, and a way to ask it. */
async function world(view: PodView, settings: Partial<IssuerSettings> = {}) {
  const directory = temporaryDirectory();
  const authority = await openSelfSignedAuthority(join(directory, 'ca'), {
    trustDomains,
    maxLifetimeMs: 3_600_000,
  });
  const keys = new JoinKeys(join(directory, 'keys'));
  const tokens = new Map<string, string>();
  for (const [name, node, lifetimeMs] of [
    ['a', 'a', 60_000],
    ['b', 'b', 60_000],
    ['expired', 'a', -60_000],
  ] as const) {
    const { token, key } = makeJoinToken(
      node,
      Math.abs(lifetimeMs),
      Date.now() + Math.min(0, lifetimeMs * 2),
    );
    await keys.add(key);
    tokens.set(name, token);
  }
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(...chunk.toString('utf8').split('\n').filter(Boolean));
      done();
    },
  });
  const logger = new LogRoot({ destination, format: 'json' }).scope('ca');
  const issuer = new CertificateIssuer({
    authority,
    authenticate: createAuthenticate({ joinKeys: keys }),
    authorizer: new NodeAuthorizer({ pods: view, trustDomains, logger }),
    trustDomains,
    logger,
    ...settings,
  });
  const ask = async (
    token: string,
    identity: string,
    options: { csrFor?: string; fields?: object; seconds?: number } = {},
  ) => {
    const csr = await createCsr(options.csrFor ?? identity, await generateKey());
    const metadata = { get: () => [`Bearer ${tokens.get(token) ?? token}`] };
    const fields = { ImpersonatedIdentity: identity, ...options.fields };
    const call = { csr, validityDuration: options.seconds ?? 60, fields };
    return issuer.issue(
      () => Promise.resolve(call),
      metadata,
      'ipv4:10.0.0.7:4711',
      AbortSignal.timeout(5_000),
    );
  };
  const audit = () =>
    lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ audit }) => audit === true);
  onTestFinished(() => {
    // Whatever happened in a test: no token and no request is in the log.
    for (const token of tokens.values())
      for (const part of token.split('.')) expect(lines.join()).not.toContain(part);
    expect(lines.join()).not.toContain('CERTIFICATE REQUEST');
  });
  return { issuer, ask, audit, tokens };
}

describe('a node', () => {
  const pods = [
    podOf('front', 'a'),
    podOf('back', 'b'),
    podOf('done', 'a', { terminal: true }),
    podOf('outside', 'a', { enrolled: false }),
    podOf('pending', ''),
  ];

  it.each(['cluster.local', 'old.local'])(
    'gets a certificate of trust domain %s for a pod of its own',
    async (domain) => {
      const { issuer, ask, audit } = await world(viewOf(pods));
      const chain = await ask('a', identityOf('front', domain));
      expect(opensslVerify(chain[0] ?? '', chain.slice(1, -1), chain.at(-1) ?? '', 'sslclient')).toBe('OK');
      expect(audit()).toMatchObject([
        { level: 'info', node: 'a', identity: identityOf('front', domain), address: '10.0.0.7' },
      ]);
      expect(issuer.counts()).toMatchObject({ issued: 1, refused: { identity: 0 } });
    },
  );

  it.each([
    ['that lives on another node only', identityOf('back'), /no pod of this service account runs on node a/],
    ['that nobody has', identityOf('nobody'), /no pod of this service account runs on node a/],
    ['whose pod has ended', identityOf('done'), /has ended/],
    ['whose pod is not in the mesh', identityOf('outside'), /is not in the mesh/],
    ['whose pod is on no node yet', identityOf('pending'), /no pod of this service account runs on node a/],
    ['of another trust domain', identityOf('front', 'evil.example'), /trust domain/],
    ['of another form', 'spiffe://cluster.local/ns/shop', /no SPIFFE id/],
  ])('is refused a certificate %s, with an audit line', async (_, identity, why) => {
    const { issuer, ask, audit } = await world(viewOf(pods));
    const failed = await ask('a', identity).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
    expect(String(failed)).toMatch(/^HadalError: request impersonation authentication failure: node a .* /);
    expect(String(failed)).toMatch(why);
    expect(String(failed)).toContain(identity);
    expect(audit()).toMatchObject([
      { level: 'warn', node: 'a', identity, reason: 'identity', address: '10.0.0.7' },
    ]);
    expect(issuer.counts()).toMatchObject({ issued: 0, refused: { identity: 1 } });
  });

  it('hears nothing of where else an identity lives', async () => {
    const { ask } = await world(viewOf(pods));
    const words = async (account: string) =>
      String(await ask('a', identityOf(account)).catch((error: unknown) => error)).replaceAll(account, 'x');
    expect(await words('back')).toBe(await words('nobody'));
  });

  it('gets it when the source itself knows the pod already, and hears that a retry may help when not', async () => {
    const view = viewOf([], [podOf('new', 'a')]);
    const { ask } = await world(view);
    expect(await ask('a', identityOf('new'))).toHaveLength(2);
    await expect(ask('b', identityOf('new'))).rejects.toThrow(/a retry may help/);
    expect(view.reads).toBe(2);
  });

  it('is refused while the source does not answer, and hears that', async () => {
    const { ask } = await world(viewOf([podOf('front', 'a')], new Error('connection refused')));
    await expect(ask('a', identityOf('new'))).rejects.toThrow(/its source does not answer; a retry may help/);
    // What is known needs no source.
    expect(await ask('a', identityOf('front'))).toHaveLength(2);
  });

  it('cannot make the control plane ask the source without end', async () => {
    const view = viewOf([], []);
    const { ask } = await world(view, {
      authorizer: new NodeAuthorizer({
        pods: view,
        trustDomains,
        logger: silentLogger,
        liveReads: { perSecond: 0.001, burst: 3 },
      }),
    });
    for (let n = 0; n < 6; n++) await ask('a', identityOf('new')).catch(() => {});
    expect(view.reads).toBe(3);
    // Another node is not its victim.
    await ask('b', identityOf('new')).catch(() => {});
    expect(view.reads).toBe(4);
  });

  it('is refused when the request names another identity than its CSR', async () => {
    const { ask, audit } = await world(viewOf(pods));
    await expect(ask('a', identityOf('front'), { csrFor: identityOf('back') })).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REFUSED',
    });
    expect(audit()).toMatchObject([{ reason: 'identity', identity: identityOf('front') }]);
  });

  it.each([
    ['no identity', { ImpersonatedIdentity: undefined }],
    ['an identity that is no text', { ImpersonatedIdentity: 7 }],
    ['an identity without end', { ImpersonatedIdentity: `spiffe://${'a'.repeat(5_000)}` }],
  ])('is refused with %s', async (_, fields) => {
    const { ask, audit } = await world(viewOf(pods));
    await expect(ask('a', identityOf('front'), { fields })).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REQUEST',
    });
    expect(audit()).toMatchObject([{ reason: 'request', node: 'a' }]);
  });

  it('that asks too often is told so, in one line of the log for many calls', async () => {
    const { issuer, ask, audit } = await world(viewOf(pods), { requests: { perSecond: 0.001, burst: 2 } });
    for (let n = 0; n < 2; n++) expect(await ask('a', identityOf('front'))).toHaveLength(2);
    for (let n = 0; n < 3; n++)
      await expect(ask('a', identityOf('front'))).rejects.toMatchObject({ code: 'ERR_IDENTITY_RATE' });
    expect(audit().filter(({ reason }) => reason === 'rate')).toHaveLength(1);
    expect(issuer.counts().refused.rate).toBe(3);
    expect(await ask('b', identityOf('back'))).toHaveLength(2);
  });

  it('that shows one token after the other is refused without a look at them', async () => {
    let looks = 0;
    const { ask, audit } = await world(viewOf(pods), {
      strangers: { perSecond: 0.001, burst: 3 },
      authenticate: () => {
        looks += 1;
        return Promise.reject(new HadalError('ERR_IDENTITY_UNAUTHENTICATED', 'no such token'));
      },
    });
    for (let n = 0; n < 3; n++)
      await expect(ask(`t${n}`, identityOf('front'))).rejects.toMatchObject({
        code: 'ERR_IDENTITY_UNAUTHENTICATED',
      });
    for (let n = 0; n < 3; n++)
      await expect(ask(`u${n}`, identityOf('front'))).rejects.toMatchObject({ code: 'ERR_IDENTITY_RATE' });
    expect(looks).toBe(3);
    expect(audit()).toHaveLength(4);
  });

  it('gets no longer life than the authority gives', async () => {
    const { ask } = await world(viewOf(pods));
    const [leaf = ''] = await ask('a', identityOf('front'), { seconds: 10 * 365 * 86_400 });
    const { X509Certificate } = await import('node:crypto');
    expect(new X509Certificate(leaf).validToDate.getTime()).toBeLessThanOrEqual(Date.now() + 3_600_000);
  });
});

describe('a token', () => {
  it.each([
    ['that has expired', 'expired'],
    ['that is none', 'nonsense'],
    ['of a key that nobody knows', makeJoinToken('a', 60_000).token],
  ])('%s is refused in words that tell nothing, with an audit line', async (_, token) => {
    const { issuer, ask, audit } = await world(viewOf([podOf('front', 'a')]));
    await expect(ask(token, identityOf('front'))).rejects.toMatchObject({
      code: 'ERR_IDENTITY_UNAUTHENTICATED',
      message: 'request authenticate failure',
    });
    expect(audit()).toMatchObject([{ level: 'warn', reason: 'unauthenticated', address: '10.0.0.7' }]);
    expect(issuer.counts()).toMatchObject({ issued: 0, refused: { unauthenticated: 1 } });
  });

  it('of another node is of no use for the pods of this one', async () => {
    const { ask } = await world(viewOf([podOf('front', 'a')]));
    await expect(ask('b', identityOf('front'))).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });
});

describe('a service account', () => {
  const agent = podOf('agent', 'a', { namespace: 'hadal-system', serviceAccount: 'hadal-agent' });
  const good: TokenReview = {
    authenticated: true,
    username: 'system:serviceaccount:hadal-system:hadal-agent',
    audiences: ['istio-ca'],
    extra: {
      'authentication.kubernetes.io/pod-name': ['agent'],
      'authentication.kubernetes.io/pod-uid': ['uid-agent'],
    },
  };

  async function accountWorld(
    review: TokenReview | Error,
    pods: readonly KnownPod[] = [agent, podOf('front', 'a'), podOf('back', 'b')],
  ) {
    const view = viewOf(pods);
    let reviews = 0;
    const serviceAccounts = new ServiceAccountCallers({
      reviewer: {
        review: async () => {
          reviews += 1;
          if (review instanceof Error) throw review;
          return review;
        },
      },
      pods: view,
      nodeAccounts: ['hadal-system/hadal-agent'],
    });
    const made = await world(view, { authenticate: createAuthenticate({ serviceAccounts }) });
    return { ...made, reviews: () => reviews };
  }

  it('of an agent gets what pods of its own node have, and the API server is asked once', async () => {
    const { ask, audit, reviews } = await accountWorld(good);
    expect(await ask('some-token', identityOf('front'))).toHaveLength(2);
    await expect(ask('some-token', identityOf('back'))).rejects.toThrow(/node a may not/);
    expect(reviews()).toBe(1);
    expect(audit()).toMatchObject([
      { caller: 'hadal-system/hadal-agent in pod agent', node: 'a' },
      { reason: 'identity', node: 'a', identity: identityOf('back') },
    ]);
  });

  it('of anybody else gets its own identity and no other', async () => {
    const review = {
      ...good,
      username: 'system:serviceaccount:shop:front',
      extra: {
        'authentication.kubernetes.io/pod-name': ['front'],
        'authentication.kubernetes.io/pod-uid': ['uid-front'],
      },
    };
    const { ask } = await accountWorld(review, [podOf('front', 'a'), podOf('beside', 'a')]);
    expect(await ask('t', identityOf('front'))).toHaveLength(2);
    expect(await ask('t', identityOf('front'), { fields: { ImpersonatedIdentity: undefined } })).toHaveLength(
      2,
    );
    await expect(ask('t', identityOf('beside'))).rejects.toThrow(/its own identity only/);
    await expect(
      ask('t', identityOf('beside'), { fields: { ImpersonatedIdentity: undefined } }),
    ).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });

  const podName = 'authentication.kubernetes.io/pod-name';
  it.each<[string, Partial<TokenReview>, (readonly KnownPod[])?]>([
    ['that the API server does not know', { authenticated: false, error: 'expired' }],
    ['for another audience', { audiences: ['https://kubernetes.default.svc'] }],
    ['for no audience', { audiences: [] }],
    ['of a user', { username: 'admin' }],
    ['of a node', { username: 'system:node:a' }],
    ['that is bound to no pod', { extra: {} }],
    ['whose pod is gone', {}, []],
    ['whose pod was replaced by one of its name', {}, [{ ...agent, uid: 'other' }]],
    ['whose pod runs as somebody else', {}, [{ ...agent, serviceAccount: 'default' }]],
    ['whose pod has ended', {}, [{ ...agent, terminal: true }]],
    ['whose pod is on no node', {}, [{ ...agent, node: '' }]],
    [
      'of another node than its pod',
      { extra: { ...good.extra, 'authentication.kubernetes.io/node-name': ['b'] } },
    ],
    ['with two pods', { extra: { ...good.extra, [podName]: ['agent', 'front'] } }],
  ])('with a token %s is refused', async (_, change, pods) => {
    const { ask, audit } = await accountWorld({ ...good, ...change }, pods);
    await expect(ask('some-token', identityOf('front'))).rejects.toMatchObject({
      code: 'ERR_IDENTITY_UNAUTHENTICATED',
      message: 'request authenticate failure',
    });
    expect(audit()).toMatchObject([{ reason: 'unauthenticated' }]);
  });

  it('is told to try again while the API server is away', async () => {
    const { ask, audit } = await accountWorld(new Error('connection refused'));
    await expect(ask('t', identityOf('front'))).rejects.toMatchObject({
      code: 'ERR_IDENTITY_REVIEWER',
      message: /retry/,
    });
    expect(audit()).toMatchObject([
      { reason: 'unavailable', why: expect.stringMatching(/connection refused/) },
    ]);
  });
});

describe('a pod that asks for itself', () => {
  const account = { namespace: 'shop', serviceAccount: 'front', pod: 'front', podUid: 'uid-front' };
  const guest: Caller = { node: 'a', isAgent: false, name: 'shop/front', account, expiresAt: undefined };
  const agent: Caller = { node: 'a', isAgent: true, name: 'agent', account: undefined, expiresAt: undefined };
  const metadata = { get: () => [] };
  const call = { csr: 'x', validityDuration: 60, fields: { ImpersonatedIdentity: identityOf('other') } };
  const peer = '10.0.0.7:1';

  it('has a few calls open at a time, however slowly it sends, and takes none from its agent', async () => {
    let who = guest;
    const { issuer } = await world(viewOf([podOf('front', 'a')]), { authenticate: async () => who });
    const slow = Promise.withResolvers<typeof call>();
    const ask = (read: () => Promise<typeof call>) =>
      issuer.issue(read, metadata, peer, AbortSignal.timeout(5_000)).catch((error: unknown) => error);
    const open = [1, 2, 3, 4].map(() => ask(() => slow.promise));
    await new Promise(setImmediate);
    let isRead = false;
    const fifth = ask(async () => {
      isRead = true;
      return call;
    });
    expect(await fifth).toMatchObject({ code: 'ERR_IDENTITY_RATE' });
    expect(isRead).toBe(false);
    who = agent;
    expect(await ask(async () => call)).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
    who = guest;
    slow.resolve(call);
    // They are read now, and ask for somebody else.
    for (const each of await Promise.all(open)) expect(each).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
    expect(await ask(async () => call)).toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });

  it('uses up none of the looks at the source that its agent has', async () => {
    const view = viewOf([], [podOf('late', 'a')]);
    const liveReads = { perSecond: 0.001, burst: 1 };
    const authorizer = new NodeAuthorizer({ pods: view, trustDomains, logger: silentLogger, liveReads });
    for (const reads of [1, 1, 1]) {
      expect(await authorizer.mayIssue(identityOf('front'), guest)).toMatchObject({ retry: true });
      expect(view.reads).toBe(reads);
    }
    expect(await authorizer.mayIssue(identityOf('late'), agent)).toBe(true);
    expect(view.reads).toBe(2);
  });
});
