import { describe, expect, it } from 'vitest';
import { createAuthorization, createMatch } from '../../../src/model/authorization.ts';
import { dependency } from '../../../src/model/diff.ts';
import { createMeshSettings, meshSettingsService } from '../../../src/model/mesh-settings.ts';
import { peerAuthenticationPolicy } from '../../../src/model/peer-authentication.ts';
import { type SameNodeMode, type SameNodeWish, sameNodeExtension } from '../../../src/model/same-node.ts';
import type { WorkloadFields } from '../../../src/model/workload.ts';
import type { EnrolledPod, LocalNode } from '../../../src/routing/judgement.ts';
import {
  byName,
  catalogKey,
  catalogPod,
  catalogService,
  denyAll,
  enrolled,
  front,
  localNode,
  type Mesh,
  outbound,
  port,
} from './bookshop.ts';

const strictName = `istio-system/${peerAuthenticationPolicy.strict}`;
const strict = createAuthorization({
  namespace: 'istio-system',
  name: peerAuthenticationPolicy.strict,
  scope: 'WORKLOAD_SELECTOR',
  action: 'DENY',
  rules: [{ clauses: [{ matches: [createMatch({ notPrincipals: [{ kind: 'presence' }] })] }] }],
});
const here = (number: number, fields: Partial<WorkloadFields> = {}) =>
  catalogPod(number, { node: 'node-1', ...fields });
const says = (mode: SameNodeMode, from: SameNodeWish['from'] = 'workload') => ({
  extensions: [sameNodeExtension({ mode, from })],
});
const meshSays = (sameNode: SameNodeMode) => meshSettingsService(createMeshSettings({ sameNode })) ?? [];

interface Case extends Mesh {
  readonly destination?: readonly [string, number];
  readonly source?: Partial<EnrolledPod>;
  readonly local?: LocalNode;
  readonly option?: SameNodeMode;
}

/** By the pod's own address, unless told otherwise. */
function judge({ destination = ['10.0.2.1', 8080], source, local, option, ...mesh }: Case) {
  const workloads = mesh.workloads ?? [front, here(1)];
  return outbound({ ...mesh, workloads }, destination, {
    source: { ...enrolled(front), ...source },
    local: local ?? localNode(workloads.map(enrolled)),
    settings: { sameNode: option },
  });
}

function isDirect(tried: Case): boolean {
  return judge(tried).endpoints.some(({ sameNode }) => sameNode !== undefined);
}

