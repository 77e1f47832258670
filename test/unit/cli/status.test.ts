import { expect, it } from 'vitest';
import type { CertificateStatus } from '../../../src/identity/workload-certificates.ts';
import { startTestAgent, usualStatus } from './terminal.ts';

it.each(['table', 'json'])('status -o %s of an agent in order is as it was agreed', async (format) => {
  const agent = await startTestAgent();
  const { out, err, status } = await agent.run(['status', '-o', format]);
  await expect(out).toMatchFileSnapshot(`golden/status-${format}.txt`);
  expect([err, status]).toEqual(['', 0]);
});

it('names what is not in order and leaves with 1', async () => {
  const agent = await startTestAgent({
    status: {
      ...usualStatus,
      ready: false,
      pending: ['mesh state'],
      stateError: 'line 7, workloads[1].uid: missing',
      pods: [
        {
          name: 'shop/front',
          state: 'pending',
          identity: 'spiffe://cluster.local/ns/shop/sa/front',
          addresses: [],
          error: 'its certificate has not arrived',
        },
      ],
      certificates: { failed: 1 },
    },
  });
  const { out, status } = await agent.run(['status']);
  await expect(out).toMatchFileSnapshot('golden/status-problems.txt');
  expect(status).toBe(1);
});

it('tells of the control plane whether it is heard, and what of it is refused', async () => {
  const address = 'hadal-control-plane.hadal-system.svc:15012';
  const heardAt = '2030-01-01T11:58:00.000Z';
  const controlPlane = {
    address,
    state: 'streaming',
    connectedAt: '2030-01-01T09:00:00.000Z',
    heardAt,
    rejected: [],
  };
  const good = await startTestAgent({ status: { ...usualStatus, controlPlane } });
  const heard = await good.run(['status']);
  expect(heard.out).toContain(`control plane ${address}, connected for 3h00m, last heard 2m00s ago`);
  expect(heard.status).toBe(0);
  const receiving = await startTestAgent({
    status: { ...usualStatus, controlPlane: { ...controlPlane, held: 4200 } },
  });
  expect((await receiving.run(['status'])).out).toMatch(/4,?200 resources received, in force when the push/);
  const rejected = [
    { name: 'shop/deny', reason: 'rules[0]: field number 99 is not understood' },
    { name: 'shop/new', reason: 'scope: expected another', refuses: 'all workloads of namespace shop' },
  ];
  const away = { address, state: 'waiting', heardAt, error: 'it is gone', rejected };
  const bad = await startTestAgent({ status: { ...usualStatus, controlPlane: away } });
  const { out, status } = await bad.run(['status']);
  expect(out).toContain(`control plane ${address}, not connected, last heard 2m00s ago`);
  expect(out).toContain('the control plane is not heard, what it said last is in force: it is gone');
  expect(out).toMatch(/shop\/deny as the control plane has it is refused.*field number 99/);
  expect(out).toContain(
    'shop/new was never understood, so it refuses connections to all workloads of namespace shop: scope: expected',
  );
  expect(status).toBe(1);
});

const certificate = (days: number) => ({
  subject: 'spiffe://cluster.local/ns/shop/sa/front',
  serialNumber: '123',
  validFrom: '2030-01-01T00:00:00.000Z',
  expirationTime: new Date(Date.parse('2030-01-01T00:00:00Z') + days * 86_400_000).toISOString(),
  pem: '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n',
});

const certificates: CertificateStatus[] = [
  {
    identity: 'spiffe://cluster.local/ns/shop/sa/front',
    state: 'Available',
    phase: 'valid',
    certChain: [certificate(1)],
    rootCerts: [certificate(3650)],
    renewAt: '2030-01-01T12:30:00.000Z',
    users: 2,
  },
  {
    identity: 'spiffe://cluster.local/ns/shop/sa/reviews',
    state: 'Unavailable: the authority is away',
    phase: 'failed',
    certChain: [],
    rootCerts: [],
    retryAt: '2030-01-01T11:59:59.000Z',
    error: 'ERR_IDENTITY_SIGNER: the authority is away',
    users: 1,
  },
];

it.each(['table', 'json'])('certificates -o %s are as it was agreed', async (format) => {
  const agent = await startTestAgent({ certificates });
  const { out, err, status } = await agent.run(['certificates', '-o', format]);
  await expect(out).toMatchFileSnapshot(`golden/certificates-${format}.txt`);
  expect([err, status]).toEqual(['', 0]);
});
