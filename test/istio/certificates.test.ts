/** The agent's certificate client and istiod's authority. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { createCsr } from '../../src/identity/csr.ts';
import { GrpcSigner, type GrpcSignerOptions } from '../../src/identity/grpc-signer.ts';
import { generateKey } from '../../src/identity/keys.ts';
import { checkCertificate, type WorkloadCertificate } from '../../src/identity/workload-certificate.ts';
import { requestToken } from '../kubernetes/accounts.ts';
import { create, eventually, newNamespace, pod } from '../kubernetes/world.ts';
import { agentToken, describeUnderIstiod } from './world.ts';

describeUnderIstiod('a certificate of istiod', (world) => {
  let tokenFile = '';
  let namespace = '';
  const open: GrpcSigner[] = [];
  beforeAll(async () => {
    tokenFile = await agentToken(world, 'a');
    namespace = await newNamespace(world.admin);
    for (const [account, node] of [
      ['here', 'a'],
      ['there', 'b'],
    ] as const) {
      const metadata = { name: account, namespace };
      await create(world.admin, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
      await create(world.admin, pod(namespace, account, { node, serviceAccount: account }));
    }
    // It looks the pods up in what it was told, not at the API server.
    await eventually(
      () =>
        ask('here').then(
          () => true,
          () => false,
        ),
      'istiod knows the pods',
    );
  });
  afterEach(() => {
    for (const signer of open.splice(0)) signer.close();
  });

  async function ask(
    account: string,
    options: Partial<GrpcSignerOptions> = {},
  ): Promise<WorkloadCertificate> {
    const { address, serverName, rootFile } = world.istiod;
    const signer = new GrpcSigner({
      address,
      serverName,
      rootFile,
      tokenFile,
      clusterId: 'Kubernetes',
      ...options,
    });
    open.push(signer);
    const identity = `spiffe://cluster.local/ns/${namespace}/sa/${account}`;
    const key = await generateKey();
    const request = { csr: await createCsr(identity, key), identity, lifetimeMs: 3_600_000 };
    const signed = await signer.sign(request, AbortSignal.timeout(10_000));
    return checkCertificate(identity, key, signed, new Date());
  }

  it('is good for the agent, as long as it asked for, and has the root that istiod publishes', async () => {
    const { chain, roots, notAfter } = await ask('here');
    expect([chain.length, roots.length]).toEqual([1, 1]);
    expect(Math.abs(notAfter.getTime() - Date.now() - 3_600_000)).toBeLessThan(60_000);
  });

  it('is not given for an account that has no pod on the node', async () => {
    await expect(ask('there')).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });

  it('is not given to an agent that does not say its cluster, or says another', async () => {
    for (const clusterId of ['', 'elsewhere'])
      await expect(ask('here', { clusterId })).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });

  it('is not given for the token of another account', async () => {
    const other = join(world.machines.directory, 'token-of-another');
    writeFileSync(other, await requestToken(world.admin, namespace, 'here', { audiences: ['istio-ca'] }));
    await expect(ask('here', { tokenFile: other })).rejects.toMatchObject({ code: 'ERR_IDENTITY_REFUSED' });
  });
});