describe('between two pods of a node', () => {
  it('goes direct, with the tunnel beside it for when the kernel cannot', () => {
    const { endpoints, dependencies, explanation } = judge({});
    expect(endpoints).toHaveLength(1);
    expect(endpoints[0]).toMatchObject({
      path: 'tunnel',
      address: '10.0.2.1',
      port: 15_008,
      sameNode: { address: '10.0.2.1', port: 8080 },
    });
    expect(dependencies).toContain(dependency.localPod('c//Pod/shop/catalog-1'));
    expect(dependencies).toContain(dependency.sameNodePath);
    expect(explanation.join('\n')).toContain('the kernel connects it with 10.0.2.1:8080 directly');
  });

  it('is reported as node_local by both ends, never as mutual_tls, with the principals that the kernel knows', () => {
    const [endpoint] = judge({ destination: ['10.96.0.1', 80] }).endpoints;
    const { labels, inbound } = endpoint?.sameNode ?? {};
    const told = {
      source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/catalog',
      destination_service_name: 'catalog',
      source_workload: 'front',
      destination_workload: 'catalog',
      connection_security_policy: 'node_local',
    };
    expect(labels).toMatchObject({ ...told, reporter: 'source' });
    expect(inbound?.labels).toMatchObject({ ...told, reporter: 'destination' });
    expect(endpoint?.labels.connection_security_policy).toBe('mutual_tls');
  });

  it('goes to the port of the pod where a service led to it, and only to endpoints of this node', () => {
    const workloads = [front, here(1), catalogPod(2), here(3)];
    const { endpoints } = judge({ workloads, destination: ['10.96.0.1', 80] });
    expect(endpoints.map(({ workloadUid, sameNode }) => [workloadUid.slice(-1), sameNode?.port])).toEqual([
      ['1', 8080],
      ['2', undefined],
      ['3', 8080],
    ]);
  });

  it.each<[string, Case, string]>([
    ['on another node', { workloads: [front, catalogPod(1)] }, ''],
    ['whose own agent is not this one', { local: localNode([enrolled(front)]) }, 'does not carry it'],
    [
      'from a pod that is not carried',
      { local: localNode([enrolled(here(1))]) },
      'does not carry the source',
    ],
    [
      'whose namespace does not have the address',
      { local: localNode([enrolled(front), { ...enrolled(here(1)), addresses: ['10.0.2.9'] }]) },
      'does not have 10.0.2.1',
    ],
    [
      'that ends tunnels itself',
      { workloads: [front, here(1, { nativeTunnel: true })] },
      'ends tunnels itself',
    ],
    [
      'with an application tunnel',
      { workloads: [front, here(1, { applicationTunnel: { protocol: 'PROXY', port: 0 } })] },
      'handed connections',
    ],
    [
      'of the other family than asked for',
      {
        workloads: [
          front,
          here(1, { addresses: ['fd00:2::1'], services: [{ service: catalogKey, ports: [port(80, 8080)] }] }),
        ],
        destination: ['10.96.0.1', 80],
      },
      'another family',
    ],
    [
      'where a path is not known to stay',
      { local: localNode([enrolled(front), enrolled(here(1))], 'unknown') },
      'not known yet',
    ],
    [
      'where the path leaves the node',
      { local: localNode([enrolled(front), enrolled(here(1))], 'leaves') },
      'path_leaves_node',
    ],
    [
      'enrolled with another service account than the mesh says',
      { local: localNode([enrolled(front), { ...enrolled(here(1)), serviceAccount: 'other' }]) },
      'not from all addresses',
    ],
    ['whose port is the agent’s', { destination: ['10.0.2.1', 15_008] }, 'not from all addresses'],
  ])('keeps the tunnel to a pod %s', (_, tried, why) => {
    expect(isDirect({})).toBe(true);
    expect(isDirect(tried)).toBe(false);
    expect(judge(tried).endpoints).not.toEqual([]);
    expect(judge(tried).explanation.join('\n')).toContain(why);
  });

  it('keeps the way through a waypoint', () => {
    const services = [
      catalogService({ waypoint: byName('waypoint.infra.svc', 'infra') }),
      catalogService({
        namespace: 'infra',
        hostname: 'waypoint.infra.svc',
        ports: [port(15_008)],
        addresses: [],
      }),
    ];
    const waypoint = here(9, {
      services: [{ service: 'infra/waypoint.infra.svc', ports: [] }],
      serviceAccount: 'waypoint',
    });
    const tried = {
      services,
      workloads: [front, here(1), waypoint],
      destination: ['10.96.0.1', 80] as const,
    };
    expect(judge(tried).endpoints.map(({ via, sameNode }) => [via, sameNode])).toEqual([
      ['waypoint', undefined],
    ]);
  });
});

