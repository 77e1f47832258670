/** What the tests of this folder share: a cluster with one istiod, and an agent's account on each node. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import type { ApiClient } from '../../src/source/api-server/api-client.ts';
import { requestToken } from '../kubernetes/accounts.ts';
import { installCustomResources } from '../kubernetes/custom-resources.ts';
import { adminClient, type Machines } from '../kubernetes/machines.ts';
import { applyManifests, installRights } from '../kubernetes/manifests.ts';
import { create, type Manifest, pod, type Stored, uniqueName } from '../kubernetes/world.ts';
import { agentAccount, type Istiod, startIstiod } from './istiod.ts';
import './setup.ts';

export interface IstioWorld {
  readonly machines: Machines;
  readonly assets: string;
  readonly admin: ApiClient;
  readonly istiod: Istiod;
}

/** All that istiod wants to be there before it starts; it waits for those of its own kinds that are missing. */
const customResources = [
  ...['authorizationpolicies', 'peerauthentications', 'requestauthentications'].map(
    (kind) => `${kind}.security.istio.io`,
  ),
  ...[
    'serviceentries',
    'workloadentries',
    'workloadgroups',
    'virtualservices',
    'destinationrules',
    'gateways',
    'sidecars',
    'envoyfilters',
    'proxyconfigs',
  ].map((kind) => `${kind}.networking.istio.io`),
  'telemetries.telemetry.istio.io',
  'wasmplugins.extensions.istio.io',
  ...['gateways', 'gatewayclasses', 'httproutes', 'grpcroutes', 'referencegrants'].map(
    (kind) => `${kind}.gateway.networking.k8s.io`,
  ),
];

export function describeUnderIstiod(title: string, tests: (world: IstioWorld) => void): void {
  const found = inject('istio');
  const missing = 'missing' in found ? found.missing : undefined;
  describe.skipIf(missing !== undefined)(
    missing === undefined ? title : `${title} (skipped: ${missing})`,
    () => {
      let world: IstioWorld | undefined;
      beforeAll(async () => {
        if ('missing' in found) return;
        const { machines, assets } = found;
        const admin = adminClient(machines);
        await installCustomResources({ machines, admin }, ...customResources);
        await applyManifests(admin, [
          { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'istio-system' } },
        ]);
        await installRights(admin, 'daemonset/agent-rbac.yaml');
        world = { machines, assets, admin, istiod: await startIstiod({ machines, assets }) };
      });
      afterAll(async () => {
        await world?.istiod.kill();
        world?.admin.close();
      });
      const known = (): IstioWorld => {
        if (world === undefined) throw new Error('istiod is not up: use it inside a test');
        return world;
      };
      tests({
        get machines() {
          return known().machines;
        },
        get assets() {
          return known().assets;
        },
        get admin() {
          return known().admin;
        },
        get istiod() {
          return known().istiod;
        },
      });
    },
  );
}

/** A pod of the agents' account on a node, and the file with its token, as a kubelet would mount it. */
export async function agentToken(
  { admin, machines }: Pick<IstioWorld, 'admin' | 'machines'>,
  node: string,
): Promise<string> {
  const { namespace, name: account } = agentAccount;
  const { metadata } = await create<Stored>(
    admin,
    pod(namespace, uniqueName(`agent-${node}`), { node, serviceAccount: account }),
  );
  const token = await requestToken(admin, namespace, account, {
    audiences: ['istio-ca'],
    boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: metadata.name, uid: metadata.uid },
  });
  const file = join(machines.directory, `token-${metadata.name}`);
  writeFileSync(file, token, { mode: 0o600 });
  return file;
}

export interface Running {
  readonly node: string;
  readonly ip: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly serviceAccount?: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

/** A pod as it is when a kubelet has started it. */
export async function runPod(
  admin: ApiClient,
  namespace: string,
  name: string,
  how: Running,
): Promise<Stored> {
  const {
    node,
    ip,
    labels = {},
    annotations = {},
    serviceAccount = 'default',
    ports = {},
    status = {},
  } = how;
  const plain = pod(namespace, name, { node, serviceAccount });
  const [main] = (plain.spec as { containers: object[] }).containers;
  const manifest: Manifest = {
    ...plain,
    metadata: { name, namespace, labels },
    spec: {
      ...(plain.spec as object),
      containers: [
        {
          ...main,
          ports: Object.entries(ports).map(([port, containerPort]) => ({ name: port, containerPort })),
        },
      ],
    },
  };
  await create(admin, manifest);
  return admin.request<Stored>({
    method: 'PATCH',
    path: `/api/v1/namespaces/${namespace}/pods/${name}/status`,
    body: {
      metadata: { annotations },
      status: {
        phase: 'Running',
        podIP: ip,
        podIPs: [{ ip }],
        conditions: [{ type: 'Ready', status: 'True' }],
        ...status,
      },
    },
  });
}
