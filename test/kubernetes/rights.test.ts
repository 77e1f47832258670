/** Rights that are missing: the source says which, and goes on as soon as it has them. */
import { afterEach, expect, it } from 'vitest';
import { accountWith } from './accounts.ts';
import { installCustomResources } from './custom-resources.ts';
import { type Follower, follow } from './follower.ts';
import { create, describeWithApiServer, eventually, newNamespace, service } from './world.ts';

const read = ['get', 'list', 'watch'];

describeWithApiServer('a source without a right', (world) => {
  const open: Follower[] = [];
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  it('names the verb and the resource that it lacks, for each kind', async () => {
    const namespace = await newNamespace(world.admin);
    await create(world.admin, service(namespace, 'one'));
    const account = await accountWith(world.admin, namespace, [
      { apiGroups: [''], resources: ['services'], verbs: ['get', 'watch'] },
      { apiGroups: [''], resources: ['namespaces', 'pods'], verbs: read },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list'] },
    ]);
    const follower = follow(world.machines, { kinds: ['Service', 'Namespace'], token: account.token });
    open.push(follower);
    await eventually(() => follower.source.status.error !== undefined, 'the missing right is told');
    const { error, isSynced } = follower.source.status;
    expect(error).toContain('Service: Kubernetes API: cannot list services');
    expect(error).toContain(
      `User "system:serviceaccount:${namespace}:${account.name}" cannot list resource "services"`,
    );
    expect(error).toContain(
      'add the verb "list" for the resource "services" in the API group "" to the role',
    );
    expect(error).not.toContain('Namespace');
    expect(isSynced).toBe(false);
    expect(follower.changes).toEqual([]);

    await account.setRules([{ apiGroups: [''], resources: ['services', 'namespaces'], verbs: read }]);
    await follower.started;
    expect(follower.names()).toContain('one');
    expect(follower.source.status.error).toBeUndefined();
  });

  it('names a missing watch too, though the list succeeds', async () => {
    const namespace = await newNamespace(world.admin);
    const account = await accountWith(world.admin, namespace, [
      { apiGroups: [''], resources: ['services'], verbs: ['list'] },
    ]);
    const follower = follow(world.machines, { kinds: ['Service'], token: account.token });
    open.push(follower);
    await follower.started;
    await eventually(() => follower.source.status.error !== undefined, 'the missing right is told');
    expect(follower.source.status.error).toContain('add the verb "watch" for the resource "services"');
  });

  it('names kinds of policies that it may not read, and waits: without them the rest would be too open', async () => {
    await installCustomResources(world, 'authorizationpolicies.security.istio.io');
    const namespace = await newNamespace(world.admin);
    const rules = [{ apiGroups: [''], resources: ['services'], verbs: read }];
    const account = await accountWith(world.admin, namespace, rules);
    const kinds = ['Service', 'AuthorizationPolicy'] as const;
    const follower = follow(world.machines, { kinds, token: account.token });
    open.push(follower);
    await eventually(() => follower.source.status.unread?.length === 1, 'the missing right is told');
    expect(follower.source.status).toMatchObject({
      isSynced: false,
      unread: [
        {
          kind: 'AuthorizationPolicy',
          reason: expect.stringContaining('add the verb "list" for the resource "authorizationpolicies"'),
        },
      ],
    });
    await account.setRules([
      ...rules,
      { apiGroups: ['security.istio.io'], resources: ['authorizationpolicies'], verbs: read },
    ]);
    await follower.started;
    expect(follower.source.status.unread).toEqual([]);
  });

  it('says that a token is not valid', async () => {
    const follower = follow(world.machines, { kinds: ['Service'], token: 'nobody' });
    open.push(follower);
    await eventually(() => follower.source.status.error !== undefined, 'the refusal is told');
    expect(follower.source.status.error).toContain('the token is not valid');
  });
});