describe('hadal.io/same-node', () => {
  const bound = here(1, { authorizationPolicies: [strictName] });
  const policies = [strict];

  it('is direct where nobody says anything, but for workloads that require mutual TLS', () => {
    expect(isDirect({ policies })).toBe(true);
    expect(isDirect({ policies, workloads: [front, bound] })).toBe(false);
    expect(judge({ policies, workloads: [front, bound] }).explanation.join('\n')).toContain(
      `requires mutual TLS (${strictName})`,
    );
  });

  it('is direct on the ports that a PeerAuthentication leaves open, and tunnel on those where it is STRICT', () => {
    const name = peerAuthenticationPolicy.portLevel('catalog');
    const ports = createAuthorization({
      namespace: 'shop',
      name,
      scope: 'WORKLOAD_SELECTOR',
      action: 'DENY',
      rules: [
        {
          clauses: [
            { matches: [createMatch({ notPrincipals: [{ kind: 'presence' }], destinationPorts: [8080] })] },
          ],
        },
      ],
    });
    const mesh = {
      policies: [ports],
      workloads: [front, here(1, { authorizationPolicies: [`shop/${name}`] })],
    };
    expect(isDirect({ ...mesh, destination: ['10.0.2.1', 8080] })).toBe(false);
    expect(isDirect({ ...mesh, destination: ['10.0.2.1', 9090] })).toBe(true);
  });

  it.each<[string, Case]>([
    ['the agent', { option: 'direct' }],
    ['the mesh', { services: [meshSays('direct')].flat() }],
    [
      'the namespace',
      {
        workloads: [front, here(1, { authorizationPolicies: [strictName], ...says('direct', 'namespace') })],
      },
    ],
    [
      'the workload',
      { workloads: [front, here(1, { authorizationPolicies: [strictName], ...says('direct') })] },
    ],
    ['the pod itself', { local: localNode([enrolled(front), { ...enrolled(here(1)), sameNode: 'direct' }]) }],
  ])('goes direct in spite of STRICT when %s says so', (_, tried) => {
    expect(isDirect({ policies, workloads: [front, bound], ...tried })).toBe(true);
  });

  it.each<[string, Case]>([
    ['the agent', { option: 'tunnel' }],
    ['the mesh', { services: [meshSays('tunnel')].flat() }],
    ['the namespace', { workloads: [front, here(1, says('tunnel', 'namespace'))] }],
    ['the workload', { workloads: [front, here(1, says('tunnel'))] }],
    ['the pod itself', { local: localNode([enrolled(front), { ...enrolled(here(1)), sameNode: 'tunnel' }]) }],
    ['the source', { source: { sameNode: 'tunnel' } }],
  ])('keeps the tunnel when %s says so', (_, tried) => {
    expect(isDirect(tried)).toBe(false);
    expect(judge(tried).explanation.join('\n')).toMatch(
      /tunnel all the same: hadal.io\/same-node of .* is tunnel/,
    );
  });

  it('counts of the workload before the namespace, of that before the mesh, of that before the agent', () => {
    const levels = (['agent', 'mesh', 'namespace', 'pod', 'workload'] as const).map((level, index) => ({
      level,
      mode: (index % 2 === 0 ? 'tunnel' : 'direct') as SameNodeMode,
    }));
    for (let upTo = 1; upTo <= levels.length; upTo++) {
      const said = new Map(levels.slice(0, upTo).map(({ level, mode }) => [level, mode]));
      const wish = said.get('workload') ?? said.get('namespace');
      const from = said.has('workload') ? 'workload' : 'namespace';
      const pod = here(1, wish === undefined ? {} : says(wish, from));
      const tried = isDirect({
        option: said.get('agent') ?? 'direct',
        services: [meshSays(said.get('mesh') ?? said.get('agent') ?? 'direct')].flat(),
        workloads: [front, pod],
        local: localNode([enrolled(front), { ...enrolled(pod), sameNode: said.get('pod') }]),
      });
      expect(tried, levels[upTo - 1]?.level).toBe(levels[upTo - 1]?.mode === 'direct');
    }
  });
});

