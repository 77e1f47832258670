import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { ControlPlaneStatus } from '../../../src/controlplane/plane-reports.ts';
import { hadal, startTestAgent } from './terminal.ts';

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));

const usual: ControlPlaneStatus = {
  role: 'control-plane',
  version: '0.1.0',
  pid: 4343,
  startedAt: '2030-01-01T11:00:00.000Z',
  ready: true,
  pending: [],
  source: { name: 'directory /etc/mesh', isSynced: true },
  objects: 12,
  rejected: 0,
  conflicts: 0,
  mesh: { workloads: 4, services: 3, policies: 1 },
  agents: [
    {
      node: 'a',
      address: '10.0.0.1:40000',
      connectedAt: '2030-01-01T11:00:01.000Z',
      pending: 0,
      refused: [],
    },
    {
      node: 'b',
      address: '10.0.0.2:40000',
      connectedAt: '2030-01-01T11:00:01.000Z',
      pending: 3,
      refused: [],
    },
  ],
};
const enrolment = [
  {
    namespace: 'shop',
    name: 'stock',
    node: 'a',
    state: 'outside',
    detail: 'its label istio.io/dataplane-mode is none',
  },
  {
    namespace: 'shop',
    name: 'front',
    node: 'a',
    state: 'enrolled',
    detail: 'its label istio.io/dataplane-mode says so',
  },
  { namespace: 'shop', name: 'late', node: 'b', state: 'waiting', detail: 'has no address yet' },
];
const nothing = { source: [], translation: [], wire: [] };

describe('hadal status of a control plane', () => {
  it.each(['table', 'json'])('in order is as it was agreed: -o %s', async (format) => {
    const plane = await startTestAgent({ status: usual, sections: { enrolment, rejected: nothing } });
    const { out, err, status } = await plane.run(['status', '-o', format]);
    await expect(out).toMatchFileSnapshot(`golden/status-plane-${format}.txt`);
    expect([err, status]).toEqual(['', 0]);
  });

  it('names what is not in order and leaves with 1', async () => {
    const refused = ['shop/p: match.unknown field 14'];
    const plane = await startTestAgent({
      status: {
        ...usual,
        ready: false,
        pending: ['objects of the source'],
        source: {
          name: 'directory /etc/mesh',
          isSynced: false,
          error: 'the directory is gone; make it again',
        },
        conflicts: 2,
        agents: [{ ...usual.agents[0], refused }],
      },
      sections: {
        enrolment: [],
        rejected: {
          source: [
            {
              id: 'security.istio.io/v1/AuthorizationPolicy/shop/p',
              origin: 'p.yaml, document 1 (line 1)',
              field: 'spec.action',
              reason: 'is "REFUSE"',
            },
          ],
          translation: [{ id: 'v1/Pod/shop/x', reason: 'does not translate' }],
          wire: [],
        },
      },
    });
    const { out, status } = await plane.run(['status']);
    await expect(out).toMatchFileSnapshot('golden/status-plane-problems.txt');
    expect(status).toBe(1);
  });
});

describe('hadal status of a control plane that does not read all policies', () => {
  const shown = async (source: Partial<ControlPlaneStatus['source']>) => {
    const status = { ...usual, source: { ...usual.source, ...source } };
    return (await startTestAgent({ status, sections: { enrolment, rejected: nothing } })).run(['status']);
  };

  it('names the kinds, which is in order where a cluster has none', async () => {
    const unread = [{ kind: 'PeerAuthentication', reason: 'is not served by the cluster' }];
    const { out, status } = await shown({ unread });
    expect(out).toContain('  not read      PeerAuthentication is not served by the cluster\n');
    expect(status).toBe(0);
  });

  it('says that last good versions are not kept, and leaves with 1', async () => {
    const { out, status } = await shown({ problems: ['there is no ConfigMap'] });
    expect(out).toContain('  problem       there is no ConfigMap\n');
    expect(status).toBe(1);
  });
});

describe('hadal status of a directory', () => {
  it('says which pods would be in the mesh, and why', async () => {
    const { out, err, status } = await hadal(['status', '--directory', fixture('shop')]);
    await expect(out).toMatchFileSnapshot('golden/status-directory.txt');
    expect([err, status]).toEqual(['', 0]);
  });

  it('names what is rejected and leaves with 1', async () => {
    const { out, status } = await hadal(['status', '--directory', fixture('mistakes')]);
    expect(out).toContain('problem: policies.yaml, document 1 (line 1): AuthorizationPolicy shop/broken');
    expect(status).toBe(1);
  });
});

describe('hadal certificates of a control plane', () => {
  const root = {
    subject: 'O=hadal, CN=root',
    fingerprint: '3F:2A',
    validFrom: '2029-01-01T00:00:00.000Z',
    expires: '2030-01-02T12:00:00.000Z',
    signs: true,
  };
  const authority = {
    directory: '/var/lib/hadal/authority',
    signer: 'O=hadal, CN=root',
    signerExpires: '2030-01-02T12:00:00.000Z',
    roots: [
      root,
      {
        ...root,
        subject: 'O=hadal, CN=next',
        fingerprint: '77:01',
        expires: '2040-01-01T12:00:00.000Z',
        signs: false,
      },
    ],
  };
  it.each([
    ['in order', authority, 0],
    ['whose files cannot be used', { ...authority, error: 'key.pem does not fit' }, 1],
  ])('%s are those of its authority', async (name, section, status) => {
    const plane = await startTestAgent({ status: usual, sections: { authority: section } });
    const run = await plane.run(['certificates']);
    await expect(run.out).toMatchFileSnapshot(`golden/certificates-plane-${status}.txt`);
    expect([run.err, run.status, name]).toEqual(['', status, name]);
    expect(JSON.parse((await plane.run(['certificates', '-o', 'json'])).out)).toEqual({ authority: section });
  });
});
