/** Tokens of service accounts, made by TokenRequest and judged by TokenReview, as the certificate authority does. */
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.ts';
import { NodeAuthorizer } from '../../src/identity/node-authorizer.ts';
import type { PodView } from '../../src/identity/pod-view.ts';
import { ServiceAccountCallers } from '../../src/identity/service-account-caller.ts';
import { createLivePods } from '../../src/source/api-server/live-pods.ts';
import { createTokenReviewer } from '../../src/source/api-server/token-review.ts';
import { requestToken, type TokenWish } from './accounts.ts';
import {
  create,
  describeWithApiServer,
  eventually,
  newNamespace,
  pod,
  remove,
  type Stored,
  uniqueName,
} from './world.ts';

const audiences = ['istio-ca'];

describeWithApiServer('a service account token', (world) => {
  const node = 'node-a';
  let namespace = '';
  let agent: Stored | undefined;
  const signal = () => AbortSignal.timeout(10_000);

  beforeAll(async () => {
    namespace = await newNamespace(world.admin, { 'istio.io/dataplane-mode': 'ambient' });
    agent = await newPod(node);
  });

  function newPod(nodeName: string): Promise<Stored> {
    return create<Stored>(world.admin, pod(namespace, uniqueName('pod'), { node: nodeName }));
  }

  function boundTo({ metadata: { name, uid } }: Stored): TokenWish {
    return { audiences, boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, uid } };
  }

  function callers(pods: Partial<PodView> = {}): ServiceAccountCallers {
    return new ServiceAccountCallers({
      reviewer: createTokenReviewer(world.admin),
      pods: { pod: () => undefined, podsOf: () => [], live: createLivePods(world.admin), ...pods },
      nodeAccounts: [`${namespace}/default`],
    });
  }

  function agentPod(): Stored {
    if (agent === undefined) throw new Error('there is no pod');
    return agent;
  }

  it('of a pod says who it is, and on which node', async () => {
    const token = await requestToken(world.admin, namespace, 'default', boundTo(agentPod()));
    const { name, uid } = agentPod().metadata;
    expect(await callers().authenticate(token, signal(), '10.0.0.1')).toMatchObject({
      node,
      isAgent: true,
      account: { namespace, serviceAccount: 'default', pod: name, podUid: uid },
    });
  });

  it('says until when it proves anything, and is believed no longer', async () => {
    const wish = { ...boundTo(agentPod()), expirationSeconds: 600 };
    const { expiresAt = 0 } = await callers().authenticate(
      await requestToken(world.admin, namespace, 'default', wish),
      signal(),
      '10.0.0.1',
    );
    expect(expiresAt).toBeGreaterThan(Date.now() + 500_000);
    expect(expiresAt).toBeLessThan(Date.now() + 700_000);
  });

  it('for another audience is refused', async () => {
    const token = await requestToken(world.admin, namespace, 'default', {
      ...boundTo(agentPod()),
      audiences: ['vault'],
    });
    await expect(callers().authenticate(token, signal(), '10.0.0.1')).rejects.toThrow(
      /does not know the token/,
    );
  });

  it('that has ended is refused, by the API server too', async () => {
    const token = expired(await requestToken(world.admin, namespace, 'default', boundTo(agentPod())));
    const review = await createTokenReviewer(world.admin).review(token, audiences, signal());
    expect(review).toMatchObject({ authenticated: false, error: expect.stringContaining('expired') });
    await expect(callers().authenticate(token, signal(), '10.0.0.1')).rejects.toThrow(/the token ended at/);
  });

  it('with a wrong signature is refused', async () => {
    const token = await requestToken(world.admin, namespace, 'default', boundTo(agentPod()));
    const wrong = `${token.slice(0, -8)}AAAAAAAA`;
    await expect(callers().authenticate(wrong, signal(), '10.0.0.1')).rejects.toThrow(
      /does not know the token/,
    );
  });

  it('that is bound to no pod is refused', async () => {
    const token = await requestToken(world.admin, namespace, 'default', { audiences });
    await expect(callers().authenticate(token, signal(), '10.0.0.1')).rejects.toThrow(/is bound to no pod/);
  });

  it('of a pod that is gone is refused: a stolen one does not outlive its pod', async () => {
    const gone = await newPod(node);
    const token = await requestToken(world.admin, namespace, 'default', boundTo(gone));
    await callers().authenticate(token, signal(), '10.0.0.1');
    await remove(world.admin, gone);
    // The API server itself believes in the pod for some seconds more; the live read does not.
    await expect(callers().authenticate(token, signal(), '10.0.0.1')).rejects.toThrow(
      /there is no such pod|does not know the token/,
    );
  });

  it('of a pod that is no agent gets its own certificate while that very pod lives, in the mesh or not', async () => {
    const outside = await newNamespace(world.admin);
    const own = `spiffe://cluster.local/ns/${outside}/sa/default`;
    const authorizer = new NodeAuthorizer({
      // As of a control plane whose watch has not told of anything yet.
      pods: { pod: () => undefined, podsOf: () => [], live: createLivePods(world.admin) },
      trustDomains: ['cluster.local'],
      logger: silentLogger,
    });
    const made = () => create<Stored>(world.admin, pod(outside, 'one', { node }));
    const may = async ({ metadata: { uid } }: Stored, identity = own) => {
      const account = { namespace: outside, serviceAccount: 'default', pod: 'one', podUid: uid };
      const caller = { node, isAgent: false, name: 'one', account, expiresAt: undefined };
      return authorizer.mayIssue(identity, caller, signal());
    };
    const first = await made();
    expect(await may(first)).toBe(true);
    expect(await may(first, `spiffe://cluster.local/ns/${namespace}/sa/default`)).toMatchObject({
      why: 'one may ask for its own identity only',
    });
    await remove(world.admin, first);
    const gone = { why: `its pod ${outside}/one with uid ${first.metadata.uid} is not there`, retry: true };
    expect(await may(first)).toEqual(gone);
    // Another one of its name is not the one that the token was made for.
    const second = await made();
    expect(await may(first)).toEqual(gone);
    expect(await may(second)).toBe(true);
    const path = `/api/v1/namespaces/${outside}/pods/one/status`;
    await world.admin.request({ method: 'PATCH', path, body: { status: { phase: 'Succeeded' } } });
    expect(await may(second)).toEqual({ why: `its pod ${outside}/one has ended`, retry: false });
    // An agent gets nothing for a pod that is not in the mesh, not even for one of its node.
    const agent = { node, isAgent: true, name: 'agent', account: undefined, expiresAt: undefined };
    await create(world.admin, pod(outside, 'other', { node }));
    expect(await authorizer.mayIssue(own, agent, signal())).toMatchObject({
      why: expect.stringMatching(/is not in the mesh|has ended/),
    });
  });

  it('is no reason to refuse anybody when the API server cannot be asked: that is another error', async () => {
    const token = await requestToken(world.admin, namespace, 'default', boundTo(agentPod()));
    const aborted = callers().authenticate(token, AbortSignal.abort(new Error('too late')), '10.0.0.1');
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  it('of a pod that no watch has told of is good at once, by a live read', async () => {
    const fresh = await newPod('node-b');
    const live = createLivePods(world.admin);
    expect(await live.pod(namespace, fresh.metadata.name, signal())).toMatchObject({
      uid: fresh.metadata.uid,
      node: 'node-b',
      serviceAccount: 'default',
      terminal: false,
      enrolled: true,
    });
    const found = [...(await live.podsOf(namespace, 'default', signal()))];
    expect(found.map(({ name }) => name)).toContain(fresh.metadata.name);
    expect([...(await live.podsOf(namespace, 'nobody', signal()))]).toEqual([]);
    expect(await live.pod(namespace, 'absent', signal())).toBeUndefined();
  });

  it('is not asked about again while the answer is fresh', async () => {
    const token = await requestToken(world.admin, namespace, 'default', boundTo(agentPod()));
    const reviewer = createTokenReviewer(world.admin);
    let reviews = 0;
    const counted = new ServiceAccountCallers({
      reviewer: {
        review: (...args) => {
          reviews += 1;
          return reviewer.review(...args);
        },
      },
      pods: { pod: () => undefined, podsOf: () => [], live: createLivePods(world.admin) },
      nodeAccounts: [],
    });
    await counted.authenticate(token, signal(), '10.0.0.1');
    await counted.authenticate(token, signal(), '10.0.0.1');
    expect(reviews).toBe(1);
    await eventually(() => reviews === 1, 'it stays so');
  });

  /** The same token, an hour ago: the API server makes none that last less than ten minutes. */
  function expired(token: string): string {
    const [head = '', body = ''] = token.split('.');
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, number>;
    const past = Object.fromEntries(
      ['exp', 'iat', 'nbf'].map((claim) => [claim, (claims[claim] ?? 0) - 86_400]),
    );
    const payload = `${head}.${Buffer.from(JSON.stringify({ ...claims, ...past })).toString('base64url')}`;
    const key = createPrivateKey(readFileSync(join(world.machines.directory, 'tokens.key')));
    return `${payload}.${sign('sha256', Buffer.from(payload), key).toString('base64url')}`;
  }
});