describe('policy of the destination', () => {
  const onlyFrom = (address: string, length: number) =>
    createAuthorization({
      namespace: 'shop',
      name: 'only-from',
      scope: 'NAMESPACE',
      rules: [{ clauses: [{ matches: [createMatch({ sourceIps: [{ address, length }] })] }] }],
    });
  const twoAddresses = { addresses: ['10.0.1.1', '10.0.7.7'] };

  it('is asked with the identity that the kernel knows', () => {
    const byFront = createAuthorization({
      namespace: 'shop',
      name: 'front',
      scope: 'NAMESPACE',
      rules: [
        {
          clauses: [
            {
              matches: [
                createMatch({ principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/front' }] }),
              ],
            },
          ],
        },
      ],
    });
    expect(isDirect({ policies: [byFront] })).toBe(true);
    const other = judge({
      policies: [byFront],
      workloads: [{ ...front, serviceAccount: 'other' }, here(1)],
      source: { serviceAccount: 'other' },
    });
    expect([other.endpoints, other.reasonName]).toEqual([[], 'POLICY_NOT_ALLOWED']);
  });

  it('is asked for every address of the source: where it depends on that, the tunnel shows which it was', () => {
    expect(isDirect({ policies: [onlyFrom('10.0.1.0', 24)] })).toBe(true);
    const mixed = judge({ policies: [onlyFrom('10.0.1.0', 24)], source: twoAddresses });
    expect(mixed.endpoints.map(({ path, sameNode }) => [path, sameNode])).toEqual([['tunnel', undefined]]);
    const none = judge({ policies: [onlyFrom('10.0.9.0', 24)], source: twoAddresses });
    expect(none.reasonName).toBe('POLICY_NOT_ALLOWED');
  });

  it('refuses at the source, on whichever node the destination is, when all endpoints refuse', () => {
    const far = { workloads: [front, catalogPod(1), catalogPod(2)], destination: ['10.96.0.1', 80] as const };
    const refused = judge({ ...far, policies: [denyAll] });
    expect([refused.endpoints, refused.reasonName]).toEqual([[], 'POLICY_DENIED']);
    expect(refused.refusing.map(({ outcome }) => outcome.policy)).toEqual([
      { name: 'shop/deny-all', rule: 0 },
      { name: 'shop/deny-all', rule: 0 },
    ]);
    expect(refused.labels).toMatchObject({
      destination_workload: 'catalog',
      connection_security_policy: 'unknown',
      source_principal: 'unknown',
    });
    expect(refused.explanation.join('\n')).toContain('DENY policy shop/deny-all matches');
    expect(refused.dependencies).toContain(dependency.namespace('shop'));
  });

  it('leaves it to the destinations where they differ, and where a policy is not known here', () => {
    const deny = createAuthorization({ ...denyAll, name: 'one', scope: 'WORKLOAD_SELECTOR' });
    const two = (policies: readonly string[]) => [
      front,
      catalogPod(1, { authorizationPolicies: ['shop/one'] }),
      catalogPod(2, { authorizationPolicies: policies }),
    ];
    const destination = ['10.96.0.1', 80] as const;
    const all = { policies: [deny], destination };
    expect(judge({ ...all, workloads: two(['shop/one']) }).reasonName).toBe('POLICY_DENIED');
    expect(judge({ ...all, workloads: two([]) }).endpoints).toHaveLength(2);
    expect(judge({ ...all, workloads: two(['shop/unknown']) }).endpoints).toHaveLength(2);
  });

  it('is a waypoint’s to say where there is one, and of what judges for itself', () => {
    const policies = [denyAll];
    expect(
      judge({ policies, workloads: [front, catalogPod(1, { tunnelProtocol: 'NONE' })] }).endpoints,
    ).toHaveLength(1);
    expect(
      judge({ policies, workloads: [front, catalogPod(1, { nativeTunnel: true })] }).endpoints,
    ).toHaveLength(1);
    expect(judge({ policies, workloads: [front, catalogPod(1)] }).endpoints).toHaveLength(0);
  });

  it('tells with the refusal what dry runs and audits say, since the destination never hears of it', () => {
    const audit = createAuthorization({ ...denyAll, name: 'audit', action: 'AUDIT' });
    const { refusing } = judge({ policies: [denyAll, audit] });
    expect(refusing[0]?.outcome.told).toEqual([{ name: 'shop/audit', action: 'AUDIT', rule: 0 }]);
  });
});
